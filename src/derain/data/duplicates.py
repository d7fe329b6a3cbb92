"""Values that stand twice in a column of millions, found with 8 bytes a row in memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from derain.data.rows import read_rows

if TYPE_CHECKING:
    import pyarrow as pa

Hashes = npt.NDArray[np.uint64]


def hash_strings(strings: "pa.StringArray") -> Hashes:
    """(N,) hashes of 64 bits; equal strings have equal ones, unequal strings nearly always different ones.

    Eight bytes at a time are mixed in by xor and the finaliser of splitmix64 (Steele et al. 2014).
    """
    count = len(strings)
    _, offset_buffer, characters = strings.buffers()
    if offset_buffer is None:
        return np.zeros(count, np.uint64)
    offsets = np.frombuffer(offset_buffer, np.int32)[strings.offset : strings.offset + count + 1].astype(np.int64)
    first, last = (int(offsets[0]), int(offsets[-1])) if count else (0, 0)
    padded = np.zeros(last - first + 8, np.uint8)
    if characters is not None:
        padded[:-8] = np.frombuffer(characters, np.uint8)[first:last]
    # The eight bytes from every byte on: a view whose elements overlap.
    words: Hashes = np.ndarray(len(padded) - 7, "<u8", padded, strides=(1,))
    starts, lengths = offsets[:-1] - first, np.diff(offsets)
    hashes = _mix(lengths.astype(np.uint64))
    rows = np.arange(count)
    for done in range(0, int(lengths.max(initial=0)), 8):
        rows = rows[lengths[rows] > done]
        word = words[starts[rows] + done]
        beyond = np.maximum(0, 8 * (done + 8 - lengths[rows])).astype(np.uint64)  # bits of the next string
        hashes[rows] = _mix(hashes[rows] ^ ((word << beyond) >> beyond))
    return hashes


def _mix(z: Hashes) -> Hashes:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def repeated(hashes: Sequence[Hashes]) -> Hashes:
    """The hashes that occur more than once, in rising order."""
    whole = np.concatenate([*hashes, np.zeros(0, np.uint64)])
    whole.sort()
    return np.unique(whole[1:][whole[1:] == whole[:-1]])


def in_several_splits(keys: Hashes, splits: npt.NDArray[np.int8], unnamed: np.uint64) -> Hashes:
    """The keys of rows of several splits; rows of a split < 0 or of the key `unnamed` do not count."""
    counts = (splits >= 0) & (keys != unnamed)
    keys, splits = keys[counts], splits[counts]
    order = np.lexsort((splits, keys))
    keys, splits = keys[order], splits[order]
    return np.unique(keys[1:][(keys[1:] == keys[:-1]) & (splits[1:] != splits[:-1])])


@dataclass(frozen=True)
class Duplicate:
    """A value that stood earlier in its column already."""

    value: str
    place: str
    earlier: str
    """Where it stands first."""


Form = Callable[["pa.StringArray"], "pa.StringArray"]
"""Brings values that mean the same into one form."""


def find_duplicates(
    path: Path, column: str, suspects: Hashes, only: tuple[str, str] | None = None, form: Form | None = None
) -> Iterator[Duplicate]:
    """The duplicates in a column among the values with these hashes, by reading the file once more, in file order.

    With `only`, a column and its cell, other rows are passed over. With `form`, the hashes are those of values in that
    form, and values are equal that are so in it.
    """
    if not suspects.size:
        return
    places: dict[str, str] = {}
    columns = [column] if only is None else [column, only[0]]
    for rows in read_rows(path, columns, lambda _place, _reason: None):
        values = rows.cells.column(column)
        forms = values if form is None else form(values)
        for row in np.flatnonzero(np.isin(hash_strings(forms), suspects)).tolist():
            if only is not None and rows.cells.column(only[0])[row].as_py() != only[1]:
                continue
            value, place = forms[row].as_py(), rows.place(row)
            if value in places and value:
                yield Duplicate(values[row].as_py(), place, places[value])
            places.setdefault(value, place)
