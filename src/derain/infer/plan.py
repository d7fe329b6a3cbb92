"""Which files a run restores and where each result goes, decided and checked before the first is read.

Inputs are photographs, folders (with everything below them) and glob patterns. A folder's structure is kept below the
output folder. Nothing is planned that would overwrite an original or write two results to one place.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from derain.errors import DatasetError
from derain.imaging.folders import Entry
from derain.imaging.io import IMAGE_SUFFIXES
from derain.infer.photos import absolute, find_photos

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
class Plan:
    """What a run restores, and what of its inputs it cannot or does not take."""

    jobs: list[Job]
    left_out: list[Path]
    """Files of other formats, and folders that hold results of earlier runs."""
    problems: list[Entry]
    """What cannot be read: folders without permission, dangling links, devices and pipes."""


def plan_jobs(inputs: Sequence[str | Path], out: str | Path, compare: bool = False) -> Plan:
    """Where the result of every photograph goes below the folder `out`.

    `out` names a file if a single photograph is given and it ends like a picture; a folder if it is one, or ends in /.

    Raises:
        DatasetError: no photograph is found, an original would be overwritten, two results share one place, or `out`
            looks like a file and cannot be one.
    """
    is_folder = str(out).endswith(("/", os.sep)) or Path(out).is_dir()
    out = Path(out)
    found = find_photos(inputs, outside=out)
    photos = found.photos
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
    return Plan(jobs, found.left_out, found.problems)


def plan_in_place(inputs: Sequence[str | Path]) -> Plan:
    """Every photograph overwritten by its result: only for a caller who asked for just that.

    Of a link, what it points to is overwritten; a photograph that several links point to is taken once.

    Raises:
        DatasetError: no photograph is found.
    """
    found = find_photos(inputs)
    source_of: dict[Path, Path] = {}
    for source, _ in found.photos:
        source_of.setdefault(source.resolve(), source)
    jobs = [Job(source, place, None) for place, source in source_of.items()]
    return Plan(jobs, found.left_out, found.problems)


def check_folder(folder: Path) -> None:
    """Raises DatasetError if results cannot be written to this folder, be it there or still to be made."""
    nearest = next(path for path in (absolute(folder), *absolute(folder).parents) if path.exists())
    if not nearest.is_dir():
        raise DatasetError(f"{nearest}: a folder was wanted for the results and this is a file; give another with -o")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise DatasetError(f"{nearest}: no right to write there; give another folder with -o")


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
            other = writer_of.setdefault(absolute(place), job)
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
