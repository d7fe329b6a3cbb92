"""Everything that is wrong with a list of pictures, all at once: manifests of pairs, and indexes of photographs."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt

from derain.data.check import THREADS, FaultKind, PictureFault, Progress, in_threads, pair_faults, picture_fault
from derain.data.doubles import Hashes, find_doubles, hash_strings, repeated
from derain.data.pairs import SPLITS, Light, Pair, Photo
from derain.data.rows import Rows, column_names, read_rows
from derain.data.table import COLUMNS, row_faults
from derain.errors import DatasetError

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
        """Rows that were looked at."""
        self._keys: list[Hashes] = []
        self._scenes: list[Hashes] = []
        self._splits: list[npt.NDArray[np.int8]] = []

    def faults(self, tell: Callable[[int], None] | None = None) -> Iterator[Fault]:
        """All that is wrong, as it is found: in file order, and at the end what stands twice.

        Args:
            tell: is told now and then how many rows are done; how many there are is known at the end only.

        Raises:
            DatasetError: the list cannot be read or lacks columns.
        """
        names = column_names(self.path)
        is_index = "rainy" not in names and {"path", "light"} <= set(names)
        columns = (*PHOTO_COLUMNS, *(["role"] if "role" in names else [])) if is_index else COLUMNS
        bad_rows: list[Fault] = []

        def keep(place: str, reason: str) -> None:
            bad_rows.append(Fault(self.path, place, "", FaultKind.BAD_ROW, "", reason))

        for rows in read_rows(self.path, columns, keep):
            yield from bad_rows
            bad_rows.clear()
            yield from (self._photo_faults if is_index else self._pair_faults)(rows, self._progress(tell))
        yield from bad_rows
        yield from self._doubles("path" if is_index else "id", is_index)
        yield from self._split_scenes()

    def _progress(self, tell: Callable[[int], None] | None) -> Progress | None:
        """Within the next stretch."""
        before = self.rows
        return None if tell is None else lambda done, _total: tell(before + done)

    def _pair_faults(self, rows: Rows, progress: Progress | None) -> Iterator[Fault]:
        bad = dict(reversed(row_faults(rows)))
        self._remember(rows, "id", np.ones(rows.cells.num_rows, np.bool_))
        look = partial(pair_faults, minimum_side=self.minimum_side, decode=self.decode)
        pairs = list(_pairs(rows, self.path.resolve().parent, bad))
        looked = in_threads(look, pairs, len(pairs), progress, self._threads)
        for row in range(rows.cells.num_rows):
            if row in bad:
                yield self._fault(rows, row, "id", FaultKind.BAD_ROW, bad[row])
                continue
            yield from (self._of_picture(rows, row, "id", fault) for fault in next(looked))
            if not rows.cells.column("clean")[row].as_py() and rows.cells.column("split")[row].as_py() != "test":
                reason = "it has no clean partner; give it one, or the split 'test'"
                yield self._fault(rows, row, "id", FaultKind.NO_CLEAN, reason)

    def _photo_faults(self, rows: Rows, progress: Progress | None) -> Iterator[Fault]:
        cells = rows.cells
        roles = cells.column("role").to_pylist() if "role" in cells.schema.names else ["clean"] * cells.num_rows
        is_clean = np.array([role == "clean" for role in roles], np.bool_)
        self._remember(rows, "path", is_clean)
        folder = self.path.resolve().parent
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

    def _remember(self, rows: Rows, key: str, chosen: npt.NDArray[np.bool_]) -> None:
        """What doubles are found by at the end, some bytes a row."""
        self.rows += int(chosen.sum())
        self._keys.append(hash_strings(rows.cells.column(key))[chosen])
        self._scenes.append(hash_strings(rows.cells.column("scene"))[chosen])
        splits = rows.cells.column("split").to_pylist()
        codes = [SPLITS.index(split) if split in SPLITS else -1 for split in splits]
        self._splits.append(np.array(codes, np.int8)[chosen])

    def _fault(self, rows: Rows, row: int, key: str, kind: FaultKind, reason: str, file: str = "") -> Fault:
        return Fault(self.path, rows.place(row), str(rows.cells.column(key)[row].as_py()), kind, file, reason)

    def _of_picture(self, rows: Rows, row: int, key: str, fault: PictureFault) -> Fault:
        return self._fault(rows, row, key, fault.kind, fault.reason, str(fault.file))

    def _doubles(self, key: str, is_index: bool) -> Iterator[Fault]:
        only = ("role", "clean") if is_index and "role" in column_names(self.path) else None
        for double in find_doubles(self.path, key, repeated(self._keys), only):
            reason = f"{key} {double.value!r} is that of {double.earlier}; make it unique"
            yield Fault(self.path, double.place, double.value, FaultKind.DOUBLE_ID, "", reason)

    def _split_scenes(self) -> Iterator[Fault]:
        scenes = np.concatenate([*self._scenes, np.zeros(0, np.uint64)])
        splits = np.concatenate([*self._splits, np.zeros(0, np.int8)])
        empty = hash_strings(_one_empty_string())[0]
        named = (splits >= 0) & (scenes != empty)
        both = np.unique(np.stack([scenes[named], splits[named].astype(np.uint64)]), axis=1)
        suspects = np.unique(both[0, 1:][both[0, 1:] == both[0, :-1]])
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


class FaultFile:
    """A CSV file of faults, written as they come, so that none has to be kept.

    Raises:
        DatasetError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise DatasetError(f"{path}: cannot be written ({error.strerror}); give another place with -o") from error
        self._writer = csv.writer(self._file)
        self._writer.writerow([field.name for field in fields(Fault)])

    def write(self, faults: Sequence[Fault]) -> None:
        """Add faults."""
        self._writer.writerows(
            [fault.list, fault.place, fault.id, fault.kind, fault.file, fault.reason] for fault in faults
        )

    def close(self) -> None:
        """No more come."""
        self._file.close()
