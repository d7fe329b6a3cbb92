"""The vectors of a knowledge base brought into memory, with little beside them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from derain.distill.knowledge.references import (
    IN_USE,
    Floats,
    ReferenceVectors,
    raw_digests,
    type_order,
)
from derain.errors import DistillError

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.table import Table

_ROWS_AT_ONCE = 8192


def read_vectors(uri: str, table: "Table", text_dimensions: int, visual_dimensions: int) -> ReferenceVectors:
    """The references of a base's table, in two passes over a few of its columns.

    Raises:
        DistillError: photographs were taken away meanwhile.
    """
    import pyarrow as pa

    parts, types, paths = [raw_digests([])], [], [pa.array([], pa.string())]
    for batch in batches(table, ["digest", "type", "path"], IN_USE):
        parts.append(raw_digests(batch.column("digest").to_pylist()))
        types.extend(batch.column("type").to_pylist())
        paths.append(batch.column("path"))
    digests = np.concatenate(parts)
    order, slices = type_order(types, digests)
    # Vectors go to their places as they are read, lest two copies of them be held.
    by_digest = np.argsort(digests)
    sorted_digests, place_of = digests[by_digest], np.empty_like(order)
    place_of[order] = np.arange(len(order))
    text = np.zeros((len(order), text_dimensions), np.float32)
    visual = np.zeros((len(order), visual_dimensions), np.float32)
    filled = 0
    for batch in batches(table, ["digest", "text", "visual"], IN_USE) if len(order) else ():
        here = raw_digests(batch.column("digest").to_pylist())
        found = np.minimum(np.searchsorted(sorted_digests, here), len(order) - 1)
        # Others may have added photographs since the first pass.
        is_listed = sorted_digests[found] == here
        places = place_of[by_digest[found[is_listed]]]
        text[places] = _vectors(batch.column("text"))[is_listed]
        visual[places] = _vectors(batch.column("visual"))[is_listed]
        filled += len(places)
    if filled != len(order):
        raise DistillError(f"{uri}: photographs were taken away while the base was read; read it again")
    return ReferenceVectors(
        digests=digests[order],
        paths=_Column(pa.concat_arrays(paths).take(pa.array(order))),
        slices=slices,
        text=text,
        visual=visual,
    )


def batches(table: "Table", columns: Sequence[str], condition: str | None) -> "Iterator[pa.RecordBatch]":
    """Some columns of the rows that fulfil a condition, in no particular order."""
    query = table.search().select([*columns]).limit(None)
    yield from (query if condition is None else query.where(condition)).to_batches(batch_size=_ROWS_AT_ONCE)


class _Column:
    """A column of texts, held as Arrow holds it."""

    def __init__(self, column: "pa.Array") -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: int, /) -> str:
        return str(self._column[row].as_py())


def _vectors(column: "pa.FixedSizeListArray") -> Floats:
    """(N, D) of a column without nulls."""
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(len(column), column.type.list_size)
