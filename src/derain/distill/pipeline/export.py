"""Pairs of a manifest laid out in folders, for programs that read folders: TYPE/rainy/NAME and TYPE/clean/NAME.

Such programs read whatever lies there, so that what an earlier export wrote and this one would not has to go. Beside
the manifest lies a record of the files that exports wrote, or were about to write where nothing stood, each with its
size and time: what the record does not know, or knows otherwise, is somebody else's and stays.
"""

import csv
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from derain.data.cache import write_whole
from derain.data.pairs import Pair, read_manifest, write_manifest
from derain.distill.pipeline.run_folder import INSIDE
from derain.errors import DatasetError, DistillError

How = Literal["copy", "link"]
"""Copies, or hard links, which take no room and need the same disk."""

LONGEST_NAME = 100
RECORD = ".derain-export.csv"
"""Name of the record in the target."""
_PART = re.compile(r"\.[0-9]+\.[0-9a-f]{8}\.part$")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class ExportReport:
    """What an export did."""

    target: Path
    pairs: int
    written: int
    """Files written now; the others were there from before."""
    removed: int
    """Files of earlier exports that this one would not have written."""
    left: tuple[Path, ...]
    """More of these, which stay: they were changed since, or lie behind a link."""


class Written(NamedTuple):
    """A file of an export. It has the size and the time of the picture that it is a copy or a link of."""

    place: str
    """Below the target, with slashes."""
    size: int
    time_ns: int


