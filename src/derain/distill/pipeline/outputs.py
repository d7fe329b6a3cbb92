"""What a run leaves behind: kept, dropped and pending rows, the data-quality pyramid, and a manifest to train on.

Every file is written in one move, its rows in an order that depends on the candidates alone: judged rows by digest,
then the rows that no model was asked about. The pyramid goes before the first move and comes back after the last: where
it is, all files are those of one state of the run. Which state that was is noted, so that they are not written again
while nothing has changed.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derain.data.cache import write_whole
from derain.data.pairs import Pair, write_manifest
from derain.distill.pipeline.run_folder import RunFolder, write_text_whole
from derain.distill.pipeline.schema import NO_REFERENCES, OUTPUTS, PYRAMID, Outcome, family, result_schema
from derain.distill.pipeline.splits import KeptPair, Shortfall, split_by_scene
from derain.distill.settings import DistillSettings
from derain.errors import DistillError

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
"""Raise it when other files or columns come out of the same shards, so that outputs are written anew."""
ROW_GROUP = 8192
REASONS_TOLD = 20
"""Of pending rows, the most frequent ones."""
REASONS_HELD = 2000
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
        return _table_file(self.out, Outcome.KEPT)

    @property
    def dropped_file(self) -> Path:
        return _table_file(self.out, Outcome.DROPPED)

    @property
    def pending_file(self) -> Path:
        """There only where rows are pending."""
        return _table_file(self.out, Outcome.PENDING)

    @property
    def pyramid_file(self) -> Path:
        return self.out / PYRAMID

    @property
    def manifest(self) -> Path:
        """Kept pairs with the splits train, test and val."""
        return self.out / "manifest.csv"

    @property
    def candidates(self) -> int:
        """All rows of the manifests."""
        return self.kept + self.dropped + self.pending


def write_outputs(folder: RunFolder, settings: DistillSettings, real: Mapping[tuple[str, str], int]) -> Outputs:
    """Gather the finished shards of a run; where that was done before, and nothing has changed, nothing is written.

    Args:
        real: references by type and source.

    Raises:
        DistillError: a shard is missing or damaged, or the disk is full.
    """
    told: list[Any] = [
        settings.test_pairs,
        settings.val_pairs,
        settings.seed,
        settings.prepare.near_bits,
        *sorted(real.items()),
    ]
    if (before := _written(folder, told)) is not None:
        return before
    files = {outcome: _table_file(folder.out, outcome) for outcome in Outcome}
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
        write_text_whole(folder.out / PYRAMID, json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DistillError(
            f"{folder.out}: cannot be written ({error.strerror or error}); make room, run again"
        ) from error
    by_outcome = {outcome: sum(n for key, n in tally.counts.items() if key[0] == outcome) for outcome in Outcome}
    outputs = Outputs(
        folder.out,
        by_outcome[Outcome.KEPT],
        by_outcome[Outcome.DROPPED],
        by_outcome[Outcome.PENDING],
        dict(sum(tally.reasons.values(), Counter[str]()).most_common()),
        dict(tally.pending_reasons.most_common(REASONS_TOLD)),
        dict(sorted(tally.without_references.items())),
        shortfalls,
    )
    _note_written(folder, told, outputs)
    return outputs


def _table_file(out: Path, outcome: Outcome) -> Path:
    return out / f"{outcome.value}.parquet"


def _written(folder: RunFolder, told: Sequence[Any]) -> Outputs | None:
    """The outputs that are there, if they were written from what is there now, and nobody touched them since."""
    try:
        note = json.loads(folder.written.read_text(encoding="utf-8"))
        if note["state"] != _state(folder, told):
            return None
        cells = note["outputs"]
        shortfalls = tuple(Shortfall(**short) for short in cells["shortfalls"])
        return Outputs(**cells | {"out": folder.out, "shortfalls": shortfalls})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # written anew


def _note_written(folder: RunFolder, told: Sequence[Any], outputs: Outputs) -> None:
    cells = {name: cell for name, cell in asdict(outputs).items() if name != "out"}  # a folder may be moved
    note = {"state": _state(folder, told), "outputs": cells}
    write_text_whole(folder.written, json.dumps(note, indent=1, ensure_ascii=False))


def _state(folder: RunFolder, told: Sequence[Any]) -> str:
    """A digest that changes with what is told and with every file that outputs are made of, and with themselves."""
    shards = [folder.shard_file(number) for number in range(folder.shards)]
    whole = hashlib.sha256(json.dumps([VERSION, *told]).encode())
    for file in [folder.candidates, folder.refused, *shards, *(folder.out / name for name in OUTPUTS)]:
        status = file.stat() if file.exists() else None
        told_of_it = (status.st_size, status.st_mtime_ns, status.st_ino) if status else None
        whole.update(f"{file.name} {told_of_it}\n".encode())
    return whole.hexdigest()


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
        if len(self.pending_reasons) > REASONS_HELD:
            self.pending_reasons = Counter(dict(self.pending_reasons.most_common(REASONS_HELD // 2)))


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

    columns = result_schema().names
    waiting: list[pa.Table] = []
    for number in range(folder.shards):
        waiting.append(folder.shard(number).select(columns).replace_schema_metadata(None))
        if sum(table.num_rows for table in waiting) >= ROW_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
    for batch in folder.refused_rows():
        yield pa.Table.from_batches([batch]).cast(result_schema())
