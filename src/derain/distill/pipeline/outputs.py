"""What a run leaves behind: kept, dropped and pending rows, the data-quality pyramid, and a manifest to train on.

Every file is written in one move, its rows in an order that depends on the candidates alone: judged rows by digest,
then the rows that no model was asked about. The pyramid goes before the first move and comes back after the last: where
it is, all files are those of one state of the run.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derain.data.pairs import Pair, write_manifest
from derain.distill.judges.interface import Outcome
from derain.distill.pipeline.run_folder import RunFolder
from derain.distill.pipeline.schema import NO_REFERENCES, PYRAMID, family, result_schema, table_path
from derain.distill.pipeline.splits import KeptPair, Shortfall, split_by_scene
from derain.distill.settings import DistillSettings
from derain.errors import DistillError
from derain.files import atomic_write, write_text

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 8192
REASONS_SHOWN = 20
"""Of pending rows, the most frequent ones."""
REASONS_COUNTED = 2000
"""So many different ones are counted at once; beyond, all but the most frequent ones are forgotten."""


@dataclass(frozen=True)
class Outputs:
    """The files of a run, and how many candidates each holds."""

    out: Path
    """The folder that they lie in."""
    kept: int
    dropped: int
    pending: int
    reasons: Mapping[str, int]
    """Of all outcomes, by the name of the reason without its particulars, most frequent first."""
    pending_reasons: Mapping[str, int]
    """In full words, the most frequent ones, most frequent first. Where there are thousands of different ones (reasons
    name files), each is that of so many rows at least; `reasons` counts all of them by name."""
    without_references: Mapping[str, int]
    """Dropped rows of each type for which the knowledge base has no photograph to compare with."""
    shortfalls: tuple[Shortfall, ...]

    @property
    def kept_file(self) -> Path:
        return table_path(self.out, Outcome.KEPT)

    @property
    def dropped_file(self) -> Path:
        return table_path(self.out, Outcome.DROPPED)

    @property
    def manifest(self) -> Path:
        """Kept pairs with the splits train, test and val."""
        return self.out / "manifest.csv"

    @property
    def candidates(self) -> int:
        """All rows of the manifests."""
        return self.kept + self.dropped + self.pending


def write_outputs(folder: RunFolder, settings: DistillSettings, real: Mapping[tuple[str, str], int]) -> Outputs:
    """Gather the finished shards of a run.

    Args:
        real: references by type and source.

    Raises:
        DistillError: a shard is missing or damaged, or the disk is full.
    """
    files = {outcome: table_path(folder.out, outcome) for outcome in Outcome}
    tally = _Tally()
    try:
        _write_tables(folder, files, tally)
        pairs, shortfalls = split_by_scene(
            tally.kept_pairs,
            {"test": settings.test_pairs, "val": settings.val_pairs},
            settings.seed,
            settings.prepare.near_bits,
        )
        write_manifest(folder.out / "manifest.csv", pairs)
        whole = pyramid(real, tally.counts, tally.reasons, pairs)
        write_text(folder.out / PYRAMID, json.dumps(whole, indent=1, ensure_ascii=False) + "\n", durable=True)
    except OSError as error:
        raise DistillError(
            f"{folder.out}: cannot be written ({error.strerror or error}); make room, run again"
        ) from error
    by_outcome = {outcome: sum(n for key, n in tally.counts.items() if key[0] == outcome) for outcome in Outcome}
    return Outputs(
        folder.out,
        by_outcome[Outcome.KEPT],
        by_outcome[Outcome.DROPPED],
        by_outcome[Outcome.PENDING],
        dict(sum(tally.reasons.values(), Counter[str]()).most_common()),
        dict(tally.pending_reasons.most_common(REASONS_SHOWN)),
        dict(sorted(tally.without_references.items())),
        shortfalls,
    )


def pyramid(
    real: Mapping[tuple[str, str], int],
    counts: Mapping[tuple[str, str, str], int],
    reasons: Mapping[str, Mapping[str, int]],
    pairs: list[Pair],
) -> dict[str, Any]:
    """The data-quality pyramid (UniRain): real photographs above kept pairs above dropped ones.

    Args:
        real: photographs by type and source.
        counts: candidates by outcome, type and source; a type that was never found out is `unknown`.
        reasons: candidates by outcome and reason.
        pairs: the kept ones, with their splits.

    Returns:
        A level for each of real, kept, dropped, pending: `total`, `by_type`, `by_source`, `by_type_and_source` and,
        but for the real ones, `reasons`; and `splits`: split -> type -> pairs.
    """
    levels: dict[str, Any] = {"real": _level(real)}
    for outcome in Outcome:
        own = {(name, source): count for (which, name, source), count in counts.items() if which == outcome}
        named = sorted(reasons.get(outcome, {}).items(), key=lambda item: (-item[1], item[0]))
        levels[outcome.value] = _level(own) | {"reasons": dict(named)}
    splits: dict[str, dict[str, int]] = {}
    for (split, name), count in sorted(Counter((pair.split, str(pair.type)) for pair in pairs).items()):
        splits.setdefault(split, {})[name] = count
    return {"levels": levels, "splits": splits}


def _level(counts: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    by_type: Counter[str] = Counter()
    by_source: Counter[str] = Counter()
    by_both: dict[str, dict[str, int]] = {}
    for (name, source), count in sorted(counts.items()):
        by_type[name] += count
        by_source[source] += count
        by_both.setdefault(name, {})[source] = count
    return {
        "total": sum(counts.values()),
        "by_type": dict(sorted(by_type.items())),
        "by_source": dict(sorted(by_source.items())),
        "by_type_and_source": by_both,
    }


class _Tally:
    """Counts rows as they go by."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.reasons: dict[str, Counter[str]] = {outcome.value: Counter() for outcome in Outcome}
        self.pending_reasons: Counter[str] = Counter()
        self.without_references: Counter[str] = Counter()
        self.kept_pairs: list[KeptPair] = []

    def add(self, table: "pa.Table") -> None:
        wanted = ["outcome", "type", "source", "reason", "id", "rainy", "clean", "scene", "split"]
        wanted += ["clean_digest", "clean_hash"]
        for row in table.select(wanted).to_pylist():
            self.counts[row["outcome"], row["type"] or "unknown", row["source"]] += 1
            name = family(row["reason"])
            self.reasons[row["outcome"]][name] += 1
            if name == NO_REFERENCES:
                self.without_references[row["type"] or "unknown"] += 1
            if row["outcome"] == Outcome.PENDING:
                self._count_pending(row["reason"])
            if row["outcome"] == Outcome.KEPT:
                clean = Path(row["clean"]) if row["clean"] else None
                own = (row["type"], row["source"], row["split"], row["scene"])
                pair = Pair(row["id"], Path(row["rainy"]), clean, *own)
                self.kept_pairs.append(KeptPair(pair, row["clean_digest"], row["clean_hash"]))

    def _count_pending(self, reason: str) -> None:
        self.pending_reasons[reason] += 1
        if len(self.pending_reasons) > REASONS_COUNTED:
            self.pending_reasons = Counter(dict(self.pending_reasons.most_common(REASONS_COUNTED // 2)))


def _write_tables(folder: RunFolder, files: Mapping[Outcome, Path], tally: _Tally) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with ExitStack() as moves:  # the last that is entered moves first
        parts = {
            outcome: moves.enter_context(atomic_write(files[outcome], durable=True)) for outcome in reversed(Outcome)
        }
        with ExitStack() as stack:
            writers = {
                outcome: stack.enter_context(pq.ParquetWriter(part, result_schema())) for outcome, part in parts.items()
            }
            for table in _tables(folder):
                tally.add(table)
                for outcome, writer in writers.items():
                    chosen = table.filter(pc.equal(table.column("outcome"), outcome.value))
                    if chosen.num_rows:
                        writer.write_table(chosen, row_group_size=ROW_GROUP)
        (folder.out / PYRAMID).unlink(missing_ok=True)
    if not tally.pending_reasons:
        files[Outcome.PENDING].unlink()


def _tables(folder: RunFolder) -> "Iterator[pa.Table]":
    """Everything in the final order, some thousand rows at a time at most."""
    import pyarrow as pa

    columns = result_schema().names
    waiting: list[pa.Table] = []
    for number in range(folder.shards):
        waiting.append(folder.shard(number).select(columns).replace_schema_metadata(None))
        if sum(table.num_rows for table in waiting) >= ROW_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
    for batch in folder.filtered_rows():
        yield pa.Table.from_batches([batch]).cast(result_schema())
