"""Pictures that stand in several rows of lists, found by what is in them, whatever they are called."""

import hashlib
import os
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from derain.data.check import FaultKind
from derain.data.duplicates import Hashes, in_several_splits, repeated
from derain.data.faults import Fault
from derain.data.near_duplicates import near_groups
from derain.data.pairs import SPLITS
from derain.data.rows import column_names, read_rows

NO_FILE = 0
"""In place of a key or hash."""

_BLOCK = 4096


def content_key(path: Path) -> int:
    """64 bits of a file's size, beginning, middle and end: equal for equal files, and nearly always for these alone.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=8)
        for start in (0, size // 2, max(0, size - _BLOCK)):
            file.seek(start)
            digest.update(file.read(_BLOCK))
    return int.from_bytes(digest.digest(), "little") or 1


@dataclass
class Contents:
    """What the pictures of a list hold, 25 bytes a row; rows with a wrong number of cells are left out."""

    rainy: "array[int]" = field(default_factory=lambda: array("Q"))
    """`content_key` of the rainy picture; `NO_FILE` in an index, and where it cannot be read."""
    clean: "array[int]" = field(default_factory=lambda: array("Q"))
    hashes: "array[int]" = field(default_factory=lambda: array("Q"))
    """`perceptual_hash` of the clean picture, or of the rainy one where there is none; `NO_FILE` if not decoded."""
    splits: "array[int]" = field(default_factory=lambda: array("b"))
    """Place in `SPLITS`, -1 for a row that cannot be used."""

    def add(self, rainy: int, clean: int, perceptual: int, split: int) -> None:
        """The next row."""
        self.rainy.append(rainy)
        self.clean.append(clean)
        self.hashes.append(perceptual)
        self.splits.append(split)


class _Row(NamedTuple):
    """A row as faults name it."""

    list: Path
    place: str
    id: str
    files: tuple[Path, ...]
    """Rainy and clean, or the photograph of an index."""
    split: str

    def named_in(self, list: Path) -> str:
        """Its place, with its list where that is another one."""
        return self.place if list == self.list else f"{self.list}, {self.place}"


def repetition_faults(lists: Sequence[tuple[Path, Contents]]) -> Iterator[Fault]:
    """Pictures that are in several splits of one or several lists, pairs that are there twice, and near-duplicates.

    Files are equal by all of their bytes. Near-duplicates are found among what was decoded.
    """
    lists = list({path.resolve(): (path, contents) for path, contents in lists}.values())
    joined = [contents for _, contents in lists]
    rainy, clean, hashes = (
        np.concatenate([np.zeros(0, np.uint64), *(np.array(getattr(each, name), np.uint64) for each in joined)])
        for name in ("rainy", "clean", "hashes")
    )
    splits = np.concatenate([np.zeros(0, np.int8), *(np.array(each.splits, np.int8) for each in joined)])
    pairs = np.where(splits >= 0, rainy * np.uint64(0x9E3779B97F4A7C15) ^ clean, np.uint64(NO_FILE))
    is_twice = np.isin(pairs, np.setdiff1d(repeated([pairs]), [NO_FILE]))
    shared = in_several_splits(np.concatenate([rainy, clean]), np.tile(splits, 2), np.uint64(NO_FILE))
    is_split = (np.isin(rainy, shared) | np.isin(clean, shared)) & (splits >= 0)
    alike = _alike_in_several_splits(hashes, splits, ~is_split & (splits >= 0))
    rows = _named(lists, np.unique(np.concatenate([np.flatnonzero(is_twice | is_split), *alike])))
    yield from _duplicates([rows[row] for row in np.flatnonzero(is_twice).tolist()])
    yield from _in_several_splits([rows[row] for row in np.flatnonzero(is_split).tolist()])
    for group in alike:
        yield _near_duplicates([rows[row] for row in group.tolist()])


def _alike_in_several_splits(
    hashes: Hashes, splits: npt.NDArray[np.int8], takes_part: npt.NDArray[np.bool_]
) -> list[npt.NDArray[np.int64]]:
    """Rows of each group of near-duplicates that lies in several splits."""
    rows = np.flatnonzero(takes_part & (hashes != NO_FILE))
    leaders = near_groups(hashes[rows])
    order = np.argsort(leaders, kind="stable")
    ends = np.flatnonzero(np.diff(leaders[order])) + 1
    groups = np.split(rows[order], ends) if rows.size else []
    return [group for group in groups if len(set(splits[group].tolist())) > 1]


def _named(lists: Sequence[tuple[Path, Contents]], wanted: npt.NDArray[np.int64]) -> Mapping[int, _Row]:
    """The rows of these numbers, counted through all lists, by reading the lists once more."""
    found: dict[int, _Row] = {}
    before = 0
    for path, contents in lists:
        end = before + len(contents.splits)
        if wanted.size and np.searchsorted(wanted, before) < np.searchsorted(wanted, end):
            found.update(_named_in(path, before, wanted))
        before = end
    return found


def _named_in(path: Path, before: int, wanted: npt.NDArray[np.int64]) -> Iterator[tuple[int, _Row]]:
    names = column_names(path)
    files = ["rainy", "clean"] if "rainy" in names else ["path"]
    identity = "id" if "rainy" in names else "path"
    columns = list(dict.fromkeys([identity, *files, "split"]))
    folder = path.resolve().parent
    for rows in read_rows(path, columns, lambda _place, _reason: None):
        first, last = np.searchsorted(wanted, [before, before + rows.cells.num_rows])
        for number in wanted[first:last].tolist():
            cells = {name: str(rows.cells.column(name)[number - before].as_py()) for name in columns}
            shown = tuple(folder / cells[name] for name in files if cells[name])
            yield number, _Row(path, rows.place(number - before), cells[identity], shown, cells["split"])
        before += rows.cells.num_rows


def _duplicates(rows: Sequence[_Row]) -> Iterator[Fault]:
    first: dict[tuple[str, ...], _Row] = {}
    for row in rows:
        earlier = first.setdefault((row.split, *map(_digest, row.files)), row)
        is_same_photo = len(row.files) == 1 and row.files[0].resolve() == earlier.files[0].resolve()
        if earlier is not row and not is_same_photo:  # that is a duplicate photograph already
            what = "its picture is that" if len(row.files) == 1 else "its pictures are those"
            reason = f"{what} of {earlier.named_in(row.list)}; keep one row"
            yield Fault(row.list, row.place, row.id, FaultKind.DUPLICATE_PAIR, str(row.files[0]), reason)


def _in_several_splits(rows: Sequence[_Row]) -> Iterator[Fault]:
    """One fault for each content, but one for the rainy and the clean picture of the same rows."""
    found: dict[str, dict[str, tuple[_Row, Path]]] = defaultdict(dict)
    for row in rows:
        for file in row.files:
            found[_digest(file)].setdefault(row.split, (row, file))
    reported: set[tuple[_Row, ...]] = set()
    for places in found.values():
        together = tuple(row for row, _ in places.values())
        if len(places) > 1 and together not in reported:
            reported.add(together)
            row, file = list(places.values())[1]
            where = ", ".join(f"{split} ({other.named_in(row.list)})" for split, (other, _) in places.items())
            reason = f"{file} is, by its content, in several splits: {where}; keep a picture in one"
            yield Fault(row.list, row.place, row.id, FaultKind.SPLIT_PICTURE, str(file), reason)


def _near_duplicates(rows: Sequence[_Row]) -> Fault:
    places = {row.split: row for row in reversed(rows)}
    row = rows[next(place for place, other in enumerate(rows) if other.split != rows[0].split)]
    where = ", ".join(f"{name} ({places[name].named_in(row.list)})" for name in SPLITS if name in places)
    reason = f"{row.files[-1]} looks like pictures of other splits: {where}; keep what shows one scene in one split"
    return Fault(row.list, row.place, row.id, FaultKind.NEAR_DUPLICATE, str(row.files[-1]), reason)


@cache
def _digest(path: Path) -> str:
    """sha256 of a file's bytes; of one that went in the meantime its path, which equals no other."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return str(path)
