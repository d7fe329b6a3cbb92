"""The rows of all manifests with what their files are: what can be said of each row by itself."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from derain.data.pairs import Pair
from derain.data.table import PairTable
from derain.distill.pipeline.facts import FileFacts, FileMeasure, Unreadable
from derain.distill.pipeline.progress import Pace, Progress
from derain.distill.pipeline.row import Row
from derain.distill.pipeline.schema import CANDIDATE_COLUMNS, result_schema
from derain.types import RainType

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 256
GONE = "picture_gone"
"""Name of the reason of rows that are not refused: their files cannot be had now."""
PIXEL_DIGEST, CLEAN_PIXEL_DIGEST = "pixel_digest", "clean_pixel_digest"
"""Columns of what was measured that only the search for duplicates needs, and that no candidate keeps."""
OnProgress = Callable[[Progress], None]


def measured(
    tables: Sequence[PairTable], files: FileMeasure, on_progress: OnProgress | None
) -> "Iterator[pa.RecordBatch]":
    """The rows of all manifests with what their files are."""
    total, done = sum(map(len, tables)), 0
    pace = Pace("prepare", total)
    for table in tables:
        for start in range(0, len(table), ROWS_AT_ONCE):
            pairs = table[start : start + ROWS_AT_ONCE]
            rainy = files.facts([str(pair.rainy) for pair in pairs])
            partners = iter(files.facts([str(pair.clean) for pair in pairs if pair.clean is not None]))
            clean = [next(partners) if pair.clean is not None else None for pair in pairs]
            yield _batch([_measured_row(*row) for row in zip(pairs, rainy, clean, strict=True)], rainy, clean)
            done += len(pairs)
            if on_progress is not None:
                on_progress(pace.at(done))


def _measured_row(pair: Pair, rainy: FileFacts | Unreadable, clean: FileFacts | Unreadable | None) -> Row:
    """The reason says why it is refused for what it is in itself, if it is."""
    seen = rainy if isinstance(rainy, FileFacts) else None
    partner = clean if isinstance(clean, FileFacts) else None
    return Row(
        id=pair.id,
        rainy=str(pair.rainy),
        clean=str(pair.clean) if pair.clean is not None else "",
        type=pair.type,
        source=pair.source,
        split=pair.split,
        scene=pair.scene,
        digest=seen.digest if seen else None,
        clean_digest=partner.digest if partner else None,
        perceptual_hash=seen.perceptual_hash if seen else None,
        clean_hash=partner.perceptual_hash if partner else None,
        width=seen.width if seen else None,
        height=seen.height if seen else None,
        type_origin="manifest" if pair.type else None,
        reason=_own_reason(pair, rainy, clean),
    )


def _own_reason(pair: Pair, rainy: FileFacts | Unreadable, clean: FileFacts | Unreadable | None) -> str | None:
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


def _batch(
    rows: Sequence[Row],
    rainy: Sequence[FileFacts | Unreadable],
    clean: Sequence[FileFacts | Unreadable | None],
) -> "pa.RecordBatch":
    import pyarrow as pa

    schema = _measured_schema()
    told = [*CANDIDATE_COLUMNS, "reason"]
    columns = [pa.array([getattr(row, name) for row in rows], schema.field(name).type) for name in told]
    columns += [
        pa.array([facts.pixel_digest if isinstance(facts, FileFacts) else None for facts in side], pa.string())
        for side in (rainy, clean)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _measured_schema() -> "pa.Schema":
    import pyarrow as pa

    whole, added = result_schema(), ("reason", PIXEL_DIGEST, CLEAN_PIXEL_DIGEST)
    fields = [whole.field(name) for name in CANDIDATE_COLUMNS]
    return pa.schema([*fields, *((name, pa.string()) for name in added)])


def write_measured(part: Path, batches: "Iterator[pa.RecordBatch]") -> None:
    import pyarrow as pa

    with part.open("wb") as sink, pa.ipc.new_file(sink, _measured_schema()) as writer:
        for batch in batches:
            writer.write_batch(batch)


def map_measured(file: Path) -> "pa.Table":
    import pyarrow as pa

    # In one piece: whoever takes rows out of many pieces joins them all each time.
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all().combine_chunks()
