"""How fast references are found, and how much memory it takes, as a Markdown table.

    python benchmarks/retrieval.py --records 100000 1000000
    python benchmarks/retrieval.py --records 100000 --index hnsw

Records are made up: unit vectors of 384 and 512 numbers (as the built-in encoders give) around a thousand centres,
types in equal parts. Luminances are made of the digest when they are asked for, for a million of them would take 65
GB. Every row of the table is a fresh process; opening is what it takes from the vectors in memory to the first
answer. Rates are queries a second of the processor (all threads of the process). A query is compared with references
of its own light and form; `all types together` leaves that filter out of levels 1-2. With `--index hnsw` the recall
of level 1 is given instead: the part of the exact search's references that the graph finds, too. Memory is the
largest resident, with the vectors. `--base DIR` writes the records to a knowledge base first and reads them from
there, luminances too (65 KB each: choose few); opening is then with reading.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from derain.backends.interfaces import Identity
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.record import Record, ReviewStatus
from derain.distill.knowledge.references import Luminances, ReferenceSource, ReferenceVectors, hexadecimal
from derain.distill.knowledge.retrieval import Query, Retriever
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.settings import RetrievalSettings
from derain.types import RainType
from manifests import memory_mb

TEXT, VISUAL, CENTRES = 384, 512, 1000
ROWS_AT_ONCE = 10_000


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
            paths=[f"photographs/of/some/street/photo-{row}.jpg" for row in range(count)],
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
    source: ReferenceSource
    """Where they come from, and their luminances lie."""

    def vectors(self) -> ReferenceVectors:
        return self.references

    def luminances(self, digests: Sequence[str]) -> Luminances:
        return self.source.luminances(digests)


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
        "", "", "made up", 640, 480, "", "", ReviewStatus.UNREVIEWED, "", 0.5, 0, "c", "", (), "d",
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


def processor_s(work: Callable[[], object]) -> float:
    """Processor seconds of `work()`."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def two_levels(by: Retriever, asked: Sequence[Query]) -> None:
    """The first two levels alone."""
    by.by_features(asked, by.by_text(asked))


def measure(source: ReferenceSource, settings: RetrievalSettings, asked: list[Query], few: list[Query]) -> list[str]:
    """Cells of a row, in the order of `columns`: read, index and ask in this process."""
    begin = time.process_time()
    retriever = Retriever(source, settings)
    retriever.by_text(asked[:4])  # an index is made when a type is first asked for
    opening_s = time.process_time() - begin
    rate = len(asked) / processor_s(lambda: two_levels(retriever, asked))
    held = Held(retriever.references, source)
    if settings.index == "hnsw":
        exact = Retriever(held, RetrievalSettings())
        pairs = zip(exact.by_text(asked), retriever.by_text(asked), strict=True)
        other = f"{np.mean([np.isin(right.rows, found.rows).mean() for right, found in pairs]):.3f}"
    else:
        everywhere = Retriever(held, RetrievalSettings(same_light=False, same_form=False))
        everywhere.by_text(asked[:1])
        other = f"{len(asked) / processor_s(lambda: two_levels(everywhere, asked)):,.0f}"
    whole_rate = len(few) / processor_s(lambda: retriever.retrieve(few))
    opening = f"{opening_s:.1f}" if opening_s < 10 else f"{opening_s:.0f}"
    return [f"{rate:,.0f}", other, f"{whole_rate:,.0f}", f"{memory_mb('VmHWM') / 1000:.1f}", opening]


def columns(index: str) -> str:
    """The table's head."""
    other = "recall of level 1" if index == "hnsw" else "all types together"
    names = ["references", "queries a second, levels 1-2", other, "levels 1-3", "memory, GB", "opening, s"]
    return f"| {' | '.join(names)} |\n|{'---:|' * len(names)}"


def main() -> None:
    """A process for each number of records, or the measurement itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[100_000])
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--level-3-queries", type=int, default=64)
    parser.add_argument("--index", choices=("exact", "hnsw"), default="exact")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--base", type=Path, help="folder for a knowledge base to read from; must not be there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.base is not None and len(arguments.records) > 1:
        parser.error("--base holds one number of --records")
    if arguments.one:
        torch.set_num_threads(arguments.threads)
        made_up = MadeUp(arguments.records[0], arguments.seed)
        asked = queries(arguments.queries, arguments.seed)
        source = Held(made_up.vectors(), made_up) if arguments.base is None else to_base(made_up, arguments.base)
        settings = RetrievalSettings(index=arguments.index)
        print(json.dumps(measure(source, settings, asked, asked[: arguments.level_3_queries])))
        return
    print(columns(arguments.index))
    for count in arguments.records:
        # Of an option that is given twice the last counts.
        command = [sys.executable, __file__, *sys.argv[1:], "--one", "--records", str(count)]
        cells = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(f"| {count:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
