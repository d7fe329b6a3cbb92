"""All candidates before any model: every file is measured, and what need not be judged is dropped by name.

Dropped are, in this order: rows without a clean partner or of an unknown type, pictures that are broken, pairs whose
sizes differ, pictures of registered test sets, exact duplicates (of bytes or of pixels), and frames beyond so many of a
scene. What is left is sorted by digest, which spreads scenes over the shards, and cut into them. Rows whose files
cannot be read now are left pending.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from derain.data.duplicates import hash_strings, repeated
from derain.data.pairs import Pair
from derain.data.table import PairTable, open_table
from derain.distill.answers.cache import AnswerCache
from derain.distill.judges.interface import Outcome
from derain.distill.pipeline.facts import FileFacts, FileMeasure, Unreadable, is_there
from derain.distill.pipeline.filters import CLEAN_PIXEL_DIGEST, PIXEL_DIGEST, Filters, registered_pictures
from derain.distill.pipeline.progress import Pace, Progress
from derain.distill.pipeline.row import Row, result_of
from derain.distill.pipeline.run_folder import RunFolder
from derain.distill.pipeline.schema import CANDIDATE_COLUMNS, family, result_schema
from derain.distill.settings import DistillSettings
from derain.errors import DatasetError, DistillError
from derain.files import atomic_write
from derain.types import RainType

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 256
GONE = "picture_gone"
"""Name of the reason of rows that are pending because their files cannot be read now."""


def prepare(
    manifests: Sequence[Path],
    settings: DistillSettings,
    folder: RunFolder,
    cache: AnswerCache,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Write a run's candidates, and the rows that are not judged, into its folder.

    Memory holds the rows with what was measured, some 800 bytes each.

    Raises:
        DatasetError: a manifest cannot be read, there are no rows, two have one id, or a registered picture is broken.
        DistillError: the cache cannot be used.
    """
    import pyarrow as pa

    tables = [open_table(manifest) for manifest in manifests]
    require_unique_ids(tables)
    folder.measured.parent.mkdir(parents=True, exist_ok=True)
    with FileMeasure(cache) as files, atomic_write(folder.measured) as part:
        registered = registered_pictures(settings.prepare.exclude, files)
        with part.open("wb") as sink, pa.ipc.new_file(sink, _measured_schema()) as writer:
            for batch in _measured(tables, files, on_progress):
                writer.write_batch(batch)
    # In one piece: whoever takes rows out of many pieces joins them all each time.
    rows = pa.ipc.open_file(pa.memory_map(str(folder.measured))).read_all().combine_chunks()
    filters = Filters.of(rows)
    filters.drop_registered(rows, registered, settings.prepare.near_bits)
    filters.drop_duplicates()
    filters.drop_frames(rows, settings.prepare)
    with atomic_write(folder.candidates, durable=True) as part:
        _write_candidates(part, rows, filters, settings.shard_rows)
    with atomic_write(folder.filtered, durable=True) as part:
        _write_filtered(part, rows, filters)
    folder.measured.unlink()


def require_no_returned_pictures(folder: RunFolder) -> None:
    """Candidates are not prepared again within a run, so what could not be read then cannot be taken in now.

    Raises:
        DistillError: a picture that could not be read when the run was prepared can be read now; or the list of
            filtered rows is damaged.
    """
    import pyarrow.compute as pc

    for batch in folder.filtered_rows(["rainy", "clean", "digest", "outcome"]):
        for row in batch.filter(pc.equal(batch.column("outcome"), Outcome.PENDING.value)).to_pylist():
            missing = row["clean"] if row["digest"] else row["rainy"]
            if is_there(missing):
                raise DistillError(
                    f"{folder.out}: {missing} could not be read when this run was prepared, and can be now; give the "
                    "command with --fresh to take in what has come back (answers of models stay in the cache)"
                )


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


def _measured(
    tables: Sequence[PairTable], files: FileMeasure, on_progress: Callable[[Progress], None] | None
) -> "Iterator[pa.RecordBatch]":
    """The rows of all manifests with what their files are."""
    pace = Pace("prepare", sum(map(len, tables)))
    for table in tables:
        for start in range(0, len(table), ROWS_AT_ONCE):
            pairs = table[start : start + ROWS_AT_ONCE]
            rainy = files.facts([str(pair.rainy) for pair in pairs])
            partners = iter(files.facts([str(pair.clean) for pair in pairs if pair.clean is not None]))
            clean = [next(partners) if pair.clean is not None else None for pair in pairs]
            yield _batch(pairs, rainy, clean)
            if on_progress is not None:
                on_progress(pace.advance(len(pairs)))


