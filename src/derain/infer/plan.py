"""Which files a run restores and where each result goes, decided and checked before the first is read.

Inputs are photographs, folders (with everything below them) and glob patterns. A folder's structure is kept below the
output folder. Nothing is planned that would overwrite an original or write two results to one place.
"""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from derain.errors import DatasetError
from derain.imaging.io import IMAGE_SUFFIXES

COMPARE_FOLDER = "compare"
"""Before/after pictures go below this folder of the output."""


@dataclass(frozen=True)
class Job:
    """One photograph to restore."""

    source: Path
    output: Path
    compare: Path | None
    """Where the before/after picture goes, None if none is wanted."""


def find_photos(inputs: Sequence[str | Path], outside: Path | None = None) -> list[tuple[Path, Path]]:
    """The photographs that the inputs name, each with its path relative to the input that named it, in sorted order.

    A file is taken whatever its suffix; of folders, the files whose suffix is a picture's. Hidden files and files
    below `outside` are left out of folders. A photograph named twice is taken once.

    Raises:
        DatasetError: an input does not exist, or names no photograph.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for given in inputs:
        photos = list(_expand(str(given), outside))
        if not photos:
            raise DatasetError(
                f"{given}: no photograph found there; wanted a file, a folder or a pattern with files ending in "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        for photo, relative in photos:
            found.setdefault(_absolute(photo), (photo, relative))
    return list(found.values())


def plan_jobs(inputs: Sequence[str | Path], out: Path, compare: bool = False) -> list[Job]:
    """Where the result of every photograph goes below the folder `out`.

    `out` names a file if a single photograph is given and it ends like a picture.

    Raises:
        DatasetError: no photograph is found, an original would be overwritten, or two results share one place.
    """
    photos = find_photos(inputs, outside=out)
    if _names_a_file(out, inputs):
        folder, photos = out.parent, [(photos[0][0], Path(out.name))]
    elif out.is_file():
        raise DatasetError(f"{out}: a folder was wanted for the results and this is a file; give another with -o")
    else:
        folder = out
    jobs = [
        Job(source, folder / relative, _compare_path(folder, relative) if compare else None)
        for source, relative in photos
    ]
    _check_originals_are_safe(jobs)
    _check_places_differ(jobs)
    return jobs


def plan_in_place(inputs: Sequence[str | Path]) -> list[Job]:
    """Every photograph overwritten by its result: only for a caller who asked for just that.

    Raises:
        DatasetError: no photograph is found.
    """
    return [Job(source, source, None) for source, _ in find_photos(inputs)]


def _expand(given: str, outside: Path | None) -> Iterator[tuple[Path, Path]]:
    path = Path(given).expanduser()
    if path.is_dir():
        yield from _below(path, path, outside)
    elif path.exists():
        yield path, Path(path.name)
    elif glob.has_magic(given):
        base = _fixed_part(path)
        kept_out = outside if outside is not None and _is_strictly_below(outside, base) else None
        for match in sorted(glob.iglob(str(path), recursive=True)):  # noqa: PTH207 - Path.glob refuses absolute patterns
            if Path(match).is_dir():
                if "**" not in path.parts:  # with ** what lies below is matched by itself
                    yield from _below(Path(match), base, outside)
            elif _is_photo(Path(match), kept_out):
                yield Path(match), Path(match).relative_to(base)
    else:
        raise DatasetError(f"{given}: no such file or folder; check the path")


def _below(folder: Path, base: Path, outside: Path | None) -> Iterator[tuple[Path, Path]]:
    if outside is not None and not _is_strictly_below(outside, folder):
        outside = None  # only results of earlier runs that lie within the photographs are in the way
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and _is_photo(path, outside):
            yield path, path.relative_to(base)


def _is_photo(path: Path, outside: Path | None) -> bool:
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    return outside is None or not _absolute(path).is_relative_to(_absolute(outside))


def _is_strictly_below(path: Path, folder: Path) -> bool:
    return _absolute(folder) in _absolute(path).parents


def _fixed_part(pattern: Path) -> Path:
    """The folder that a pattern starts from: its parts before the first with a wildcard."""
    parts: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def _names_a_file(out: Path, inputs: Sequence[str | Path]) -> bool:
    single = len(inputs) == 1 and Path(inputs[0]).expanduser().is_file()
    return single and not out.is_dir() and out.suffix.lower() in IMAGE_SUFFIXES


def _compare_path(folder: Path, relative: Path) -> Path:
    """The before/after picture is a JPEG; the original's own suffix stays in the name, so that names stay apart."""
    is_jpeg = relative.suffix.lower() in (".jpg", ".jpeg")
    name = relative if is_jpeg else relative.with_name(relative.name + ".jpg")
    return folder / COMPARE_FOLDER / name


def _check_originals_are_safe(jobs: Sequence[Job]) -> None:
    originals = {job.source.resolve() for job in jobs}
    for job in jobs:
        for place in (job.output, job.compare):
            if place is not None and place.resolve() in originals:
                raise DatasetError(
                    f"{place}: writing there would overwrite an original; give another folder with -o, "
                    "or ask for just that with --in-place"
                )


def _check_places_differ(jobs: Sequence[Job]) -> None:
    writer_of: dict[Path, Path] = {}
    for job in jobs:
        for place in (job.output, job.compare):
            if place is None:
                continue
            other = writer_of.setdefault(_absolute(place), job.source)
            if other != job.source:
                raise DatasetError(
                    f"{other} and {job.source} would both be written to {place}; "
                    "restore their folders one by one, each with its own -o"
                )


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links, two links are two photographs
