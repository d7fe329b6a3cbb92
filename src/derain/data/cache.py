"""The folder for what can be made again: converted manifests, and notes of checks that were passed."""

import contextlib
import hashlib
import os
import time
from pathlib import Path

VERSION = 2
"""Of the files in the cache; raise it when their form or the checks behind them change."""

UNUSED_DAYS = 14
"""After so many days without use, what was made from an earlier state of a manifest is removed."""


def cache_folder() -> Path:
    """`$DERAIN_CACHE/manifests`, else `$XDG_CACHE_HOME/derain/manifests`, else `~/.cache/derain/manifests`."""
    own = os.environ.get("DERAIN_CACHE")
    if own:
        return Path(own) / "manifests"
    common = os.environ.get("XDG_CACHE_HOME")
    return (Path(common) if common else Path.home() / ".cache") / "derain" / "manifests"


def identity(file: Path) -> str:
    """A name for this state of a file: where it lies, its size, and when it was last written or replaced.

    Two states of one file begin alike, up to the dash.

    Raises:
        OSError: there is no such file.
    """
    place, state = file.resolve(), file.stat()
    version = f"{VERSION} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
    return f"{_short(os.fsencode(place))}-{_short(version.encode())}"


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


def mark_used(path: Path) -> None:
    """Put off its removal."""
    with contextlib.suppress(OSError):
        os.utime(path)


def remove_unused(path: Path) -> None:
    """Remove what was made from other states of the same manifest as `path`, if it was not used for long."""
    manifest = path.name.partition("-")[0]
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for pattern in (f"{manifest}-*", f".{manifest}-*.part"):
        for other in path.parent.glob(pattern):
            with contextlib.suppress(OSError):
                if other != path and other.stat().st_mtime < oldest:
                    other.unlink()
