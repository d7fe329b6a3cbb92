"""How fast references are found, and how much memory it takes.

    python benchmarks/retrieval.py --records 100000
    python benchmarks/retrieval.py --records 100000 --index hnsw
    python benchmarks/retrieval.py --records 1000000 --queries 256 --level-3-queries 32

Records are made up: unit vectors of 384 and 256 numbers around a thousand centres, types in equal parts. Luminances are
made of the digest when they are asked for, for a million of them would take 65 GB. Seconds are of the processor (all
threads of the process) and of the wall. `filtered` compares with references of the same light and form, `unfiltered`
with all. The largest resident memory includes the vectors. `--base DIR` writes the records to a knowledge base first
and reads them from there, luminances too (65 KB each: choose few).
"""

import argparse
import hashlib
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from derain.distill.doors import Identity
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.record import Record, Standing
from derain.distill.knowledge.references import Luminances, ReferenceSource, ReferenceVectors, hexadecimal
from derain.distill.knowledge.retrieve import Query, Retriever
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.settings import RetrievalSettings
from derain.types import RainType

TEXT, VISUAL, CENTRES = 384, 256, 1000
ROWS_AT_ONCE = 10_000


class Paths:
    """A path for each row, made when asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int, /) -> str:
        return f"photo-{row}.jpg"


@dataclass(frozen=True)
class MadeUp:
    """References out of random numbers."""

    count: int
    seed: int

    def vectors(self) -> ReferenceVectors:
        draw = np.random.default_rng(self.seed)
        digests = np.frombuffer(draw.bytes(32 * self.count), "S32")
        quarter = self.count // 4
        slices = {kind: slice(i * quarter, (i + 1) * quarter) for i, kind in enumerate(RainType)}
        parts = [np.sort(digests[rows]) for rows in slices.values()]
        count = 4 * quarter
        return ReferenceVectors(
            digests=np.concatenate(parts),
            paths=Paths(count),
            slices=slices,
            text=around_centres(draw, count, TEXT),
            visual=around_centres(draw, count, VISUAL),
        )

    def luminances(self, digests: Sequence[str]) -> Luminances:
        return np.stack([luminance_of(digest) for digest in digests])


@dataclass(frozen=True)
class Held:
    """References that are in memory already, to be searched in another way."""

    references: ReferenceVectors

    def vectors(self) -> ReferenceVectors:
        return self.references

    def luminances(self, digests: Sequence[str]) -> Luminances:
        raise NotImplementedError("levels 1 and 2 only")


def around_centres(draw: np.random.Generator, count: int, dimensions: int) -> np.ndarray:
    """(N, D) unit vectors, each near one of the centres; few at a time, to need no more memory than the result."""
    centres = np.random.default_rng(dimensions).standard_normal((CENTRES, dimensions), np.float32)
    vectors = np.empty((count, dimensions), np.float32)
    for first in range(0, count, ROWS_AT_ONCE):
        rows = vectors[first : first + ROWS_AT_ONCE]
        draw.standard_normal(rows.shape, np.float32, out=rows)
        rows += centres[draw.integers(CENTRES, size=len(rows))]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return vectors


def luminance_of(digest: str) -> np.ndarray:
    """A picture of random squares."""
    draw = np.random.default_rng(int(digest[:8], 16))
    return np.kron(draw.integers(0, 256, (32, 32), np.uint8), np.ones((8, 8), np.uint8))


def queries(count: int, seed: int) -> list[Query]:
    draw = np.random.default_rng([seed, 1])
    text, visual = around_centres(draw, count, TEXT), around_centres(draw, count, VISUAL)
    kinds = list(RainType)
    digests = [hashlib.sha256(f"query {number}".encode()).hexdigest() for number in range(count)]
    return [
        Query(digest, kinds[i % 4].value, text[i], visual[i], luminance_of(digest)) for i, digest in enumerate(digests)
    ]


def to_base(made_up: MadeUp, place: Path) -> KnowledgeBase:
    """Write the records to a new base."""
    roles = [Identity(name, "1") for name in ("captioner", "keywords", "text", "visual")]
    identities = BaseIdentities(roles[0], None, roles[1], roles[2], roles[3], TEXT, VISUAL)
    base = KnowledgeBase.create(place, identities)
    vectors = made_up.vectors()
    usual = Record(
        "", "", "made up", 640, 480, "", "", Standing.CANDIDATE, "", 0.5, 0, "c", "", (), "d",
        vectors.text[0], vectors.visual[0], np.empty((0, 0), np.uint8), b"",
    )  # fmt: skip
    for kind, rows in vectors.slices.items():
        for first in range(rows.start, rows.stop, 500):
            records = []
            for row in range(first, min(first + 500, rows.stop)):
                digest = hexadecimal(vectors.digests[row])
                records.append(
                    replace(
                        usual,
                        digest=digest,
                        path=vectors.paths[row],
                        type=kind.value,
                        light="night" if kind.is_night else "day",
                        text=vectors.text[row],
                        visual=vectors.visual[row],
                        luminance=luminance_of(digest),
                    )
                )
            base.add(records)
    base.compact()
    return base


def measure(name: str, count: int, work: Callable[[], object]) -> None:
    """Do the work, and print a row of the table."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    rates = f"{count / processor:.0f} | {count / wall:.0f}" if count else "- | -"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {name} | {processor:.2f} | {wall:.2f} | {rates} | {memory:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--level-3-queries", type=int, default=64)
    parser.add_argument("--index", choices=("exact", "hnsw"), default="exact")
    parser.add_argument("--base", type=Path, help="folder for a knowledge base to read from; must not be there")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    made_up = MadeUp(arguments.records, arguments.seed)
    asked = queries(arguments.queries, arguments.seed)
    settings = RetrievalSettings(index=arguments.index)
    print(f"{arguments.records} records, {settings.index}, {torch.get_num_threads()} threads.\n")
    print("| work | processor, s | wall, s | a second of processor | a second of wall | largest memory, GB |")
    print("|---|---:|---:|---:|---:|---:|")
    source: ReferenceSource = made_up
    if arguments.base is not None:
        measure("write the base", arguments.records, lambda: to_base(made_up, arguments.base))
        source = KnowledgeBase.open(arguments.base)
    held: list[Retriever] = []
    measure("read the vectors", 0, lambda: held.append(Retriever(source, settings)))
    retriever = held[0]
    # An index is made when a type is first asked for.
    measure("make the indices", 0, lambda: retriever.by_text(asked[:4]))
    few = asked[: arguments.level_3_queries]

    def two_levels(by: Retriever, these: list[Query]) -> None:
        by.by_features(these, by.by_text(these))

    measure("levels 1-2, filtered", len(asked), lambda: two_levels(retriever, asked))
    measure("levels 1-3, filtered", len(few), lambda: retriever.retrieve(few))
    measure("levels 1-3, the same again", len(few), lambda: retriever.retrieve(few))
    if arguments.index == "hnsw":
        exact = Retriever(Held(retriever.references), RetrievalSettings())
        measure("levels 1-2, filtered, exact", len(asked), lambda: two_levels(exact, asked))
        pairs = zip(exact.by_text(asked), retriever.by_text(asked), strict=True)
        recall = np.mean([np.isin(right.rows, found.rows).mean() for right, found in pairs])
        print(f"\nRecall of level 1 at {retriever.k1}: {recall:.4f}.")
        return
    open_settings = RetrievalSettings(same_light=False, same_form=False)
    everywhere = Retriever(Held(retriever.references), open_settings)
    everywhere.by_text(asked[:1])
    measure("levels 1-2, unfiltered", len(asked), lambda: two_levels(everywhere, asked))


if __name__ == "__main__":
    main()
