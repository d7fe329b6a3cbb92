"""Everything that is wrong with a list of pictures, all at once: manifests of pairs, and indexes of photographs."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt

from derain.data.check import THREADS, FaultKind, PictureFault, Progress, in_threads, pair_faults, picture_fault
from derain.data.doubles import Hashes, find_doubles, hash_strings, repeated
from derain.data.pairs import SPLITS, Light, Pair, Photo
from derain.data.rows import Rows, column_names, read_rows, require_columns
from derain.data.table import COLUMNS, MOST_TYPES, row_faults, too_many_types
from derain.types import RainType

if TYPE_CHECKING:
    import pyarrow as pa

PHOTO_COLUMNS = tuple(field.name for field in fields(Photo))


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a list."""

    list: Path
    place: str
    """Where in the list, such as `line 12`."""
    id: str
    """The row's id, or the path of its picture; empty where it is the row that cannot be read."""
    kind: FaultKind
    file: str
    """The picture it is about, empty where it is about the row."""
    reason: str
    """In words."""


@dataclass
class Audit:
    """Goes through one list, picture by picture.

    Args:
        path: a manifest (the columns of `Pair`), or an index of photographs (the columns of `Photo`).
        minimum_side: pixels that both sides of a picture must have.
        decode: read all pixels of each picture, not only its header.
    """

    path: Path
    minimum_side: int
    decode: bool

    def __post_init__(self) -> None:
        self.rows = 0
        """Rows that were looked at, those that cannot be used among them."""
        self.types: Counter[str] = Counter()
        """Rows of a manifest by type, those without by `""`; names beyond the first `MOST_TYPES` are not counted."""
        self._has_too_many_types = False
        self._keys: list[Hashes] = []
        self._scenes: list[Hashes] = []
        self._splits: list[npt.NDArray[np.int8]] = []

    def faults(self, tell: Callable[[int], None] | None = None) -> Iterator[Fault]:
        """All that is wrong, as it is found: in file order, and at the end what stands twice or not at all.

        Args:
            tell: is told now and then how many rows are done; how many there are is known at the end only.

        Raises:
            DatasetError: the list cannot be read or lacks columns.
        """
        columns = self.columns()
        is_index = "path" in columns
        bad_rows: list[Fault] = []

        def keep(place: str, reason: str) -> None:
            self.rows += 1
            bad_rows.append(Fault(self.path, place, "", FaultKind.BAD_ROW, "", reason))

        for rows in read_rows(self.path, columns, keep):
            yield from bad_rows
            bad_rows.clear()
            yield from (self._photo_faults if is_index else self._pair_faults)(rows, self._progress(tell))
        yield from bad_rows
        if not any(map(len, self._keys)):
            what = "clean photographs" if is_index else "pairs"
            yield Fault(self.path, "whole list", "", FaultKind.NO_ROWS, "", f"it has no rows of {what}; give another")
        yield from self._double_photos("role" in columns) if is_index else self._double_ids()
        yield from self._split_scenes()
        yield from self._rare_types()

    def columns(self) -> tuple[str, ...]:
        """The columns of this list that are looked at: those of an index or those of a manifest.

        Raises:
            DatasetError: the list cannot be read or lacks columns.
        """
        names = column_names(self.path)
        is_index = "rainy" not in names and "path" in names
        columns = (*PHOTO_COLUMNS, *(["role"] if "role" in names else [])) if is_index else COLUMNS
        require_columns(self.path, columns, names)
        return columns

    def _progress(self, tell: Callable[[int], None] | None) -> Progress | None:
        """Within the next stretch."""
        before = self.rows
        return None if tell is None else lambda done, _total: tell(before + done)

    def _pair_faults(self, rows: Rows, progress: Progress | None) -> Iterator[Fault]:
        bad = dict(reversed(row_faults(rows)))
        self._remember(rows, rows.cells.column("id"), np.ones(rows.cells.num_rows, np.bool_))
        yield from self._count_types(rows)
        look = partial(pair_faults, minimum_side=self.minimum_side, decode=self.decode)
        pairs = list(_pairs(rows, self.path.resolve().parent, bad))
        looked = in_threads(look, pairs, len(pairs), progress, self._threads)
        for row in range(rows.cells.num_rows):
            if row in bad:
                yield self._fault(rows, row, "id", FaultKind.BAD_ROW, bad[row])
                continue
            yield from (self._of_picture(rows, row, "id", fault) for fault in next(looked))
            if rows.cells.column("split")[row].as_py() == "test":
                continue
            if not rows.cells.column("clean")[row].as_py():
                reason = "it has no clean partner; give it one, or the split 'test'"
                yield self._fault(rows, row, "id", FaultKind.NO_CLEAN, reason)
            if not rows.cells.column("type")[row].as_py():
                reason = "its type is empty, so that it is never used; give it one, or the split 'test'"
                yield self._fault(rows, row, "id", FaultKind.NO_TYPE, reason)

    def _count_types(self, rows: Rows) -> Iterator[Fault]:
        """The fault is told once."""
        column = rows.cells.column("type")
        for row, name in enumerate(column.to_pylist()):
            if name in self.types or len(self.types) < MOST_TYPES:
                self.types[name] += 1
            elif not self._has_too_many_types:
                self._has_too_many_types = True
                yield self._fault(rows, row, "id", FaultKind.BAD_ROW, too_many_types(name))

    def _photo_faults(self, rows: Rows, progress: Progress | None) -> Iterator[Fault]:
        cells = rows.cells
        roles = cells.column("role").to_pylist() if "role" in cells.schema.names else ["clean"] * cells.num_rows
        is_clean = np.array([role == "clean" for role in roles], np.bool_)
        folder = self.path.resolve().parent
        self._remember(rows, real_paths(cells.column("path"), folder), is_clean)
        files = cells.column("path").to_pylist()
        bad = {row: reason for row in range(cells.num_rows) if is_clean[row] and (reason := _bad_photo(rows, row))}
        paths = [folder / file for row, file in enumerate(files) if is_clean[row] and row not in bad]
        look = partial(picture_fault, minimum_side=self.minimum_side, decode=self.decode)
        looked = in_threads(look, paths, len(paths), progress, self._threads)
        for row in np.flatnonzero(is_clean).tolist():
            if row in bad:
                yield self._fault(rows, row, "path", FaultKind.BAD_ROW, bad[row])
                continue
            fault = next(looked)[1]
            if fault is not None:
                yield self._of_picture(rows, row, "path", fault)

    @property
    def _threads(self) -> int:
        """Decoding takes a processor and memory for a picture each; headers take neither."""
        return (os.cpu_count() or 1) if self.decode else THREADS

    def _remember(self, rows: Rows, keys: "pa.StringArray", chosen: npt.NDArray[np.bool_]) -> None:
        """What doubles are found by at the end, some bytes a row."""
        self.rows += int(chosen.sum())
        self._keys.append(hash_strings(keys)[chosen])
        self._scenes.append(hash_strings(rows.cells.column("scene"))[chosen])
        splits = rows.cells.column("split").to_pylist()
        codes = [SPLITS.index(split) if split in SPLITS else -1 for split in splits]
        self._splits.append(np.array(codes, np.int8)[chosen])

    def _fault(self, rows: Rows, row: int, key: str, kind: FaultKind, reason: str, file: str = "") -> Fault:
        return Fault(self.path, rows.place(row), str(rows.cells.column(key)[row].as_py()), kind, file, reason)

    def _of_picture(self, rows: Rows, row: int, key: str, fault: PictureFault) -> Fault:
        return self._fault(rows, row, key, fault.kind, fault.reason, str(fault.file))

    def _double_ids(self) -> Iterator[Fault]:
        for double in find_doubles(self.path, "id", repeated(self._keys)):
            reason = f"id {double.value!r} is that of {double.earlier}; make it unique"
            yield Fault(self.path, double.place, double.value, FaultKind.DOUBLE_ID, "", reason)

    def _double_photos(self, has_roles: bool) -> Iterator[Fault]:
        form = partial(real_paths, folder=self.path.resolve().parent)
        only = ("role", "clean") if has_roles else None
        for double in find_doubles(self.path, "path", repeated(self._keys), only, form):
            reason = f"{double.value} is listed on {double.earlier} already; keep one row"
            yield Fault(self.path, double.place, double.value, FaultKind.DOUBLE_PHOTO, "", reason)

    def _split_scenes(self) -> Iterator[Fault]:
        scenes = np.concatenate([*self._scenes, np.zeros(0, np.uint64)])
        splits = np.concatenate([*self._splits, np.zeros(0, np.int8)])
        suspects = scenes_in_several_splits(scenes, splits, hash_strings(_one_empty_string())[0])
        if not suspects.size:
            return
        found: dict[str, dict[str, str]] = {}
        for rows in read_rows(self.path, ["scene", "split"], lambda _place, _reason: None):
            column = rows.cells.column("scene")
            for row in np.flatnonzero(np.isin(hash_strings(column), suspects)).tolist():
                split = rows.cells.column("split")[row].as_py()
                if split in SPLITS:
                    found.setdefault(column[row].as_py(), {}).setdefault(split, rows.place(row))
        for scene, places in found.items():
            if len(places) > 1:
                where = ", ".join(f"{split} ({place})" for split, place in places.items())
                reason = f"scene {scene!r} is in several splits: {where}; keep a scene in one"
                yield Fault(self.path, list(places.values())[1], scene, FaultKind.SPLIT_SCENE, "", reason)

    def _rare_types(self) -> Iterator[Fault]:
        """Where each name of few rows first stands that is probably a slip in one of many rows."""
        meant = slips(self.types)
        if not meant:
            return
        for rows in read_rows(self.path, ["id", "type"], lambda _place, _reason: None):
            for row, name in enumerate(rows.cells.column("type").to_pylist()):
                if name in meant:
                    reason = (
                        f"type {name!r} stands in {self.types[name]} of {sum(self.types.values())} rows; "
                        f"is {meant.pop(name)!r} meant?"
                    )
                    yield self._fault(rows, row, "id", FaultKind.RARE_TYPE, reason)
            if not meant:
                return


