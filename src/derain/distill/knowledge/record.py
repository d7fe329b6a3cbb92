"""A real rainy photograph as the knowledge base keeps it, and as a row of the base's table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from derain.distill.knowledge.structure import SIDE
from derain.errors import DistillError
from derain.types import RainType

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
"""Of the columns in `record_schema`; a base of a newer version is not opened."""
STATUS_COLUMN = "standing"
"""Name of the table's column for `Record.status`."""
_UNIT_TOLERANCE = 1e-3


class ReviewStatus(StrEnum):
    """Whether a photograph is used as a reference."""

    UNREVIEWED = "unreviewed"
    """Passed the prefilter; used unless a person rejects it."""
    ACCEPTED = "accepted"
    """By a person."""
    REJECTED = "rejected"
    """By a person; kept so that it does not come back."""
    FILTERED = "filtered"
    """By the prefilter, for the reason in `reason`; kept so that it is not measured again."""


_STORED = {
    ReviewStatus.UNREVIEWED: "candidate",
    ReviewStatus.ACCEPTED: "accepted",
    ReviewStatus.REJECTED: "rejected",
    ReviewStatus.FILTERED: "refused",
}
"""The words of tables of version 1, new ones and old."""
_READ = {word: status for status, word in _STORED.items()}

IN_USE = (ReviewStatus.UNREVIEWED, ReviewStatus.ACCEPTED)
"""Photographs that are used as references."""


@dataclass(frozen=True)
class Record:
    """One photograph. Filtered ones have nothing but what stands before `type`, and a thumbnail."""

    digest: str
    """sha256 of the file, 64 hexadecimal digits: the key."""
    path: str
    source: str
    """Name of the data set or folder it came from."""
    width: int
    height: int
    status: ReviewStatus
    reason: str = ""
    """Why it was filtered or rejected, empty otherwise."""
    type: str = ""
    """Rain type: drs, drd, nrs, nrd."""
    light: str = ""
    """day or night."""
    quality: float = 0.0
    """No-reference quality in [0, 1]."""
    perceptual_hash: int = 0
    """64 bits."""
    caption: str = ""
    expansion: str = ""
    """The expander's text, empty without one."""
    keywords: tuple[str, ...] = ()
    description: str = ""
    """What the text vector was made of."""
    text: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """(D_text,), length 1."""
    visual: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """(D_visual,), length 1."""
    luminance: npt.NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 0), np.uint8))
    """(256, 256), Y' of BT.601, averaged over areas."""
    thumbnail: bytes = b""
    """A small JPEG for pages."""


@dataclass(frozen=True)
class Entry:
    """What a list of many photographs shows of one; the names are those of `Record`."""

    digest: str
    path: str
    source: str
    type: str
    light: str
    status: ReviewStatus
    reason: str
    quality: float
    width: int
    height: int


def stored_status(status: ReviewStatus) -> str:
    """The table's word for a status."""
    return _STORED[status]


def read_status(word: str) -> ReviewStatus:
    """The status that a word of the table stands for."""
    return _READ[word]


def record_schema(text_dimensions: int, visual_dimensions: int) -> "pa.Schema":
    """Columns of the table of photographs. Filtered ones have null for vectors and luminance."""
    import pyarrow as pa

    text, integer = pa.string(), pa.int32()
    columns = {
        **dict.fromkeys(("digest", "path", "source"), text),
        **dict.fromkeys(("width", "height"), integer),
        **dict.fromkeys(("type", "light", STATUS_COLUMN, "reason"), text),
        "quality": pa.float32(),
        "perceptual_hash": pa.uint64(),
        **dict.fromkeys(("caption", "expansion"), text),
        "keywords": pa.list_(text),
        "description": text,
        "text": pa.list_(pa.float32(), text_dimensions),
        "visual": pa.list_(pa.float32(), visual_dimensions),
        **dict.fromkeys(("luminance", "thumbnail"), pa.binary()),
    }
    return pa.schema(list(columns.items()))


def to_table(records: Sequence[Record], schema: "pa.Schema") -> "pa.Table":
    """A row for each record.

    Raises:
        DistillError: a record that is not filtered has no unit vector of the base's length, no luminance of 256x256,
            or a type that does not go with its light.
    """
    import pyarrow as pa

    lengths = {name: schema.field(name).type.list_size for name in ("text", "visual")}
    rows = []
    for record in records:
        row = dict(vars(record))
        row[STATUS_COLUMN] = stored_status(row.pop("status"))
        row["keywords"] = list(record.keywords)
        if record.status is ReviewStatus.FILTERED:
            row |= {"text": None, "visual": None, "luminance": None}
        else:
            _check(record, lengths)
            row["luminance"] = record.luminance.tobytes()
        rows.append(row)
    return pa.Table.from_pylist(rows, schema)


def from_table(table: "pa.Table") -> list[Record]:
    """The records of whole rows."""
    records = []
    for row in table.to_pylist():
        row["status"] = read_status(row.pop(STATUS_COLUMN))
        row["keywords"] = tuple(row["keywords"])
        row["luminance"] = luminance_of(row["luminance"])
        row |= {name: np.array(row[name] or (), np.float32) for name in ("text", "visual")}
        records.append(Record(**row))
    return records


def luminance_of(cell: bytes | None) -> npt.NDArray[np.uint8]:
    """(256, 256) uint8; (0, 0) for a photograph that was filtered."""
    return np.empty((0, 0), np.uint8) if cell is None else np.frombuffer(cell, np.uint8).reshape(SIDE, SIDE)


def _check(record: Record, lengths: dict[str, int]) -> None:
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
    for name, vector in (("text", record.text), ("visual", record.visual)):
        if vector.shape != (lengths[name],):
            raise DistillError(
                f"{record.path}: wanted a {name} vector of {lengths[name]} values, as the base holds, got "
                f"{vector.shape}; use the encoder the base was made with"
            )
        length = float(np.linalg.norm(vector))
        if not abs(length - 1) <= _UNIT_TOLERANCE:
            raise DistillError(f"{record.path}: wanted a {name} vector of length 1, got {length:.4g}; normalise it")
