"""Whether a picture's file seems cut off: seen from its last bytes, without decoding it."""

import os
import struct
from pathlib import Path

TAIL = 4096
"""Bytes looked at from the end of a file."""
_HEAD = 12


def ends_early(path: Path) -> bool:
    """Whether the end of a JPEG, PNG, WebP or BMP is not where it should be; other formats do not say where they end.

    A file that is whole can look like this where a program hung much else on it (some telephones append films to
    photographs), so that one has to be read to be sure. One that looks whole may still be broken inside.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        tail = file.read()
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in tail  # within compressed data 0xff is always followed by something else
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return size < 8 + int(struct.unpack("<I", head[4:8])[0])
    if head.startswith(b"BM") and len(head) == _HEAD:
        return size < int(struct.unpack("<I", head[2:6])[0])
    return False
