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

from derain.data.cache import write_whole
from derain.data.pairs import Pair, write_manifest
from derain.distill.pipeline.schema import PYRAMID, Outcome, result_schema
from derain.distill.pipeline.shards import RunFolder, write_text_whole
from derain.distill.pipeline.splits import KeptPair, Shortfall, split_by_scene
from derain.distill.settings import DistillSettings
from derain.errors import DistillError

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 8192
REASONS_TOLD = 20
"""Of pending rows, the most frequent ones."""


@dataclass(frozen=True)
class Outputs:
    """The files of a run, and how many candidates each holds."""

    kept_file: Path
    dropped_file: Path
    pending_file: Path
    """There only where rows are pending."""
    pyramid_file: Path
    manifest: Path
    """Kept pairs with the splits train and test."""
    kept: int
    dropped: int
    pending: int
    reasons: Mapping[str, int]
    """Of all outcomes, by the name of the reason without its particulars, most frequent first."""
    pending_reasons: Mapping[str, int]
    """In full words, most frequent first."""
    shortfalls: tuple[Shortfall, ...]

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
    files = {outcome: folder.out / f"{outcome.value}.parquet" for outcome in Outcome}
    tally = _Tally()
    try:
        _write_tables(folder, files, tally)
        pairs, shortfalls = split_by_scene(
            tally.kept_pairs, {"test": settings.test_pairs}, settings.seed, settings.prepare.near_bits
        )
        write_manifest(folder.out / "manifest.csv", pairs)
        whole = pyramid(real, tally.counts, tally.reasons, pairs)
        write_text_whole(folder.out / PYRAMID, json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DistillError(
            f"{folder.out}: cannot be written ({error.strerror or error}); make room, run again"
        ) from error
    by_outcome = {outcome: sum(n for key, n in tally.counts.items() if key[0] == outcome) for outcome in Outcome}
    return Outputs(
        files[Outcome.KEPT],
        files[Outcome.DROPPED],
        files[Outcome.PENDING],
        folder.out / PYRAMID,
        folder.out / "manifest.csv",
        by_outcome[Outcome.KEPT],
        by_outcome[Outcome.DROPPED],
        by_outcome[Outcome.PENDING],
        dict(sum(tally.reasons.values(), Counter[str]()).most_common()),
        dict(tally.pending_reasons.most_common(REASONS_TOLD)),
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
        self.kept_pairs: list[KeptPair] = []

    def add(self, table: "pa.Table") -> None:
        wanted = ["outcome", "type", "source", "reason", "id", "rainy", "clean", "scene", "split"]
        wanted += ["clean_digest", "clean_hash"]
        for row in table.select(wanted).to_pylist():
            self.counts[row["outcome"], row["type"] or "unknown", row["source"]] += 1
            self.reasons[row["outcome"]][row["reason"].partition(":")[0].strip()] += 1
            if row["outcome"] == Outcome.PENDING:
                self.pending_reasons[row["reason"]] += 1
            if row["outcome"] == Outcome.KEPT:
                clean = Path(row["clean"]) if row["clean"] else None
                own = (row["type"], row["source"], row["split"], row["scene"])
                pair = Pair(row["id"], Path(row["rainy"]), clean, *own)
                self.kept_pairs.append(KeptPair(pair, row["clean_digest"], row["clean_hash"]))


def _write_tables(folder: RunFolder, files: Mapping[Outcome, Path], tally: _Tally) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def write(parts: Mapping[Outcome, Path]) -> None:
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

    def write_pending(pending: Path) -> None:
        write_whole(
            files[Outcome.DROPPED],
            lambda dropped: write_whole(
                files[Outcome.KEPT],
                lambda kept: write({Outcome.KEPT: kept, Outcome.DROPPED: dropped, Outcome.PENDING: pending}),
            ),
        )

    write_whole(files[Outcome.PENDING], write_pending)
    if not tally.pending_reasons:
        files[Outcome.PENDING].unlink()


def _tables(folder: RunFolder) -> "Iterator[pa.Table]":
    """Everything in the final order, some thousand rows at a time at most."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting: list[pa.Table] = []
    for number in range(folder.shards):
        waiting.append(folder.shard(number).replace_schema_metadata(None))
        if sum(table.num_rows for table in waiting) >= ROW_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
    with pq.ParquetFile(folder.refused) as refused:
        for batch in refused.iter_batches(ROW_GROUP):
            yield pa.Table.from_batches([batch]).cast(result_schema())
