"""Records of what there is to learn from: `Pair` (rainy, clean) rows of a manifest, `Photo` rows of an index.

Both are tables, CSV with a header or Parquet, which needs pyarrow. Paths are taken relative to the folder of the file.
Reading is strict: a missing file, a missing column, an unknown split or a duplicate id is refused with its line, and
nothing is skipped.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, cast, get_args

from derain.data.rows import column_names, read_records
from derain.errors import DatasetError
from derain.files import atomic_write

SPLITS = ("train", "val", "test", "probe")
"""What a row may be used for: to learn, to choose, to report, to probe a run while it learns."""

Light = Literal["day", "dusk", "night"]


@dataclass(frozen=True)
class Pair:
    """One rainy picture and, where known, the same scene without rain; one row of a manifest."""

    id: str
    """Unique in its manifest."""
    rainy: Path
    clean: Path | None
    """None for a real photograph without partner."""
    type: str | None
    """Name of the rain type (any string; the simulator knows four), None where not known."""
    source: str
    """Name of the data set it comes from."""
    split: str
    """One of `SPLITS`."""
    scene: str
    """Pictures of one scene share this name, so that splits can keep scenes apart."""


@dataclass(frozen=True)
class Photo:
    """One clean photograph, from which rain can be simulated."""

    path: Path
    light: Light
    split: str
    source: str
    scene: str


def read_manifest(path: Path, split: str | None = None, check_files: bool = True) -> list[Pair]:
    """The pairs of a manifest, in file order; only those of `split` if one is given.

    With `check_files` off, files are not looked for: for manifests of millions of rows that were checked before.

    Raises:
        DatasetError: the file cannot be read, lacks a column, has a bad row, or has no row of `split`.
        MissingExtraError: the manifest is Parquet, and pyarrow is not there.
    """
    table = _Table(path, [field.name for field in fields(Pair)])
    pairs: list[Pair] = []
    place_of: dict[str, str] = {}
    for place, row in table.rows():
        identity = table.filled(place, row, "id")
        if identity in place_of:
            raise DatasetError(f"{path}, {place}: id {identity!r} is that of {place_of[identity]}; make ids unique")
        place_of[identity] = place
        pair = Pair(
            id=identity,
            rainy=table.file(place, row, "rainy", check_files),
            clean=table.file(place, row, "clean", check_files) if row["clean"] else None,
            type=row["type"] or None,
            source=row["source"],
            split=table.split(place, row),
            scene=row["scene"],
        )
        if split is None or pair.split == split:
            pairs.append(pair)
    if split is not None:
        table.require_rows(len(pairs), split)
    return pairs


def read_photos(index: Path, split: str | None = None, check_files: bool = True) -> list[Photo]:
    """The clean photographs of an index, in file order; only those of `split` if one is given.

    Needs the columns path, light, split, source, scene; others may be there. With a column `role`, only rows whose
    role is `clean` are photographs to simulate rain on; the others are left out.

    Raises:
        DatasetError: the file cannot be read, lacks a column, has a bad row, lists a photograph twice (by whatever
            path), or has no row of `split`.
        MissingExtraError: the index is Parquet, and pyarrow is not there.
    """
    columns = [field.name for field in fields(Photo)]
    table = _Table(index, [*columns, "role"] if "role" in column_names(index) else columns)
    photos: list[Photo] = []
    place_of: dict[str, str] = {}
    for place, row in table.rows():
        if row.get("role", "clean") != "clean":
            continue
        light = row["light"]
        if light not in get_args(Light):
            raise DatasetError(f"{index}, {place}: light {light!r} is none of {', '.join(get_args(Light))}")
        photo = Photo(
            path=table.file(place, row, "path", check_files),
            light=cast(Light, light),
            split=table.split(place, row),
            source=row["source"],
            scene=row["scene"],
        )
        real = os.path.realpath(photo.path)
        if real in place_of:
            raise DatasetError(f"{index}, {place}: {photo.path} is listed on {place_of[real]} already; keep one row")
        place_of[real] = place
        if split is None or photo.split == split:
            photos.append(photo)
    table.require_rows(len(photos), split)
    return photos


def write_manifest(path: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs as a manifest in one move (a reader sees the old file or the new one, never half of it).

    Files below the manifest's folder are written relative to it, so that the folder can be moved.

    Raises:
        DatasetError: two pairs share an id, or a split is unknown.
    """
    folder = path.resolve().parent
    seen: set[str] = set()
    for pair in pairs:
        if pair.id in seen:
            raise DatasetError(f"{path}: two pairs have the id {pair.id!r}; make ids unique")
        if pair.split not in SPLITS:
            raise DatasetError(
                f"{path}: pair {pair.id!r} has the split {pair.split!r}, wanted one of {', '.join(SPLITS)}"
            )
        seen.add(pair.id)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Pair)])
        for pair in pairs:
            clean = "" if pair.clean is None else portable_path(pair.clean, folder)
            rainy = portable_path(pair.rainy, folder)
            writer.writerow([pair.id, rainy, clean, pair.type or "", pair.source, pair.split, pair.scene])


def portable_path(file: Path, folder: Path) -> str:
    """`file` as it is written into a manifest in `folder`: relative when below it, else absolute."""
    # Texts instead of paths, for manifests have millions of rows.
    absolute = os.path.abspath(file)  # noqa: PTH100 - resolve() would follow links out of the folder
    root = f"{str(folder).rstrip(os.sep)}{os.sep}"
    return absolute.removeprefix(root).replace(os.sep, "/")


class _Table:
    """A table whose errors name the file and the place of the row."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = columns
        self.folder = path.resolve().parent
        self.splits: set[str] = set()

    def rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Place and cells of each row."""
        return read_records(self.path, self.columns)

    def filled(self, place: str, row: dict[str, str], column: str) -> str:
        """A cell that may not be empty."""
        if not row[column]:
            raise DatasetError(f"{self.path}, {place}: column {column!r} is empty; fill it in")
        return row[column]

    def file(self, place: str, row: dict[str, str], column: str, check: bool) -> Path:
        """A cell that names a file, relative to the table's folder."""
        file = self.folder / self.filled(place, row, column)
        if check and not file.is_file():
            raise DatasetError(
                f"{self.path}, {place}: {column} file {file} is not there; put it there or remove the row"
            )
        return file

    def split(self, place: str, row: dict[str, str]) -> str:
        """The row's split, one of `SPLITS`."""
        split = row["split"]
        if split not in SPLITS:
            raise DatasetError(f"{self.path}, {place}: split {split!r} is unknown; use one of {', '.join(SPLITS)}")
        self.splits.add(split)
        return split

    def require_rows(self, count: int, split: str | None) -> None:
        """Refuse a table that gave nothing: a run that silently trains on nothing helps nobody."""
        if count:
            return
        wanted = "no rows" if split is None else f"no rows of split {split!r}"
        present = f"; splits present: {', '.join(sorted(self.splits))}" if self.splits else ""
        raise DatasetError(f"{self.path}: {wanted} that can be used{present}; give another file or split")
