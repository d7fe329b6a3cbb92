"""Pairs of a manifest laid out in folders, for programs that read folders: TYPE/rainy/NAME and TYPE/clean/NAME.

Such programs read whatever lies there, so an export writes into a folder that is empty, and into no other.
"""

import hashlib
import os
import re
import shutil
from collections import Counter
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
    files: int
    """Pictures that were written."""


def export_folders(
    manifest: Path,
    target: Path,
    split: str | None = None,
    how: How = "copy",
    on_progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Lay the pictures of a run's `manifest.csv` out in an empty folder, with a manifest of what is there.

    `TARGET/TYPE/rainy/NAME.png` and `TARGET/TYPE/clean/NAME.png` where one split is asked for; with all of them each
    has a folder of its own, `TARGET/train/TYPE/...`, so that test scenes are never trained on by accident. Both files
    of a pair have the same name, but for the extension. The manifest is written last: where it is, the export is whole.

    Args:
        split: `train`, `test` or `val`; None for all.
        on_progress: called with how many of how many pairs are done.

    Raises:
        DatasetError: the manifest cannot be read, or has no row of the split.
        DistillError: the target is not empty or cannot be written to; a picture is gone or cannot be written, or a hard
            link would have to lead to another disk.
    """
    pairs = read_manifest(manifest, split, check_files=False)
    laid_out = _laid_out(pairs, target.absolute(), split)
    try:
        target.mkdir(parents=True, exist_ok=True)
        is_empty = next(target.iterdir(), None) is None
    except OSError as error:
        raise DistillError(f"{target}: cannot be written to ({error.strerror}); give another folder") from error
    if not is_empty:
        raise DistillError(
            f"{target}: wanted an empty folder to export to, got one that holds files; give another folder, or remove "
            "it if an earlier export, finished or interrupted, is all that it holds"
        )
    files = 0
    for done, (pair, place) in enumerate(zip(pairs, laid_out, strict=True), start=1):
        for source, file in ((pair.rainy, place.rainy), (pair.clean, place.clean)):
            if source is not None and file is not None:
                _put(source, file, how)
                files += 1
        if on_progress is not None:
            on_progress(done, len(pairs))
    try:
        write_manifest(target / "manifest.csv", laid_out)
    except OSError as error:
        raise DistillError(f"{target}: cannot be written to ({error.strerror or error}); make room") from error
    return ExportReport(target, len(pairs), files)


def _laid_out(pairs: list[Pair], target: Path, split: str | None) -> list[Pair]:
    """The pairs with the places that their pictures are to have."""
    found = []
    for pair, name in zip(pairs, safe_names([pair.id for pair in pairs]), strict=True):
        kind = safe_names([pair.type or "unknown"])[0]
        folder = target / kind if split else target / pair.split / kind
        rainy = folder / "rainy" / f"{name}{pair.rainy.suffix.lower()}"
        clean = folder / "clean" / f"{name}{pair.clean.suffix.lower()}" if pair.clean is not None else None
        found.append(replace(pair, rainy=rainy, clean=clean))
    return found


def safe_names(ids: list[str]) -> list[str]:
    """A file name without extension for each id: its own letters, digits, dots, dashes and underscores.

    What had to be changed or is too long gets a piece of the id's digest, so that different ids have different names,
    also where the disk does not tell capitals from small letters.
    """
    lowered = Counter(identity.lower() for identity in ids)
    names = []
    for identity in ids:
        name = _UNSAFE.sub("_", identity).lstrip(".-")[:LONGEST_NAME].rstrip(".")
        if name != identity or lowered[identity.lower()] > 1:
            name = f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        names.append(name)
    return names


def _put(source: Path, target: Path, how: How) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "link":
            os.link(source, target)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        hint = "copy instead" if how == "link" else "put it there, or make room"
        raise DistillError(
            f"{source} to {target}: {error.strerror or error}; {hint}, then export to an empty folder"
        ) from error
