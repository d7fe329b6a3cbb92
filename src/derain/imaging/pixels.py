"""Integer pixels and float images, the one place where they turn into each other."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from derain.errors import ImageError

PixelArray: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
"""uint8 or uint16."""


def to_tensor(pixels: PixelArray) -> Tensor:
    """Pixels (H, W, 3), uint8 or uint16, as an image (1, 3, H, W), contiguous float32 in [0, 1]; a copy."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"wanted pixels (H, W, 3) of uint8 or uint16, got {pixels.shape} of {pixels.dtype}")
    peak = np.float32(np.iinfo(pixels.dtype).max)
    planes = np.divide(pixels.transpose(2, 0, 1), peak, dtype=np.float32, order="C")
    return torch.from_numpy(planes)[None]


def to_pixels(image: Tensor, bit_depth: int = 8) -> PixelArray:
    """An image (1, 3, H, W) or (3, H, W) as pixels (H, W, 3): clamped to [0, 1], rounded to uint8 or uint16.

    `to_pixels(to_tensor(p), bit_depth)` is `p` exactly.

    Raises:
        ImageError: another shape, a bit depth other than 8 and 16, or values that are not finite.
    """
    if bit_depth not in (8, 16):
        raise ImageError(f"wanted a bit depth of 8 or 16, got {bit_depth}")
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] != 3:
        raise ImageError(f"wanted one RGB image (1, 3, H, W) or (3, H, W), got {tuple(image.shape)}")
    planes = image.detach().to("cpu", torch.float32)
    if not bool(planes.isfinite().all()):
        raise ImageError("the image holds NaN or infinite values; the model or precision that made it does not fit")
    peak = (1 << bit_depth) - 1
    scaled = planes.clamp(0, 1).mul_(peak).round_().permute(1, 2, 0)
    return np.ascontiguousarray(scaled.numpy().astype(np.uint8 if bit_depth == 8 else np.uint16, order="C"))