def slips(types: Mapping[str, int], rare: float = 0.01, times: int = 20) -> dict[str, str]:
    """Names of types in less than a share `rare` of the rows -> the name of many that is one slip away.

    A slip is a letter too many, too few, another, or two that changed places. Of many are names in `times` as many
    rows or more. The four types of rain are a letter apart from each other and never a slip.
    """
    total = sum(types.values())
    few = [name for name, count in types.items() if name and count < rare * total and name not in set(RainType)]
    found = {}
    for name in few:
        near = [(count, other) for other, count in types.items() if count >= times * types[name] and other]
        close = [(count, other) for count, other in near if is_one_slip_away(name, other)]
        if close:
            found[name] = max(close)[1]
    return found


def is_one_slip_away(name: str, other: str) -> bool:
    """Whether one letter added, left out or changed, or two neighbours exchanged, make one name the other."""
    short, long = sorted((name, other), key=len)
    same = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    ours, theirs = short[same:], long[same:]
    if len(short) < len(long):
        return ours == theirs[1:]
    return bool(ours) and (ours[1:] == theirs[1:] or (ours[:2] == theirs[1::-1] and ours[2:] == theirs[2:]))


def scenes_in_several_splits(scenes: Hashes, splits: npt.NDArray[np.int8], unnamed: np.uint64) -> Hashes:
    """The scenes of rows of several splits; rows of a split < 0 or of the scene `unnamed` do not count."""
    counts = (splits >= 0) & (scenes != unnamed)
    scenes, splits = scenes[counts], splits[counts]
    order = np.lexsort((splits, scenes))
    scenes, splits = scenes[order], splits[order]
    return np.unique(scenes[1:][(scenes[1:] == scenes[:-1]) & (splits[1:] != splits[:-1])])


