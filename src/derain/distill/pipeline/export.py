"""Pairs of a manifest laid out in folders, for programs that read folders: TYPE/rainy/NAME and TYPE/clean/NAME."""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from derain.data.pairs import Pair, read_manifest, write_manifest
from derain.distill.pipeline.run_folder import INSIDE
from derain.errors import DatasetError, DistillError

How = Literal["copy", "link"]
"""Copies, or hard links, which take no room and need the same disk."""

LONGEST_NAME = 100
_PART = re.compile(r"\.[0-9]+\.[0-9a-f]{8}\.part$")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class ExportReport:
    """What an export did."""

    target: Path
    pairs: int
    written: int
    """Files written now; the others were there from before."""


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

    Args:
        split: `train` or `test`; None for all.
        on_progress: is told how many of how many pairs are done.

    Raises:
        DatasetError: the manifest cannot be read, or has no row of the split.
        DistillError: the target is the run's folder, or holds something else than an earlier export of the same
            splits; another process exports to it; a picture is gone or cannot be written, another file stands in its
            place, or a hard link would have to lead to another disk.
    """
    if target.resolve() == manifest.parent.resolve() or (target / INSIDE).exists():
        raise DistillError(f"{target}: is the folder of a run, whose manifest would be lost; export to another folder")
    pairs = read_manifest(manifest, split, check_files=False)
    laid_out = _laid_out(pairs, target, split)
    _require_same_layout(target, laid_out)
    with _alone(target):
        written = 0
        for done, (pair, place) in enumerate(zip(pairs, laid_out, strict=True), start=1):
            written += _put(pair.rainy, place.rainy, how)
            if pair.clean is not None and place.clean is not None:
                written += _put(pair.clean, place.clean, how)
            if on_progress is not None:
                on_progress(done, len(pairs))
        _write_list(target, laid_out)
    return ExportReport(target, len(pairs), written)


def _laid_out(pairs: list[Pair], target: Path, split: str | None) -> list[Pair]:
    """The pairs with the places that their pictures are to have."""
    place, names = target.absolute(), safe_names([pair.id for pair in pairs])
    found = []
    for pair, name in zip(pairs, names, strict=True):
        folder = place / (pair.type or "unknown") if split else place / pair.split / (pair.type or "unknown")
        rainy = folder / "rainy" / f"{name}{pair.rainy.suffix.lower()}"
        clean = folder / "clean" / f"{name}{pair.clean.suffix.lower()}" if pair.clean is not None else None
        found.append(replace(pair, rainy=rainy, clean=clean))
    return found


def _require_same_layout(target: Path, pairs: list[Pair]) -> None:
    """Raises DistillError where a manifest stands in the target that this export's would not take the place of."""
    manifest = target / "manifest.csv"
    if not manifest.exists():
        return
    try:
        before = read_manifest(manifest, check_files=False)
    except DatasetError as error:
        raise DistillError(f"{manifest}: no export wrote it ({error}); export to another folder") from error
    splits = {pair.split for pair in pairs}
    depths = {len(pair.rainy.parts) - len(target.absolute().parts) for pair in pairs}
    for pair in before:
        if not pair.rainy.absolute().is_relative_to(target.absolute()):
            raise DistillError(f"{manifest}: lists pictures of other places, no export wrote it; export elsewhere")
        depth = len(pair.rainy.absolute().parts) - len(target.absolute().parts)
        if pair.split not in splits or depth not in depths:
            raise DistillError(
                f"{target}: holds an export of split {pair.split!r}, whose manifest would be lost; "
                "export to another folder, or all splits together"
            )


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
            is_same = (there.st_size, there.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
            if not (is_same or target.samefile(source)):
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


def _write_list(target: Path, pairs: list[Pair]) -> None:
    try:
        write_manifest(target / "manifest.csv", pairs)
    except OSError as error:
        raise DistillError(f"{target}: cannot be written to ({error.strerror or error}); make room") from error
