"""Where the result of each photograph goes and in which format, decided and checked before the first is read.

A folder's structure is kept below the output folder. Nothing is planned that would overwrite an original or write two
results to one place.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count as count_from
from pathlib import Path

from derain.errors import DatasetError
from derain.imaging.folders import Entry
from derain.imaging.formats import JPEG, Format, format_of_name, known_suffixes
from derain.infer.photos import absolute, content_format, expanded, find_photos

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


def plan_jobs(inputs: Sequence[str | Path], out: str | Path, compare: bool = False, format: str | None = None) -> Plan:
    """Where the result of every photograph goes below the folder `out`.

    `out` names a file if a single photograph is given and it ends like a picture; a folder if it is one, or ends in /.
    Results have the format of their photograph, or `format` (such as `png`), and their name the ending of it.

    Raises:
        DatasetError: no photograph is found, an original would be overwritten, two results share one place, `out`
            looks like a file and cannot be one, or the format is unknown or not that of `out`.
    """
    wanted = _wanted_format(format)
    is_folder = str(out).endswith(("/", os.sep)) or Path(out).is_dir()
    out = Path(out)
    found = find_photos(inputs, outside=out)
    sources = [source for source, _ in found.photos]
    if not is_folder and _names_a_file(out, inputs):
        if wanted is not None and wanted is not format_of_name(out):
            raise DatasetError(f"{out}: this name is not that of {wanted.name}; give another, or leave --format out")
        folder, names = out.parent, [Path(out.name)]
    else:
        folder, names = out, _result_names(found.photos, wanted)
    check_folder(folder)
    jobs = [
        Job(source, folder / name, _compare_path(folder, name) if compare else None)
        for source, name in zip(sources, names, strict=True)
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


def _wanted_format(name: str | None) -> Format | None:
    if name is None:
        return None
    wanted = format_of_name(name)
    if wanted is None:
        raise DatasetError(f"--format {name}: no such format is written; use one of {', '.join(known_suffixes())}")
    return wanted


def _result_names(photos: Sequence[tuple[Path, Path]], wanted: Format | None) -> list[Path]:
    """The name of each result; where a changed ending would make two alike, the original's ending stays in the name.

    Where that makes two alike as well, a number tells them apart.
    """
    keys = [(relative, _result_name(source, relative, wanted)) for source, relative in photos]
    count = Counter(name for _, name in keys)
    names = {(relative, name): name for relative, name in keys if name == relative or count[name] == 1}
    taken = set(names.values())
    for relative, name in keys:
        if (relative, name) not in names:
            options = (relative.with_name(f"{relative.name}{mark}{name.suffix}") for mark in _marks())
            names[relative, name] = next(option for option in options if option not in taken)
            taken.add(names[relative, name])
    return [names[key] for key in keys]


def _marks() -> Iterator[str]:
    yield ""
    yield from (f"_{number}" for number in count_from(2))


def _result_name(source: Path, relative: Path, wanted: Format | None) -> Path:
    """The photograph's name, with another ending where its own is not that of the result's format."""
    named = format_of_name(relative) if relative.suffix else None
    if named is not None and wanted in (None, named):
        return relative
    suffix = (wanted or content_format(source) or JPEG).suffixes[0]
    return relative.with_suffix(suffix) if named is not None else relative.with_name(relative.name + suffix)


def _names_a_file(out: Path, inputs: Sequence[str | Path]) -> bool:
    """Whether `out`, which is no folder so far, is to be the one result; refused if it only looks like that."""
    is_picture = bool(out.suffix) and format_of_name(out) is not None
    is_single = len(inputs) == 1 and expanded(inputs[0]).is_file()
    if is_picture and not is_single:
        raise DatasetError(
            f"{out}: several photographs cannot be written to one file; give a folder with -o (ending in / if it is to "
            "be called like a picture)"
        )
    if is_single and out.suffix and not is_picture:
        raise DatasetError(
            f"{out}: no picture is written with the ending {out.suffix}; use {', '.join(known_suffixes())}, "
            "or end the name in / if a folder is meant"
        )
    return is_picture


def _compare_path(folder: Path, relative: Path) -> Path:
    """The before/after picture is a JPEG; the original's own suffix stays in the name, so that names stay apart."""
    is_jpeg = format_of_name(relative) is JPEG
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
