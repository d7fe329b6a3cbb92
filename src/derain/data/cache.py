"""The folder for what can be made again: converted manifests, and notes of checks that were passed."""

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable
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


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Have `write` make a file elsewhere, then move it to `path`: others see all of it or nothing.

    Several processes may do so at once; the last one's file stays. Its permissions are those of any new file.

    Raises:
        OSError: the folder cannot be written to, or is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
