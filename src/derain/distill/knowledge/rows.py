"""Records as rows of the knowledge base's table, and back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from derain.distill.knowledge.record import Record, Standing
from derain.distill.knowledge.structure import SIDE
from derain.errors import DistillError
from derain.types import RainType

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
"""Of the columns below; a base of a newer version is not opened."""

_LENGTH_TOLERANCE = 1e-3


def record_schema(text_dimensions: int, visual_dimensions: int) -> "pa.Schema":
    """Columns of the table of photographs. Those refused have null for vectors and luminance."""
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            ("digest", text),
            ("path", text),
            ("source", text),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("type", text),
            ("light", text),
            ("standing", text),
            ("reason", text),
            ("quality", pa.float32()),
            ("perceptual_hash", pa.uint64()),
            ("caption", text),
            ("expansion", text),
            ("keywords", pa.list_(text)),
            ("description", text),
            ("text", pa.list_(pa.float32(), text_dimensions)),
            ("visual", pa.list_(pa.float32(), visual_dimensions)),
            ("luminance", pa.binary()),
            ("thumbnail", pa.binary()),
        ]
    )


def to_table(records: Sequence[Record], schema: "pa.Schema") -> "pa.Table":
    """A row for each record.

    Raises:
        DistillError: a record that is not refused has no unit vector of the base's length, no luminance of 256x256,
            or a type that does not go with its light.
    """
    import pyarrow as pa

    dimensions = {name: schema.field(name).type.list_size for name in ("text", "visual")}
    for record in records:
        _check(record, dimensions["text"], dimensions["visual"])
    described = [record.standing is not Standing.REFUSED for record in records]
    columns: dict[str, object] = {
        name: [getattr(record, name) for record in records]
        for name in schema.names
        if name not in ("standing", "keywords", "text", "visual", "luminance")
    }
    columns["standing"] = [record.standing.value for record in records]
    columns["keywords"] = [list(record.keywords) for record in records]
    columns["text"] = _vector_column([record.text for record in records], described, dimensions["text"])
    columns["visual"] = _vector_column([record.visual for record in records], described, dimensions["visual"])
    columns["luminance"] = [
        record.luminance.tobytes() if is_described else None
        for record, is_described in zip(records, described, strict=True)
    ]
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def from_table(table: "pa.Table") -> list[Record]:
    """The records of whole rows."""
    return [
        Record(
            digest=row["digest"],
            path=row["path"],
            source=row["source"],
            width=row["width"],
            height=row["height"],
            type=row["type"],
            light=row["light"],
            standing=Standing(row["standing"]),
            reason=row["reason"],
            quality=row["quality"],
            perceptual_hash=row["perceptual_hash"],
            caption=row["caption"],
            expansion=row["expansion"],
            keywords=tuple(row["keywords"]),
            description=row["description"],
            text=np.array(row["text"] if row["text"] is not None else [], np.float32),
            visual=np.array(row["visual"] if row["visual"] is not None else [], np.float32),
            luminance=luminance_of(row["luminance"]),
            thumbnail=row["thumbnail"],
        )
        for row in table.to_pylist()
    ]


def luminance_of(cell: bytes | None) -> npt.NDArray[np.uint8]:
    """(256, 256) uint8; (0, 0) for a photograph that was refused."""
    return np.empty((0, 0), np.uint8) if cell is None else np.frombuffer(cell, np.uint8).reshape(SIDE, SIDE)


def _vector_column(vectors: list[npt.NDArray[np.float32]], described: list[bool], dimensions: int) -> "pa.Array":
    import pyarrow as pa

    nothing = np.zeros(dimensions, np.float32)
    flat = np.concatenate([v if is_there else nothing for v, is_there in zip(vectors, described, strict=True)])
    absent = pa.array([not is_there for is_there in described])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dimensions, mask=absent)


def _check(record: Record, text_dimensions: int, visual_dimensions: int) -> None:
    if record.standing is Standing.REFUSED:
        return
    types = [rain_type.value for rain_type in RainType]
    if record.type not in types:
        raise DistillError(f"{record.path}: wanted a rain type ({', '.join(types)}), got {record.type!r}")
    light = "night" if RainType(record.type).is_night else "day"
    if record.light != light:
        raise DistillError(
            f"{record.path}: rain type {record.type} belongs to the {light}, and its light is given as "
            f"{record.light!r}; correct one of them"
        )
    if record.luminance.shape != (SIDE, SIDE) or record.luminance.dtype != np.uint8:
        raise DistillError(f"{record.path}: wanted a luminance ({SIDE}, {SIDE}) uint8, got {record.luminance.shape}")
    for name, vector, wanted in (
        ("text", record.text, text_dimensions),
        ("visual", record.visual, visual_dimensions),
    ):
        if vector.shape != (wanted,):
            raise DistillError(
                f"{record.path}: wanted a {name} vector of {wanted} values, as the base holds, got {vector.shape}; "
                "use the encoder the base was made with"
            )
        length = float(np.linalg.norm(vector))
        if not abs(length - 1) <= _LENGTH_TOLERANCE:
            raise DistillError(f"{record.path}: wanted a {name} vector of length 1, got {length:.4g}; normalise it")