def _batch(
    pairs: Sequence[Pair], rainy: Sequence[FileFacts | Unreadable], clean: Sequence[FileFacts | Unreadable | None]
) -> "pa.RecordBatch":
    import pyarrow as pa

    cells = [_cells(*each) for each in zip(pairs, rainy, clean, strict=True)]
    return pa.RecordBatch.from_pylist(cells, schema=_measured_schema())


def _cells(
    pair: Pair, rainy: FileFacts | Unreadable, clean: FileFacts | Unreadable | None
) -> dict[str, str | int | None]:
    """Cells of `_measured_schema`; those that are absent are null."""
    cells: dict[str, str | int | None] = {
        "id": pair.id,
        "rainy": str(pair.rainy),
        "clean": str(pair.clean) if pair.clean is not None else "",
        "type": pair.type,
        "source": pair.source,
        "split": pair.split,
        "scene": pair.scene,
        "type_origin": "manifest" if pair.type else None,
        "reason": _own_reason(pair, rainy, clean),
    }
    if isinstance(rainy, FileFacts):
        cells |= {"digest": rainy.digest, "perceptual_hash": rainy.perceptual_hash, PIXEL_DIGEST: rainy.pixel_digest}
        cells |= {"width": rainy.width, "height": rainy.height}
    if isinstance(clean, FileFacts):
        cells |= {"clean_digest": clean.digest, "clean_hash": clean.perceptual_hash}
        cells[CLEAN_PIXEL_DIGEST] = clean.pixel_digest
    return cells


def _own_reason(pair: Pair, rainy: FileFacts | Unreadable, clean: FileFacts | Unreadable | None) -> str | None:
    """Why a row is not judged for what it is in itself, if so."""
    if clean is None:
        return "no_clean_partner"
    if pair.type and pair.type not in list(RainType):
        return f"unknown_type: {pair.type}"
    for facts in (rainy, clean):
        if isinstance(facts, Unreadable):
            return f"{GONE if facts.is_gone else 'unreadable_picture'}: {facts.reason}"
    assert isinstance(rainy, FileFacts)
    assert isinstance(clean, FileFacts)
    if (rainy.width, rainy.height) != (clean.width, clean.height):
        return f"sizes_differ: rainy {rainy.width}x{rainy.height}, clean {clean.width}x{clean.height}"
    return None


def _measured_schema() -> "pa.Schema":
    import pyarrow as pa

    whole, added = result_schema(), ("reason", PIXEL_DIGEST, CLEAN_PIXEL_DIGEST)
    fields = [whole.field(name) for name in CANDIDATE_COLUMNS]
    return pa.schema([*fields, *((name, pa.string()) for name in added)])


def _write_candidates(part: Path, rows: "pa.Table", filters: Filters, shard_rows: int) -> None:
    """A batch for each shard."""
    import pyarrow as pa

    chosen = rows.select(list(CANDIDATE_COLUMNS))
    order = filters.order(True)
    with part.open("wb") as sink, pa.ipc.new_file(sink, chosen.schema) as writer:
        for start in range(0, len(order), shard_rows):
            (batch,) = chosen.take(order[start : start + shard_rows]).combine_chunks().to_batches()
            writer.write_batch(batch)


def _write_filtered(part: Path, rows: "pa.Table", filters: Filters) -> None:
    import pyarrow.parquet as pq

    order = filters.order(False)
    with pq.ParquetWriter(part, result_schema()) as writer:
        for start in range(0, len(order), 4096):
            some = order[start : start + 4096]
            written = []
            for number, cells in zip(some.tolist(), rows.take(some).to_pylist(), strict=True):
                row = Row(**{name: cells[name] for name in CANDIDATE_COLUMNS})
                reason = filters.reason(number, cells["reason"], rows)
                if family(reason) == GONE:
                    row.leave_pending(reason)
                else:
                    row.drop(reason)
                written.append(row)
            writer.write_table(result_of(written))