def export_folders(
    manifest: Path,
    target: Path,
    split: str | None = None,
    how: How = "copy",
    on_progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Lay the pictures of a run's `manifest.csv` out in folders, with a manifest of what is there.

    `TARGET/TYPE/rainy/NAME.png` and `TARGET/TYPE/clean/NAME.png` where one split is asked for; with all of them each
    has a folder of its own, `TARGET/train/TYPE/...`, so that test scenes are never trained on by accident. Both files
    of a pair have the same name, but for the ending. May be killed and run again; no file is ever half there.

    Files of earlier exports to the target go if this one would not have written them: those of pairs that are no longer
    kept or whose split is another now. Files that no export wrote stay, and so do those that were changed since. Where
    a file of somebody else stands in the way, or another export (that of one split holds that split alone), nothing is
    touched, and an error says so.

    Args:
        split: `train`, `test` or `val`; None for all.
        on_progress: is told how many of how many pairs are done.

    Raises:
        DatasetError: the manifest cannot be read, or has no row of the split.
        DistillError: the target is the run's folder, holds pictures of the run, or a manifest or files that no export
            of the same split or, like this one, of all wrote; another process exports to it; a picture is gone or
            cannot be written, a hard link would have to lead to another disk, or a file cannot be removed.
    """
    if target.resolve() == manifest.parent.resolve() or (target / INSIDE).exists():
        raise DistillError(f"{target}: is the folder of a run, whose manifest would be lost; export to another folder")
    pairs = read_manifest(manifest, split, check_files=False)
    laid_out = _laid_out(pairs, target, split)
    _require_same_layout(target, split)
    with _alone(target):
        known, coming = _recorded(target), _states(pairs, laid_out, target)
        _require_free(target, pairs, laid_out, known)
        if not coming <= known:  # before the first file is there, so that none is forgotten by a kill
            _write_record(target, known | coming)
        written = 0
        for done, (pair, place) in enumerate(zip(pairs, laid_out, strict=True), start=1):
            written += _put(pair.rainy, place.rainy, how)
            if pair.clean is not None and place.clean is not None:
                written += _put(pair.clean, place.clean, how)
            if on_progress is not None:
                on_progress(done, len(pairs))
        _write_list(target, laid_out)
        removed, left = _remove_others(target, known, laid_out)
        if coming != known:
            _write_record(target, coming)
    return ExportReport(target, len(pairs), written, removed, left)


def _laid_out(pairs: list[Pair], target: Path, split: str | None) -> list[Pair]:
    """The pairs with the places that their pictures are to have."""
    place, names = target.resolve(), safe_names([pair.id for pair in pairs])
    found = []
    for pair, name in zip(pairs, names, strict=True):
        folder = place / _folder_of(pair, split)
        rainy = folder / "rainy" / f"{name}{pair.rainy.suffix.lower()}"
        clean = folder / "clean" / f"{name}{pair.clean.suffix.lower()}" if pair.clean is not None else None
        found.append(replace(pair, rainy=rainy, clean=clean))
    return found


def _folder_of(pair: Pair, split: str | None) -> Path:
    """Below the target, where an export of one split or of all puts the two files of a pair."""
    kind = safe_names([pair.type or "unknown"])[0]
    return Path(kind) if split else Path(pair.split, kind)


def _files(pairs: Iterable[Pair]) -> Iterator[Path]:
    """Rainy and clean pictures."""
    for pair in pairs:
        yield pair.rainy
        if pair.clean is not None:
            yield pair.clean


def _require_same_layout(target: Path, split: str | None) -> None:
    """Raises DistillError where a manifest stands in the target that this export's would not take the place of."""
    manifest = target / "manifest.csv"
    if not manifest.exists():
        return
    try:
        before = read_manifest(manifest, check_files=False)
    except DatasetError as error:
        raise DistillError(f"{manifest}: no export wrote it ({error}); export to another folder") from error
    for pair in before:
        places = [_below(file, target) for file in _files([pair])]
        if None in places:
            raise DistillError(f"{manifest}: lists pictures of other places, no export wrote it; export elsewhere")
        own = [_folder_of(pair, split) / side for side in ("rainy", "clean")][: len(places)]
        if (split is not None and pair.split != split) or [place.parent for place in places if place] != own:
            raise DistillError(
                f"{target}: holds an export of split {pair.split!r}, whose manifest would be lost; "
                "export to another folder, or all splits together"
            )


def _require_free(target: Path, pairs: list[Pair], laid_out: list[Pair], known: set[Written]) -> None:
    """Raises DistillError where pictures of the run lie in the target, or files that no export wrote in the way."""
    folder = target.resolve()
    inside = next((file for file in _files(pairs) if file.resolve().is_relative_to(folder)), None)
    if inside is not None:
        raise DistillError(f"{target}: {inside} of the run itself lies there; export to another folder")
    for file in _files(laid_out):
        if file.exists() and _state(file, folder) not in known:
            raise DistillError(f"{file}: another file stands there; move it away, or export to another folder")


def _state(file: Path, folder: Path) -> Written:
    """A file of the folder as it is."""
    status = file.stat()
    return Written(file.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns)


def _below(file: Path, target: Path) -> Path | None:
    """A file's place in the target; None where it lies elsewhere."""
    for folder in (target.resolve(), target.absolute()):
        if file.is_relative_to(folder):
            return file.relative_to(folder)
    return None


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other exports of this machine out, and remove what a killed one left half-made."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        folder = os.open(target, os.O_RDONLY)
    except OSError as error:
        raise DistillError(f"{target}: cannot be written to ({error.strerror}); give another folder") from error
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DistillError(f"{target}: another export writes to it, or its disk has no locks ({error})") from error
        for part in target.rglob(".*.part"):
            if _PART.search(part.name):
                part.unlink(missing_ok=True)
        yield
    finally:
        os.close(folder)


def safe_names(ids: list[str]) -> list[str]:
    """A file name without ending for each id: its own letters, digits, dots, dashes and underscores.

    What had to be changed or is too long gets a piece of the id's digest, so that different ids have different names,
    also where the disk does not tell capitals from small letters.
    """
    lowered: dict[str, int] = {}
    for identity in ids:
        lowered[identity.lower()] = lowered.get(identity.lower(), 0) + 1
    names = []
    for identity in ids:
        name = _UNSAFE.sub("_", identity).lstrip(".-")[:LONGEST_NAME].rstrip(".")
        if name != identity or lowered[identity.lower()] > 1:
            name = f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        names.append(name)
    return names


def _put(source: Path, target: Path, how: How) -> int:
    """1 if the file was written, 0 if it was there."""
    try:
        status = source.stat()
        if target.exists():
            there = target.stat()
            if (there.st_size, there.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                raise DistillError(f"{target}: another file stands there; move it away, or export to another folder")
            return 0
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
        try:
            if how == "link":
                os.link(source, part)
            else:
                shutil.copyfile(source, part)
                os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        hint = "copy instead" if how == "link" else "put it there, or make room"
        raise DistillError(f"{source} to {target}: {error.strerror or error}; {hint}, and export again") from error
    return 1


def _recorded(target: Path) -> set[Written]:
    """What earlier exports wrote or were about to write."""
    record = target / RECORD
    try:
        with record.open(encoding="utf-8", newline="") as file:
            return {_parsed(cells) for cells in csv.reader(file)}
    except FileNotFoundError:
        if (target / "manifest.csv").exists():
            raise DistillError(
                f"{target / 'manifest.csv'}: nothing says that an export wrote it; move it away, or export to another "
                "folder"
            ) from None
        return set()
    except (OSError, ValueError) as error:
        raise DistillError(
            f"{record}: what earlier exports wrote cannot be read ({error}); export to another folder"
        ) from error


def _parsed(cells: list[str]) -> Written:
    """A line of the record.

    Raises:
        ValueError: it is none, or leads out of the target.
    """
    place, size, time_ns = cells
    if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
        raise ValueError(f"{place!r} is not below it")
    return Written(place, int(size), int(time_ns))


def _states(sources: list[Pair], laid_out: list[Pair], target: Path) -> set[Written]:
    """The files that are laid out, as they will be; those whose sources are gone are left out."""
    found = set()
    for source, file in zip(_files(sources), _files(laid_out), strict=True):
        place = _below(file, target)
        with suppress(OSError):
            status = source.stat()
            if place is not None:
                found.add(Written(place.as_posix(), status.st_size, status.st_mtime_ns))
    return found


def _remove_others(target: Path, known: set[Written], laid_out: list[Pair]) -> tuple[int, tuple[Path, ...]]:
    """Remove files of earlier exports but for those that are laid out now, and folders that are empty after it.

    Returns:
        How many were removed, and which stay because they are not as an export wrote them.
    """
    folder, stay = target.resolve(), {str(file) for file in _files(laid_out)}
    removed, left = 0, list[Path]()
    for place in sorted({each.place for each in known}):
        file = folder / place
        if str(file) in stay:
            continue
        try:
            if not file.is_file():
                continue
            if _state(file, folder) not in known or file.parent.resolve() != file.parent:
                left.append(file)
                continue
            file.unlink()
        except OSError as error:
            raise DistillError(
                f"{file}: is no longer part of this export and cannot be removed ({error.strerror or error}); "
                "see to its rights, and export again"
            ) from error
        removed += 1
        with suppress(OSError):  # the first that holds something
            for empty in list(file.parents)[: len(Path(place).parts) - 1]:
                empty.rmdir()
    return removed, tuple(left)


def _write_record(target: Path, written: Iterable[Written]) -> None:
    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(sorted(written))

    try:
        write_whole(target / RECORD, write)
    except OSError as error:
        raise DistillError(f"{target}: cannot be written to ({error.strerror or error}); make room") from error


def _write_list(target: Path, pairs: list[Pair]) -> None:
    try:
        write_manifest(target / "manifest.csv", pairs)
    except OSError as error:
        raise DistillError(f"{target}: cannot be written to ({error.strerror or error}); make room") from error
