"""Photographs in the folders and files that an index is given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from derain.errors import DistillError
from derain.imaging.writing import IMAGE_SUFFIXES


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
