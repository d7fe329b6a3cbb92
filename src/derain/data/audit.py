"""Everything that is wrong with a list of pictures, all at once: manifests of pairs, and indexes of photographs."""

import filecmp
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt

from derain.data.added_light import FEWEST_PAIRS, MOST_LACKING, SAMPLED_PAIRS, lacks_rain
from derain.data.check import (
    THREADS,
    FaultKind,
    PictureCheck,
    PictureFault,
    Progress,
    check_pair,
    check_picture,
    in_threads,
)
from derain.data.duplicates import Hashes, find_duplicates, hash_strings, in_several_splits, repeated
from derain.data.faults import Fault
from derain.data.near_duplicates import perceptual_hash
from derain.data.pairs import SPLITS, Light, Pair, Photo
from derain.data.repetition import NO_FILE, Contents, content_key
from derain.data.rows import Rows, column_names, read_rows, require_columns
from derain.data.table import COLUMNS, MOST_TYPES, row_faults, too_many_types
from derain.data.type_names import KNOWN, meant_by, slips

if TYPE_CHECKING:
    import pyarrow as pa

PHOTO_COLUMNS = tuple(field.name for field in fields(Photo))


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
        self.contents = Contents()
        """What the pictures of each row hold, for `repetition_faults`."""
        self._has_too_many_types = False
        self._drawn: Counter[tuple[str, str]] = Counter()
        self._lacking: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)
        """Of the first pairs of each source and type, whether they lack what rain adds."""
        self._keys: list[Hashes] = []
        self._scenes: list[Hashes] = []
        self._splits: list[npt.NDArray[np.int8]] = []

    def faults(self, on_progress: Callable[[int], None] | None = None) -> Iterator[Fault]:
        """All that is wrong, as it is found: in file order, and at the end what stands twice or not at all.

        Args:
            on_progress: is called now and then with how many rows are done; how many there are is known at the end.

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
            yield from (self._photo_faults if is_index else self._pair_faults)(rows, self._progress(on_progress))
        yield from bad_rows
        if not any(map(len, self._keys)):
            what = "clean photographs" if is_index else "pairs"
            yield Fault(self.path, "whole list", "", FaultKind.NO_ROWS, "", f"it has no rows of {what}; give another")
        yield from self._duplicate_photos("role" in columns) if is_index else self._duplicate_ids()
        yield from self._split_scenes()
        yield from self._misspelt_types()
        yield from self._swapped()

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

    def _progress(self, on_progress: Callable[[int], None] | None) -> Progress | None:
        """Within the next stretch."""
        before = self.rows
        return None if on_progress is None else lambda done, _total: on_progress(before + done)

    def _pair_faults(self, rows: Rows, progress: Progress | None) -> Iterator[Fault]:
        bad = dict(reversed(row_faults(rows)))
        self._remember(rows, rows.cells.column("id"), np.ones(rows.cells.num_rows, np.bool_))
        yield from self._count_types(rows)
        pairs = [(pair, self._is_sampled(pair)) for pair in _pairs(rows, self.path.resolve().parent, bad)]
        looked = in_threads(self._look_at_pair, pairs, len(pairs), progress, self._threads)
        for row in range(rows.cells.num_rows):
            if row in bad:
                self.contents.add(NO_FILE, NO_FILE, NO_FILE, -1)
                yield self._fault(rows, row, "id", FaultKind.BAD_ROW, bad[row])
                continue
            seen = next(looked)
            split = rows.cells.column("split")[row].as_py()
            self.contents.add(seen.rainy_key, seen.clean_key, seen.hash, SPLITS.index(split) if seen.is_there else -1)
            if seen.lacks_rain is not None:
                key = rows.cells.column("source")[row].as_py(), rows.cells.column("type")[row].as_py()
                self._lacking[key].append(seen.lacks_rain)
            yield from (self._of_picture(rows, row, "id", fault) for fault in seen.faults)
            if split == "test":
                continue
            if not rows.cells.column("clean")[row].as_py():
                reason = "it has no clean partner; give it one, or the split 'test'"
                yield self._fault(rows, row, "id", FaultKind.NO_CLEAN, reason)
            if not rows.cells.column("type")[row].as_py():
                reason = "its type is empty, so that it is never used; give it one, or the split 'test'"
                yield self._fault(rows, row, "id", FaultKind.NO_TYPE, reason)

    def _count_types(self, rows: Rows) -> Iterator[Fault]:
        """Count the types; too many of them are one fault."""
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
        looked = in_threads(self._look_at_photo, paths, len(paths), progress, self._threads)
        for row in range(cells.num_rows):
            if row in bad or not is_clean[row]:
                self.contents.add(NO_FILE, NO_FILE, NO_FILE, -1)
                if row in bad:
                    yield self._fault(rows, row, "path", FaultKind.BAD_ROW, bad[row])
                continue
            seen = next(looked)
            self.contents.add(NO_FILE, seen.clean_key, seen.hash, SPLITS.index(cells.column("split")[row].as_py()))
            yield from (self._of_picture(rows, row, "path", fault) for fault in seen.faults)

    def _is_sampled(self, pair: Pair) -> bool:
        """Whether it is one of the first pairs of its source and type, of a weather that is known to add light."""
        if pair.type not in KNOWN or pair.clean is None:
            return False
        drawn = self._drawn[pair.source, pair.type]
        self._drawn[pair.source, pair.type] += 1
        return drawn < SAMPLED_PAIRS

    def _look_at_pair(self, given: tuple[Pair, bool]) -> "_Seen":
        pair, is_sampled = given
        faults, rainy, clean = check_pair(pair, self.minimum_side, "pixels" if self.decode or is_sampled else "header")
        seen = _Seen(faults)
        if rainy.size is None or (clean is not None and clean.size is None):
            return seen
        seen.is_there = True
        seen.rainy_key = _key_of(pair.rainy, faults)
        shown = rainy
        if pair.clean is not None and clean is not None:
            shown = clean
            seen.clean_key = _key_of(pair.clean, faults)
            if _are_equal(pair.rainy, rainy, seen.rainy_key, pair.clean, clean, seen.clean_key):
                reason = f"{pair.rainy} and its partner {pair.clean} are one picture; give the pair its two pictures"
                faults.append(PictureFault(FaultKind.RAINY_IS_CLEAN, pair.rainy, reason))
            elif is_sampled and rainy.pixels is not None and clean.pixels is not None and rainy.size == clean.size:
                seen.lacks_rain = lacks_rain(rainy.pixels, clean.pixels)
        if self.decode and shown.pixels is not None:
            seen.hash = perceptual_hash(shown.pixels)
        return seen

    def _look_at_photo(self, path: Path) -> "_Seen":
        look = check_picture(path, self.minimum_side, "pixels" if self.decode else "header")
        seen = _Seen([look.fault] if look.fault is not None else [])
        if look.size is not None:
            seen.clean_key = _key_of(path, seen.faults)
        if look.pixels is not None:
            seen.hash = perceptual_hash(look.pixels)
        return seen

    @property
    def _threads(self) -> int:
        """Decoding takes a processor and memory for a picture each; headers take neither."""
        return (os.cpu_count() or 1) if self.decode else THREADS

    def _remember(self, rows: Rows, keys: "pa.StringArray", chosen: npt.NDArray[np.bool_]) -> None:
        """What duplicates are found by at the end, some bytes a row."""
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

    def _duplicate_ids(self) -> Iterator[Fault]:
        for duplicate in find_duplicates(self.path, "id", repeated(self._keys)):
            reason = f"id {duplicate.value!r} is that of {duplicate.earlier}; make it unique"
            yield Fault(self.path, duplicate.place, duplicate.value, FaultKind.DUPLICATE_ID, "", reason)

    def _duplicate_photos(self, has_roles: bool) -> Iterator[Fault]:
        form = partial(real_paths, folder=self.path.resolve().parent)
        only = ("role", "clean") if has_roles else None
        for duplicate in find_duplicates(self.path, "path", repeated(self._keys), only, form):
            reason = f"{duplicate.value} is listed on {duplicate.earlier} already; keep one row"
            yield Fault(self.path, duplicate.place, duplicate.value, FaultKind.DUPLICATE_PHOTO, "", reason)

    def _split_scenes(self) -> Iterator[Fault]:
        scenes = np.concatenate([*self._scenes, np.zeros(0, np.uint64)])
        splits = np.concatenate([*self._splits, np.zeros(0, np.int8)])
        suspects = in_several_splits(scenes, splits, hash_strings(_one_empty_string())[0])
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

    def _swapped(self) -> Iterator[Fault]:
        for (source, name), lacking in self._lacking.items():
            if len(lacking) >= FEWEST_PAIRS and sum(lacking) > MOST_LACKING * len(lacking):
                reason = (
                    f"{sum(lacking)} of {len(lacking)} rainy pictures looked at, of type {name!r} from {source!r}, "
                    "lack what rain adds (light, brighter shadows, edges); are the columns rainy and clean exchanged?"
                )
                yield Fault(self.path, "whole list", "", FaultKind.SWAPPED, "", reason)

    def _misspelt_types(self) -> Iterator[Fault]:
        """Where each name first stands that is probably a slip in another."""
        unknown = {name: known for name in self.types if (known := meant_by(name))}
        meant = slips({name: count for name, count in self.types.items() if name not in unknown}) | unknown
        if not meant:
            return
        for rows in read_rows(self.path, ["id", "type"], lambda _place, _reason: None):
            for row, name in enumerate(rows.cells.column("type").to_pylist()):
                if name in meant:
                    reason = (
                        f"type {name!r} stands in {self.types[name]} of {sum(self.types.values())} rows; "
                        f"did you mean {meant.pop(name)!r}?"
                    )
                    kind = FaultKind.UNKNOWN_TYPE if name in unknown else FaultKind.RARE_TYPE
                    yield self._fault(rows, row, "id", kind, reason)
            if not meant:
                return


@dataclass
class _Seen:
    """What a look at the pictures of a row gave."""

    faults: list[PictureFault]
    is_there: bool = False
    """Whether all of its pictures can be opened."""
    rainy_key: int = NO_FILE
    clean_key: int = NO_FILE
    hash: int = NO_FILE
    lacks_rain: bool | None = None


def _key_of(path: Path, faults: list[PictureFault]) -> int:
    """`content_key`; a fault more, and `NO_FILE`, where the file cannot be read, as from a bad place on a disk."""
    try:
        return content_key(path)
    except OSError as error:
        reason = f"{path} is broken (cannot be read: {error.strerror or error})"
        faults.append(PictureFault(FaultKind.BROKEN, path, reason))
        return NO_FILE


def _are_equal(
    rainy: Path, rainy_look: PictureCheck, rainy_key: int, clean: Path, clean_look: PictureCheck, clean_key: int
) -> bool:
    """Whether partners show the same: by their bytes, or by their pixels where these were read."""
    if rainy_key == clean_key != NO_FILE:
        return filecmp.cmp(rainy, clean, shallow=False)
    a, b = rainy_look.pixels, clean_look.pixels
    return a is not None and b is not None and a.shape == b.shape and np.array_equal(a, b)


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
