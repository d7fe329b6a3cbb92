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
from derain.infer.record import RECORD_NAME

COMPARE_FOLDER = "compare"
"""Before/after pictures go below this folder of the output."""


@dataclass(frozen=True)
class Job:
    """One photograph to restore."""

    source: Path
    output: Path
    compare: Path | None
    """Where the before/after picture goes, None if none is wanted."""

    @property
    def is_in_place(self) -> bool:
        """Whether the photograph is overwritten by its result."""
        return self.output.resolve() == self.source.resolve()


@dataclass(frozen=True)
class _Found:
    """A file that an input names, or a folder that is no input because results lie in it."""

    path: Path
    relative: Path
    """Its path relative to the input that names it."""
    is_photo: bool
    """Named by itself, or with a picture's suffix."""


def find_photos(inputs: Sequence[str | Path], outside: Path | None = None) -> list[tuple[Path, Path]]:
    """The photographs that the inputs name, each with its path relative to the input that named it, in sorted order.

    A file is taken whatever its suffix; of folders, the files whose suffix is a picture's. Hidden files and files
    below `outside` are left out of folders. A photograph named twice is taken once. Beside other inputs, or as one of
    a pattern's matches, a folder at or below `outside` that holds results of earlier runs is no input.

    Raises:
        DatasetError: an input does not exist, or names no photograph.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for given in inputs:
        everything = list(_expand(str(given), outside, len(inputs) == 1))
        photos = [file for file in everything if file.is_photo]
        if not photos and not _is_left_out(given, outside, len(inputs) == 1):
            raise DatasetError(
                f"{given}: no photograph found there; wanted a file, a folder or a pattern with files ending in "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        for photo in photos:
            found.setdefault(_absolute(photo.path), (photo.path, photo.relative))
    if not found:
        raise DatasetError(f"{', '.join(map(str, inputs))}: nothing there but results of earlier runs; add photographs")
    return list(found.values())


def find_left_out(inputs: Sequence[str | Path], outside: Path | None = None) -> list[Path]:
    """What `find_photos` passes over and a user may miss: files of other formats, and folders that hold results."""
    is_sole = len(inputs) == 1
    found = [file.path for given in inputs for file in _expand(str(given), outside, is_sole) if not file.is_photo]
    return list({_absolute(path): path for path in found}.values())


def plan_jobs(inputs: Sequence[str | Path], out: str | Path, compare: bool = False) -> list[Job]:
    """Where the result of every photograph goes below the folder `out`.

    `out` names a file if a single photograph is given and it ends like a picture; a folder if it is one, or ends in /.

    Raises:
        DatasetError: no photograph is found, an original would be overwritten, two results share one place, or `out`
            looks like a file and cannot be one.
    """
    is_folder = str(out).endswith(("/", os.sep)) or Path(out).is_dir()
    out = Path(out)
    photos = find_photos(inputs, outside=out)
    if not is_folder and _names_a_file(out, inputs):
        folder, photos = out.parent, [(photos[0][0], Path(out.name))]
    else:
        folder = out
    check_folder(folder)
    jobs = [
        Job(source, folder / relative, _compare_path(folder, relative) if compare else None)
        for source, relative in photos
    ]
    _check_originals_are_safe(jobs)
    _check_places_differ(jobs)
    return jobs


def plan_in_place(inputs: Sequence[str | Path]) -> list[Job]:
    """Every photograph overwritten by its result: only for a caller who asked for just that.

    Of a link, what it points to is overwritten; a photograph that several links point to is taken once.

    Raises:
        DatasetError: no photograph is found.
    """
    source_of: dict[Path, Path] = {}
    for source, _ in find_photos(inputs):
        source_of.setdefault(source.resolve(), source)
    return [Job(source, place, None) for place, source in source_of.items()]


def check_folder(folder: Path) -> None:
    """Raises DatasetError if results cannot be written to this folder, be it there or still to be made."""
    nearest = next(path for path in (_absolute(folder), *_absolute(folder).parents) if path.exists())
    if not nearest.is_dir():
        raise DatasetError(f"{nearest}: a folder was wanted for the results and this is a file; give another with -o")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise DatasetError(f"{nearest}: no right to write there; give another folder with -o")


def _expand(given: str, outside: Path | None, is_sole: bool) -> Iterator[_Found]:
    path = Path(given).expanduser()
    if _is_left_out(path, outside, is_sole):
        yield _Found(path, Path(path.name), is_photo=False)
    elif path.is_dir():
        yield from _below(path, path, outside)
    elif path.exists():
        yield _Found(path, Path(path.name), is_photo=True)
    elif glob.has_magic(given):
        base = _fixed_part(path)
        kept_out = outside if outside is not None and _is_strictly_below(outside, base) else None
        for name in sorted(glob.iglob(str(path), recursive=True)):  # noqa: PTH207 - Path.glob refuses absolute patterns
            match = Path(name)
            if match.is_dir():
                if "**" in path.parts:  # what lies below is matched by itself
                    continue
                if _is_left_out(match, outside, is_sole=False):
                    yield _Found(match, match.relative_to(base), is_photo=False)
                else:
                    yield from _below(match, base, outside)
            elif kept_out is None or not _is_within(match, kept_out):
                yield _Found(match, match.relative_to(base), _looks_like_photo(match))
    else:
        raise DatasetError(f"{given}: no such file or folder; check the path")


def _is_left_out(given: str | Path, outside: Path | None, is_sole: bool) -> bool:
    """Whether this is a folder of results of earlier runs among other inputs, as a shell's * hands it over.

    The only input is never left out: it is refused later, if its photographs would be overwritten.
    """
    folder = Path(given).expanduser()
    if is_sole or outside is None or not folder.is_dir() or not _is_within(folder, outside):
        return False
    files = [path for path in folder.rglob("*") if path.is_file()]
    return not files or any(path.name == RECORD_NAME for path in files)


def _below(folder: Path, base: Path, outside: Path | None) -> Iterator[_Found]:
    if outside is not None and not _is_strictly_below(outside, folder):
        outside = None  # only results of earlier runs that lie within the photographs are in the way
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and (outside is None or not _is_within(path, outside)):
            yield _Found(path, path.relative_to(base), _looks_like_photo(path))


def _looks_like_photo(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _is_within(path: Path, folder: Path) -> bool:
    return _absolute(path).is_relative_to(_absolute(folder))


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
    """Whether `out`, which is no folder so far, is to be the one result; refused if it only looks like that."""
    is_picture = out.suffix.lower() in IMAGE_SUFFIXES
    is_single = len(inputs) == 1 and Path(inputs[0]).expanduser().is_file()
    if is_picture and not is_single:
        raise DatasetError(
            f"{out}: several photographs cannot be written to one file; give a folder with -o (ending in / if it is to "
            "be called like a picture)"
        )
    if is_single and out.suffix and not is_picture:
        raise DatasetError(
            f"{out}: no picture is written with the ending {out.suffix}; use {', '.join(sorted(IMAGE_SUFFIXES))}, "
            "or end the name in / if a folder is meant"
        )
    return is_picture


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
    writer_of: dict[Path, Job] = {}
    for job in jobs:
        for place in (job.output, job.compare):
            if place is None:
                continue
            other = writer_of.setdefault(_absolute(place), job)
            if other is job:
                continue
            if (place == job.compare) != (place == other.compare):
                shown, kept = (job, other) if place == job.compare else (other, job)
                raise DatasetError(
                    f"{place}: with --compare, the before/after picture of {shown.source} and the result of "
                    f"{kept.source} would both be written there; leave --compare out, or rename the photographs' "
                    f"folder {COMPARE_FOLDER}"
                )
            raise DatasetError(
                f"{other.source} and {job.source} would both be written to {place}; "
                "restore their folders one by one, each with its own -o"
            )


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links, two links are two photographs
