"""Which photographs are meant: folders walked, and rain types taken from folder names or from a table."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from derain.errors import DistillError
from derain.imaging.formats import IMAGE_SUFFIXES
from derain.types import RainType


@dataclass(frozen=True)
class Photograph:
    """A file to be indexed."""

    path: Path
    """Absolute."""
    source: str
    """Name of the folder it was found below."""


def walk_photographs(places: Sequence[Path]) -> list[Photograph]:
    """Pictures at the places (files, or folders with all below them), each file once, in order of place and path.

    Names that begin with a dot are passed over. Links to folders are followed, no folder twice.

    Raises:
        DistillError: a place is not there, or a folder cannot be listed.
    """
    photographs: dict[Path, Photograph] = {}
    for place in places:
        if place.is_dir():
            found = _below(place.absolute(), set())
            source = place.resolve().name
        elif place.is_file():
            found = iter([place.absolute()])
            source = place.resolve().parent.name
        else:
            raise DistillError(f"{place}: wanted a photograph or a folder of them, and nothing is there")
        for path in found:
            photographs.setdefault(path, Photograph(path, source))
    return list(photographs.values())


def types_by_folder(paths: Sequence[Path]) -> dict[Path, str]:
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


def match_types(types: Mapping[Path, str], paths: Sequence[Path]) -> tuple[dict[Path, str], list[Path]]:
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


def _below(folder: Path, ancestors: set[Path]) -> Iterator[Path]:
    """Pictures below a folder, sorted by name at each level; `ancestors` are resolved folders that were walked."""
    real = folder.resolve()
    if real in ancestors:
        return
    ancestors.add(real)
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DistillError(f"{folder}: cannot be listed ({error.strerror}); mend its rights or leave it out") from error
    for entry in entries:
        if entry.is_dir():
            yield from _below(entry, ancestors)
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            yield entry
