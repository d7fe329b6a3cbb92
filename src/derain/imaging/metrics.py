"""PSNR and SSIM under named protocols, because a figure that does not name its channel cannot be compared.

| protocol | PSNR on | SSIM on | used in |
|---|---|---|---|
| `rgb` | RGB | RGB, mean of the channels | scikit-image as it comes |
| `y` | luma | luma | the tables of the deraining papers (evaluated in MATLAB) |
| `unirain` | RGB | luma | UniRain, CVPR 2026 |

Luma is BT.601 in studio swing, 16..235 (`color.luma_bt601`); the data range is 255 all the same, 1 for [0, 1].
Nothing is cropped, clamped or rounded here: give images as they will be written. (UniRain crops to multiples of 16.)
"""

import math
from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor

from derain.errors import ImageError
from derain.imaging.color import luma_bt601


class Protocol(StrEnum):
    """Which channels PSNR and SSIM are taken on."""

    RGB = "rgb"
    Y = "y"
    UNIRAIN = "unirain"

    @property
    def is_psnr_on_luma(self) -> bool:
        """Whether PSNR is taken on luma, else on RGB."""
        return self is Protocol.Y

    @property
    def is_ssim_on_luma(self) -> bool:
        """Whether SSIM is taken on luma, else on RGB."""
        return self is not Protocol.RGB


SSIM_WINDOW = 11
"""Side of SSIM's window in pixels; smaller pictures have no SSIM."""

SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
"""SSIM's constants (K1 L)^2 and (K2 L)^2 with L = 1."""

_SSIM_SIGMA = 1.5
# What is in work then stays in the processor's cache, and large pictures need little memory beside themselves.
_ROWS_AT_ONCE = 64
_PIXELS_AT_ONCE = 1 << 16


def psnr(restored: Tensor, target: Tensor, protocol: Protocol) -> Tensor:
    """PSNR = 10 log10(1 / mean (restored - target)^2) in dB, one per image: (B, 3, H, W) in [0, 1] twice to (B,).

    Identical images have infinite PSNR; mind that when averaging. In double precision.

    Raises:
        ImageError: the shapes differ or are not (B, 3, H, W).
    """
    _check(restored, target, smallest=1)
    if protocol.is_psnr_on_luma:
        restored, target = luma_bt601(restored), luma_bt601(target)
    accurate = _accurate(restored)
    squares = torch.zeros(len(restored), dtype=accurate, device=restored.device)
    for top in range(0, restored.shape[2], _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        errors = restored[:, :, rows].to(accurate) - target[:, :, rows].to(accurate)
        squares = squares + errors.square().sum(dim=(1, 2, 3))
    return -10 * torch.log10(squares / restored[0].numel())


def ssim(restored: Tensor, target: Tensor, protocol: Protocol) -> Tensor:
    """Mean structural similarity, one per image: (B, 3, H, W) in [0, 1] twice to (B,), 1 for identical images.

    Wang et al. 2004, eq. 13: (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2)), K1 = 0.01,
    K2 = 0.03, with an 11x11 Gaussian window of sigma 1.5, averaged over the places where the window lies wholly inside
    (MATLAB's `valid`; scikit-image's with gaussian_weights=True, use_sample_covariance=False). torchmetrics' has the
    same values there and averages mirrored borders in, which moves its mean. Differentiable; in double precision.

    Raises:
        ImageError: the shapes differ, are not (B, 3, H, W), or a side is shorter than the window.
    """
    _check(restored, target, smallest=SSIM_WINDOW)
    if protocol.is_ssim_on_luma:
        restored, target = luma_bt601(restored), luma_bt601(target)
    accurate, margin = _accurate(restored), SSIM_WINDOW - 1
    height, width = restored.shape[2] - margin, restored.shape[3] - margin
    at_once = max(1, _PIXELS_AT_ONCE // (_ROWS_AT_ONCE * restored.shape[3]))
    planes_x, planes_y = restored.flatten(0, 1), target.flatten(0, 1)
    sums = []
    for first in range(0, len(planes_x), at_once):
        x, y = planes_x[first : first + at_once], planes_y[first : first + at_once]
        total = torch.zeros(len(x), dtype=accurate, device=x.device)
        for top in range(0, height, _ROWS_AT_ONCE):
            rows = slice(top, min(top + _ROWS_AT_ONCE, height) + margin)
            total = total + _ssim_map(x[:, rows].to(accurate), y[:, rows].to(accurate)).sum(dim=(1, 2))
        sums.append(total)
    return torch.cat(sums).view(restored.shape[:2]).mean(dim=1) / (height * width)


def _ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """(N, H, W) twice to the SSIM at each place of the window, (N, H - 10, W - 10)."""
    # Of the variances only the sum is needed: four windows instead of five.
    mean_x, mean_y, squares, product = ssim_window_mean(torch.stack((x, y, x.square() + y.square(), x * y))).unbind()
    mean_product = mean_x * mean_y
    mean_squares = mean_x.square() + mean_y.square()
    luminance = (2 * mean_product + SSIM_C1) / (mean_squares + SSIM_C1)
    structure = (2 * (product - mean_product) + SSIM_C2) / (squares - mean_squares + SSIM_C2)
    return luminance * structure


def ssim_window_mean(x: Tensor, axes: Sequence[int] = (-1, -2)) -> Tensor:
    """Mean of (..., H, W) under SSIM's window, valid places only: (..., H - 10, W - 10).

    Args:
        axes: the last two, in the order in which they are averaged, which decides the last digits.
    """
    middle = SSIM_WINDOW // 2
    for axis in axes:
        length = x.shape[axis] - SSIM_WINDOW + 1
        mean: Tensor = x.narrow(axis, middle, length) * _TAPS[middle]
        for i in range(middle):  # pairs of taps share their weight
            pair = x.narrow(axis, i, length) + x.narrow(axis, SSIM_WINDOW - 1 - i, length)
            mean = mean.add_(pair, alpha=_TAPS[i])
        x = mean
    return x


def _window() -> list[float]:
    taps = [math.exp(-((i - SSIM_WINDOW // 2) ** 2) / (2 * _SSIM_SIGMA**2)) for i in range(SSIM_WINDOW)]
    return [tap / sum(taps) for tap in taps]


_TAPS = _window()
"""The Gaussian along one axis; sums to one."""


def _accurate(image: Tensor) -> torch.dtype:
    # The variances are small differences of large numbers, which float32 leaves with some 1e-4 of error in flat places.
    return torch.float32 if image.device.type == "mps" else torch.float64


def _check(restored: Tensor, target: Tensor, smallest: int) -> None:
    if restored.shape != target.shape or restored.ndim != 4 or restored.shape[1] != 3:
        raise ImageError(
            f"wanted two images (B, 3, H, W) of one shape, got {tuple(restored.shape)} and {tuple(target.shape)}; "
            "pair or crop them first"
        )
    if min(restored.shape[2:]) < smallest:
        raise ImageError(
            f"wanted at least {smallest}x{smallest} pixels for this measure, "
            f"got {restored.shape[3]}x{restored.shape[2]}; leave the picture out"
        )
