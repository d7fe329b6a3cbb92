"""The photographs that an index is given: files below folders, and the rain types that a person gave them."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from derain.errors import DistillError
from derain.imaging.folders import Entry, entry_of, walk_files
from derain.imaging.formats import IMAGE_SUFFIXES, SNIFFED_BYTES, format_of_content
from derain.types import RainType


@dataclass(frozen=True)
class Photograph:
    """A file to be indexed."""

    path: Path
    """Absolute."""
    source: str
    """Name of the folder it was found below."""


def find_photographs(places: Sequence[Path]) -> tuple[list[Photograph], dict[Path, str]]:
    """Pictures at the places (files, or folders with all below them), each once, and what cannot be read there.

    Photographs come in order of place and path; names that begin with a dot are passed over. What cannot be read
    (a folder without permission, a dangling link, a device or pipe) comes by absolute path with the reason.

    Raises:
        DistillError: a place is not there.
    """
    photographs: dict[Path, Photograph] = {}
    unreadable: dict[Path, str] = {}
    for place in places:
        path = place.absolute()
        if place.is_dir():
            entries, source = walk_files(path), place.resolve().name
        elif os.path.lexists(place):
            entries, source = [entry_of(path)], place.resolve().parent.name
        else:
            raise DistillError(f"{place}: wanted a photograph or a folder of them, and nothing is there")
        for entry in entries:
            if entry.path != path and not _is_candidate(entry):
                continue
            if entry.problem:
                unreadable.setdefault(entry.path, entry.problem)
            else:
                photographs.setdefault(entry.path, Photograph(entry.path, source))
    return list(photographs.values()), unreadable


def _is_candidate(entry: Entry) -> bool:
    """Whether an entry of a folder may be a picture, by its ending, or without one by its first bytes."""
    path = entry.path
    if entry.problem and (path.is_symlink() or os.path.isdir(path)):  # noqa: PTH112 - is_dir() raises
        return True
    if path.suffix or entry.problem:
        return path.suffix.lower() in IMAGE_SUFFIXES
    try:
        with path.open("rb") as file:
            return format_of_content(file.read(SNIFFED_BYTES)) is not None
    except OSError:
        return True  # it is named when its content is read


@dataclass(frozen=True)
class ManualTypes:
    """Rain types that are not left to the classifier."""

    types: Mapping[Path, str]
    """By absolute path, of photographs that were found."""
    in_table: int = 0
    """Photographs that the table names."""
    not_found: Sequence[Path] = ()
    """Absolute paths of those of them that are not among the photographs found, in the order of the table."""


def manual_types(photos: Sequence[Path], table: Path | None = None, by_folder: bool = False) -> ManualTypes:
    """Rain types that are not left to the classifier, of the photographs at the places.

    Args:
        photos: files, or folders with all below them.
        table: a CSV file with the columns path, relative to its folder, and type; it goes before the folders.
        by_folder: photographs below folders named `drs`, `drd`, `nrs`, `nrd` are of these types.

    Raises:
        DistillError: a place is not there, no folder is named after a type, or the table cannot be read, names an
            unknown type, or names photographs and none of those that were found.
    """
    if table is None and not by_folder:
        return ManualTypes({})
    paths = [each.path for each in find_photographs(photos)[0]]
    named = _types_by_folder(paths) if by_folder else {}
    if by_folder and not named:
        raise DistillError(
            f"wanted photographs below folders named {', '.join(RainType)} to take their types from, found none; "
            "name the folder above these, or leave the types to the classifier"
        )
    if table is None:
        return ManualTypes(named)
    rows = read_types(table)
    matched, not_found = _match(rows, paths)
    if rows and not matched:
        raise DistillError(
            f"{table}: wanted types of photographs to be indexed, and none of the {len(rows):,} that it names is among "
            f"the {len(paths):,} found, the first being {not_found[0]}; paths in it are relative to its own folder, "
            f"{table.absolute().parent}: correct them, or leave --types out"
        )
    return ManualTypes(named | matched, len(rows), not_found)


def _types_by_folder(paths: Sequence[Path]) -> dict[Path, str]:
    """Rain types of photographs below a folder named `drs`, `drd`, `nrs` or `nrd`; the nearest such folder counts."""
    names = {rain_type.value for rain_type in RainType}
    types: dict[Path, str] = {}
    for path in paths:
        named = [parent.name.lower() for parent in path.parents if parent.name.lower() in names]
        if named:
            types[path] = named[0]
    return types


def read_types(table: Path) -> dict[Path, str]:
    """Rain types by absolute path out of a CSV file with the columns path, type and, optionally, light.

    Paths are taken relative to the folder of the file.

    Raises:
        DistillError: the file cannot be read, lacks a column, or has a row with an unknown type, one that contradicts
            its light, or a path that stands there with another type.
    """
    types: dict[Path, str] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            absent = {"path", "type"} - set(reader.fieldnames or ())
            if absent:
                raise DistillError(
                    f"{table}: wanted the columns path, type[, light]; {', '.join(sorted(absent))} missing"
                )
            for row in reader:
                path = Path(os.path.normpath(table.absolute().parent / (row["path"] or "")))
                rain_type = _type_in(row, f"{table}, line {reader.line_num}")
                if types.setdefault(path, rain_type) != rain_type:
                    raise DistillError(f"{table}, line {reader.line_num}: {row['path']} stands above as {types[path]}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DistillError(
            f"{table}: cannot be read as a CSV file ({error}); give columns path, type[, light]"
        ) from error
    return types


def _match(types: Mapping[Path, str], paths: Sequence[Path]) -> tuple[dict[Path, str], list[Path]]:
    """Types by the paths that photographs were walked under, and paths with a type that name none of these.

    Paths that are written in two ways, by way of `..` or of links, are the same where they lead to the same file.

    Args:
        types: by absolute path, see `read_types`.
        paths: of the photographs, absolute.
    """
    by_file = {os.path.realpath(path): path for path in types}
    matched: dict[Path, str] = {}
    found: set[str] = set()
    for path in paths:
        file = os.path.realpath(path)
        row = path if path in types else by_file.get(file)
        if row is not None:
            matched[path] = types[row]
            found.add(file)
    return matched, [path for path in types if os.path.realpath(path) not in found]


def _type_in(row: Mapping[str, str | None], place: str) -> str:
    name, light = (row["type"] or "").strip(), (row.get("light") or "").strip()
    if not row["path"] or name not in set(RainType):
        raise DistillError(f"{place}: wanted a path and a type ({', '.join(RainType)}), got {row['path']!r}, {name!r}")
    if light and (light == "night") != RainType(name).is_night:
        raise DistillError(f"{place}: type {name} contradicts light {light!r}; correct one of them")
    return name
