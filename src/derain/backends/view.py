"""A decoded picture with the digest of its file: the input of models and measures."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from derain.errors import ImageError
from derain.imaging.io import read_picture, to_tensor

Pixels8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """A picture, upright, as 8-bit pixels.

    Equal digests mean equal pictures, so whatever was computed of one holds for the other.
    """

    digest: str
    """sha256 of the file's bytes, 64 hexadecimal digits."""
    pixels: Pixels8
    """(H, W, 3) uint8, RGB, sRGB-encoded."""

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @cached_property
    def image(self) -> Tensor:
        """(1, 3, H, W) float32 in [0, 1]."""
        return to_tensor(self.pixels)


def read_view(path: Path) -> View:
    """The picture in a file; 16 bits are rounded to 8.

    Raises:
        ImageError: the file is not there, no picture, or broken.
    """
    digest = file_digest(path)
    pixels = read_picture(path).pixels
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return View(digest, np.ascontiguousarray(pixels, np.uint8))


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        ImageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); put it there or remove its row") from error
