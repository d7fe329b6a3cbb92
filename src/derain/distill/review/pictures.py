"""Pictures for pages, reduced to what a page shows."""

from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from derain.imaging.io import read_picture

LONGEST_SIDE = 1600
"""Pixels; larger pictures are reduced."""


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


@lru_cache(maxsize=64)
def held_jpeg(path: Path) -> bytes:
    """`reduced_jpeg` of a file; those asked for last are held in memory, about 1 MB each."""
    return reduced_jpeg(path)
