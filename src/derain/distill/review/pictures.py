"""Pictures for pages: only those that were listed, reduced to what a page shows."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from derain.imaging.io import read_picture

LONGEST_SIDE = 1600
"""Pixels; larger pictures are reduced."""

HELD_BYTES = 64_000_000
"""Encoded pictures that are held in memory."""


def reduced_jpeg(path: Path, longest_side: int = LONGEST_SIDE, quality: int = 95) -> bytes:
    """The picture in a file as a JPEG without metadata, its longer side at most `longest_side` pixels.

    Colours keep their full resolution, since faint streaks are what people look for.

    Raises:
        ImageError: the file is not there, no picture, or broken.
    """
    pixels = read_picture(path).pixels
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


class PictureShelf:
    """Listed pictures by name, encoded when first asked for; the least used are forgotten."""

    def __init__(self, listed: Mapping[str, Path], longest_side: int = LONGEST_SIDE) -> None:
        self._listed = dict(listed)
        self._longest_side = longest_side
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def jpeg(self, name: str) -> bytes | None:
        """The picture under a name; None where nothing is listed under it.

        Raises:
            ImageError: the file is not there any more, no picture, or broken.
        """
        path = self._listed.get(name)
        if path is None:
            return None
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
                return self._held[name]
        data = reduced_jpeg(path, self._longest_side)
        with self._lock:
            self._held[name] = data
            while sum(map(len, self._held.values())) > HELD_BYTES and len(self._held) > 1:
                self._held.popitem(last=False)
        return data
