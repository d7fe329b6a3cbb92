"""The whole set before any model: every file is looked at, and what need not be judged is refused by name.

Refused are, in this order: rows without a clean partner or of an unknown type, pictures that are broken, pairs whose
sizes differ, pictures of registered test sets, exact duplicates (of bytes or of pixels), and frames beyond so many of a
scene. What is left is sorted by digest, which spreads scenes over the shards, and cut into them. Rows whose files
cannot be had now are left pending; once they are there, the whole set is looked at anew, so that the result is as if
they had been there before. What was found out about candidates that stay is handed on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from derain.data.cache import write_whole
from derain.data.duplicates import hash_strings, repeated
from derain.data.table import PairTable, open_table
from derain.distill.pipeline.cache import AnswerCache
from derain.distill.pipeline.facts import FileMeasure, is_there
from derain.distill.pipeline.measuring import GONE, OnProgress, map_measured, measured, write_measured
from derain.distill.pipeline.refusals import Refusals
from derain.distill.pipeline.registered import registered_pictures
from derain.distill.pipeline.row import Row, result_of
from derain.distill.pipeline.run_folder import RunFolder
from derain.distill.pipeline.schema import CANDIDATE_COLUMNS, Outcome, family, result_schema
from derain.distill.pipeline.shards import Shards
from derain.distill.settings import DistillSettings
from derain.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa


def prepare(
    manifests: Sequence[Path],
    settings: DistillSettings,
    folder: Shards,
    cache: AnswerCache,
    on_progress: OnProgress | None = None,
) -> None:
    """Write a run's candidates and refused rows into a folder.

    Memory holds the rows with what was measured, some 800 bytes each.

    Raises:
        DatasetError: a manifest cannot be read, there are no rows, two have one id, or a registered picture is broken.
        DistillError: the cache cannot be used.
    """
    tables = [open_table(manifest) for manifest in manifests]
    require_unique_ids(tables)
    with FileMeasure(cache) as files:
        registered = registered_pictures(settings.prepare.exclude, files)
        write_whole(folder.measured, lambda part: write_measured(part, measured(tables, files, on_progress)))
    rows = map_measured(folder.measured)
    reasons = Refusals.of(rows)
    reasons.refuse_registered(rows, registered, settings.prepare.near_bits)
    reasons.refuse_duplicates()
    reasons.refuse_frames(rows, settings.prepare)
    write_whole(folder.candidates, lambda part: _write_candidates(part, rows, reasons, settings.shard_rows))
    write_whole(folder.refused, lambda part: _write_refused(part, rows, reasons))
    folder.measured.unlink()


def prepare_anew(
    manifests: Sequence[Path],
    settings: DistillSettings,
    folder: RunFolder,
    cache: AnswerCache,
    on_progress: OnProgress | None = None,
) -> bool:
    """Prepare the candidates of a run that is under way, and keep what was found out about those that stay.

    Nothing of the run is touched before the new candidates are written with all that is known of them. Nor is anything
    done while files of judged candidates are away, for these would be no candidates then: it waits for all files to be
    there together. Errors as of `prepare`.

    Returns:
        Whether it was done.
    """
    if any(row.outcome != Outcome.PENDING and not _has_its_files(row) for row in folder.judged_rows()):
        return False
    following = folder.begin_next()
    prepare(manifests, settings, following, cache, on_progress)
    hand_on(folder.judged_rows(), following)
    folder.finish_next()
    return True


def _has_its_files(row: Row) -> bool:
    """Whether something is where a row's pictures were; without reading it, for there may be millions."""
    return all(Path(file).is_file() for file in (row.rainy, row.clean) if file)


def hand_on(judged: Iterator[Row], following: Shards) -> None:
    """Write shards of candidates that were judged before, by the same pictures and the same type.

    Args:
        judged: by digest, as candidates are; of one digest there is one at most on either side.
    """
    before = next(judged, None)
    for number in range(following.shards):
        rows, known = following.open_rows(number), 0
        for place, row in enumerate(rows):
            while before is not None and (before.digest or "") < (row.digest or ""):
                before = next(judged, None)
            found = before.handed_on_to(row) if before is not None else None
            if found is None:
                row.leave_pending("not_asked: its turn has not come")
            else:
                rows[place], known = found, known + 1
        if known:
            following.write_shard(number, rows)


def are_there_again(folder: Shards) -> bool:
    """Whether files that could not be had when the candidates were prepared can be had now.

    Raises:
        DistillError: the list of refused rows is damaged.
    """
    import pyarrow.compute as pc

    for batch in folder.refused_rows(["rainy", "clean", "digest", "outcome"]):
        for row in batch.filter(pc.equal(batch.column("outcome"), Outcome.PENDING.value)).to_pylist():
            if is_there(row["clean"] if row["digest"] else row["rainy"]):
                return True
    return False


def require_unique_ids(tables: Sequence[PairTable]) -> None:
    """Raises DatasetError where two rows of whatever manifests have one id, or there is no row at all."""
    import pyarrow as pa

    hashes = []
    for table in tables:
        for start in range(0, len(table), 65536):
            hashes.append(hash_strings(pa.array([pair.id for pair in table[start : start + 65536]], pa.string())))
    if not sum(map(len, hashes)):
        names = ", ".join(str(table.manifest) for table in tables) or "no manifest"
        raise DatasetError(f"{names}: wanted candidate pairs, got no row; give manifests that have some")
    suspects = set(repeated(hashes).tolist())
    if not suspects:
        return
    seen: dict[str, Path] = {}
    for table in tables:
        for pair in table:
            if int(hash_strings(pa.array([pair.id], pa.string()))[0]) in suspects:
                if pair.id in seen:
                    raise DatasetError(
                        f"{table.manifest}: id {pair.id!r} is in {seen[pair.id]} already; make ids unique over all "
                        "manifests, or give each manifest once"
                    )
                seen[pair.id] = table.manifest


def _write_candidates(part: Path, rows: "pa.Table", reasons: Refusals, shard_rows: int) -> None:
    """A batch for each shard."""
    import pyarrow as pa

    chosen = rows.select(list(CANDIDATE_COLUMNS))
    order = reasons.order(True)
    with part.open("wb") as sink, pa.ipc.new_file(sink, chosen.schema) as writer:
        for start in range(0, len(order), shard_rows):
            (batch,) = chosen.take(order[start : start + shard_rows]).combine_chunks().to_batches()
            writer.write_batch(batch)


def _write_refused(part: Path, rows: "pa.Table", reasons: Refusals) -> None:
    import pyarrow.parquet as pq

    order = reasons.order(False)
    with pq.ParquetWriter(part, result_schema()) as writer:
        for start in range(0, len(order), 4096):
            some = order[start : start + 4096]
            refused = []
            for number, cells in zip(some.tolist(), rows.take(some).to_pylist(), strict=True):
                row = Row(**{name: cells[name] for name in CANDIDATE_COLUMNS})
                reason = reasons.reason(number, cells["reason"], rows)
                if family(reason) == GONE:
                    row.leave_pending(reason)
                else:
                    row.drop(reason)
                refused.append(row)
            writer.write_table(result_of(refused))
