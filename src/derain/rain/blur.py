"""Gaussian blurs whose cost does not grow with their width: wide ones run on a smaller picture."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_FINE_SIGMA = 2.0
"""Blur that is left to do after shrinking; wide enough that bilinear enlargement shows no grid."""


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur (B, C, H, W) by a Gaussian of `sigma` pixels; borders are continued by their own values."""
    if sigma < 0.1:
        return image
    height, width = image.shape[-2:]
    factor = max(1.0, sigma / _FINE_SIGMA)
    small_height, small_width = max(1, round(height / factor)), max(1, round(width / factor))
    shrunk = (small_height, small_width) != (height, width)
    small = functional.interpolate(image, (small_height, small_width), mode="area") if shrunk else image
    small = _blur_along(small, sigma * small_height / height, dim=-2)
    small = _blur_along(small, sigma * small_width / width, dim=-1)
    return functional.interpolate(small, (height, width), mode="bilinear", align_corners=False) if shrunk else small


def _blur_along(image: Tensor, sigma: float, dim: int) -> Tensor:
    """One-dimensional Gaussian convolution along the rows (-2) or the columns (-1)."""
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    batch, channels, height, width = image.shape
    planes = image.reshape(batch * channels, 1, height, width)
    if dim == -2:
        padded = functional.pad(planes, (0, 0, radius, radius), mode="replicate")
        blurred = functional.conv2d(padded, kernel.view(1, 1, -1, 1))
    else:
        padded = functional.pad(planes, (radius, radius, 0, 0), mode="replicate")
        blurred = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return blurred.view(batch, channels, height, width)
