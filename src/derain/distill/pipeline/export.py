"""Pairs of a manifest laid out in folders, for programs that read folders: TYPE/rainy/NAME and TYPE/clean/NAME."""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from derain.data.pairs import Pair, read_manifest, write_manifest
from derain.errors import DistillError

How = Literal["copy", "link"]
"""Copies, or hard links, which take no room and need the same disk."""

LONGEST_NAME = 100
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
        split: `train`, `test` or `probe`; None for all.
        on_progress: is told how many of how many pairs are done.

    Raises:
        DatasetError: the manifest cannot be read, or has no row of the split.
        DistillError: a picture is gone or cannot be written, another file stands in its place, or a hard link would
            have to lead to another disk.
    """
    pairs = read_manifest(manifest, split, check_files=False)
    names = safe_names([pair.id for pair in pairs])
    written, laid_out = 0, []
    for done, (pair, name) in enumerate(zip(pairs, names, strict=True), start=1):
        folder = target / (pair.type or "unknown") if split else target / pair.split / (pair.type or "unknown")
        rainy = folder / "rainy" / f"{name}{pair.rainy.suffix.lower()}"
        written += _put(pair.rainy, rainy, how)
        clean = None
        if pair.clean is not None:
            clean = folder / "clean" / f"{name}{pair.clean.suffix.lower()}"
            written += _put(pair.clean, clean, how)
        laid_out.append(replace(pair, rainy=rainy, clean=clean))
        if on_progress is not None:
            on_progress(done, len(pairs))
    _write_list(target, laid_out)
    return ExportReport(target, len(pairs), written)


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
