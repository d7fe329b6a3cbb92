"""Files that are whole or absent: one atomic write for everything that the package puts on disk, and full disks."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL_DISK_FAILURES = 3
"""After so many files in a row that failed on a full disk, work on the others is pointless."""

_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@contextmanager
def atomic_write(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yield the path of a temporary file beside `path`; when the block ends without an error it becomes `path`.

    After a crash at any moment `path` holds the old content or the new one, never half of it. An error inside the block
    removes the temporary file and passes on. Several processes may write the same path; the last one wins.

    Args:
        path: the file to make or replace; its folder exists.
        durable: flush to the disk before the rename, for what a power failure must not lose.

    Raises:
        OSError: the file cannot be written; what the block raises.
    """
    part = path.with_name(f".{path.name[:50]}.{secrets.token_hex(6)}.part")
    try:
        yield part
        if durable:
            _flush(part)
        part.replace(path)
        if durable and os.name == "posix":
            _flush(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Replace `path` by `text` (UTF-8, newlines as given) in one move; see `atomic_write`."""
    with atomic_write(path, durable) as part:
        part.write_text(text, encoding="utf-8", newline="")


def write_bytes(path: Path, content: bytes, durable: bool = False) -> None:
    """Replace `path` by `content` in one move; see `atomic_write`."""
    with atomic_write(path, durable) as part:
        part.write_bytes(content)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether this error, or one that it was raised from, is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL_DISK:
            return True
        error = error.__cause__ or error.__context__
    return False


def _flush(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