def real_paths(paths: "pa.StringArray", folder: Path) -> "pa.StringArray":
    """The files that paths mean, so that two ways to the same file are equal; what is empty stays so."""
    import pyarrow as pa

    return pa.array([os.path.realpath(folder / path) if path else "" for path in paths.to_pylist()], pa.string())


def _one_empty_string() -> "pa.StringArray":
    import pyarrow as pa

    return pa.array([""], pa.string())


def _pairs(rows: Rows, folder: Path, leave_out: dict[int, str]) -> Iterator[Pair]:
    """The pairs of a stretch."""
    for row, cells in enumerate(rows.cells.to_pylist()):
        if row not in leave_out:
            clean = folder / cells["clean"] if cells["clean"] else None
            type_name = cells["type"] or None
            source, split, scene = cells["source"], cells["split"], cells["scene"]
            yield Pair(cells["id"], folder / cells["rainy"], clean, type_name, source, split, scene)


def _bad_photo(rows: Rows, row: int) -> str:
    """What is wrong with a row of an index, empty where nothing is."""
    path, light, split = (str(rows.cells.column(name)[row].as_py()) for name in ("path", "light", "split"))
    if not path:
        return "column 'path' is empty; fill it in"
    if light not in get_args(Light):
        return f"light {light!r} is none of {', '.join(get_args(Light))}"
    if split not in SPLITS:
        return f"split {split!r} is unknown; use one of {', '.join(SPLITS)}"
    return ""
