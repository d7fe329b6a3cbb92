"""The picture that is read, restored and written: integer pixels, and all else that belongs into its file."""

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from derain.errors import ImageError
from derain.imaging.metadata import DEFAULT_COMPRESSION, NO_METADATA, Compression, Metadata
from derain.imaging.pixels import PixelArray, to_tensor


@dataclass(frozen=True)
class Picture:
    """A decoded still, upright.

    pixels (H, W, 3), uint8 or uint16, grey ones repeated three times; alpha (H, W) of the same type or None;
    is_grey: whether the file held grey values, and one written from this shall; exif: from its TIFF header on,
    orientation 1, no thumbnail; icc: the profile that the pixels are meant in (None: sRGB); metadata and
    compression: what else a file written from it is given; warnings: sentences on the
    file, to be shown once to its user: what is irregular in it, what of it is not kept.
    """

    pixels: PixelArray
    alpha: PixelArray | None = None
    is_grey: bool = False
    exif: bytes | None = None
    icc: bytes | None = None
    metadata: Metadata = NO_METADATA
    compression: Compression = DEFAULT_COMPRESSION
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pixels, alpha = self.pixels, self.alpha
        if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape or pixels.dtype not in (np.uint8, np.uint16):
            raise ImageError(f"wanted pixels (H, W, 3) of uint8 or uint16, got {pixels.shape} of {pixels.dtype}")
        if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype):
            raise ImageError(
                f"wanted alpha {pixels.shape[:2]} of {pixels.dtype}, as the pixels, got {alpha.shape} of {alpha.dtype}"
            )

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def bit_depth(self) -> int:
        """8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    def to_tensor(self) -> Tensor:
        """The pixels as an image (1, 3, H, W), float32 in [0, 1]."""
        return to_tensor(self.pixels)

    def with_pixels(self, pixels: PixelArray) -> "Picture":
        """This picture with other pixels of the same size and type; alpha, EXIF and profile stay."""
        if pixels.shape != self.pixels.shape or pixels.dtype != self.pixels.dtype:
            raise ImageError(
                f"wanted pixels {self.pixels.shape} of {self.pixels.dtype}, as this picture has, "
                f"got {pixels.shape} of {pixels.dtype}"
            )
        return replace(self, pixels=pixels)
