"""How similar two pictures are in structure: SSIM of their luminances at 256x256 (UniRain, Eq. 3).

The paper names SSIM and neither size nor channel. Here pictures of any size are averaged over areas to 256x256 of
BT.601 luma. Between different scenes plain SSIM mostly measures brightness and smoothness: flat and dark pictures
resemble everything. `structure-only` therefore compares the structure term alone, of standardised pictures.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from derain.backends.view import View
from derain.errors import DistillError
from derain.imaging.metrics import SSIM_C1, SSIM_C2, ssim_window_mean

SIDE = 256
COARSE_SIDE = 64
StructureMeasure = Literal["plain", "structure-only"]

Luminance = npt.NDArray[np.uint8]
"""(256, 256)."""

_C3 = SSIM_C2 / 2
_LEAST_DEVIATION = 1 / 255  # Of a picture's values; what varies less has no structure to compare.


def luminance(view: View) -> Luminance:
    """Y' = 0.299 R + 0.587 G + 0.114 B in full range, averaged over areas to (256, 256) uint8.

    The shape is not kept: each side is divided into 256 equal parts, and pixels on a border count to both sides by
    their share. Smaller pictures are enlarged by the same rule.
    """
    pixels = view.pixels
    # Thousandths of a grey level, so that sums are exact whatever their order.
    luma = 299 * pixels[..., 0].astype(np.int64)
    luma += 587 * pixels[..., 1].astype(np.int64)
    luma += 114 * pixels[..., 2].astype(np.int64)
    rows = _area_average(luma, SIDE)
    both = _area_average(rows.T, SIDE).T
    return np.ascontiguousarray(np.clip(np.floor(both / 1000 + 0.5), 0, 255).astype(np.uint8))


def _area_average(values: npt.NDArray[np.generic], parts: int) -> npt.NDArray[np.float64]:
    """(N, M) to (parts, M): means over equal parts of the first axis, by differences of its running sum."""
    count = len(values)
    sums = np.concatenate([np.zeros((1, values.shape[1]), values.dtype), np.cumsum(values, axis=0)])
    edges = np.arange(parts + 1) * count
    whole, rest = edges // parts, (edges % parts / parts)[:, None]
    after = np.minimum(whole + 1, count)
    at_edges = sums[whole] * (1 - rest) + sums[after] * rest
    return np.diff(at_edges, axis=0) * (parts / count)


@dataclass(frozen=True)
class Plane:
    """What of one picture is needed for every comparison, at one size S; float32, values less their mean.

    Variances are small differences of large numbers; around the mean single precision leaves them with errors that
    move SSIM by about a millionth, at half the time that double precision takes.
    """

    level: float
    """The mean that was taken off the values."""
    values: Tensor
    """(S, S)."""
    mean: Tensor
    """(S - 10, S - 10), over the window, of the values."""
    spread: Tensor
    """(S - 10, S - 10): the variance for plain SSIM, the deviation for the structure term."""


Moments = tuple[Plane, ...]
"""One plane for plain SSIM; two, or none for a flat picture, for the structure term."""


def moments(picture: Luminance, measure: StructureMeasure) -> Moments:
    """What can be computed of one picture beforehand, so that a comparison takes one window instead of four.

    Raises:
        DistillError: the picture is no (256, 256) uint8.
    """
    if picture.shape != (SIDE, SIDE) or picture.dtype != np.uint8:
        raise DistillError(
            f"wanted a luminance ({SIDE}, {SIDE}) uint8, got {picture.shape} {picture.dtype}; make it with luminance()"
        )
    values = picture.astype(np.float64) / 255
    if measure == "plain":
        return (_plane(values, measure),)
    ratio = SIDE // COARSE_SIDE
    coarse = values.reshape(COARSE_SIDE, ratio, COARSE_SIDE, ratio).mean(axis=(1, 3))
    deviations = float(values.std()), float(coarse.std())
    if min(deviations) < _LEAST_DEVIATION:
        return ()
    return tuple(
        _plane(plane / deviation, measure) for plane, deviation in zip((values, coarse), deviations, strict=True)
    )


def similarity(a: Moments, b: Moments) -> float:
    """SSIM or mean structure term of two pictures, both prepared for the same measure. Symmetric.

    `plain`: mean SSIM, 1 for equal pictures (Wang et al. 2004, eq. 13), with an 11x11 Gaussian window of sigma 1.5 and
    data range 1, averaged over the places where the window is wholly inside.

    `structure-only`: the structure term s_ab / (s_a s_b + C3), averaged over places and over 256x256 and 64x64. Both
    pictures are first brought to mean 0 and deviation 1, so that light and contrast do not count. The numerator has no
    constant, unlike Wang's eq. 10: a place that is flat in either picture counts 0, not 1, so that flat pictures do not
    resemble everything. In [-1, 1]; a little under 1 for equal pictures; 0 if either is flat altogether.
    """
    compare = _plain_similarity if len(a) == 1 else _structure_term
    return sum(compare(x, y) for x, y in zip(a, b, strict=True)) / len(a) if a and b else 0.0


def _plane(values: npt.NDArray[np.float64], measure: StructureMeasure) -> Plane:
    level = float(values.mean())
    tensor = torch.from_numpy((values - level).astype(np.float32))
    mean = _windowed(tensor)
    variance = _windowed(tensor.square()).sub_(mean.square())
    return Plane(level, tensor, mean, variance if measure == "plain" else variance.clamp_min_(0).sqrt_())


def _plain_similarity(a: Plane, b: Plane) -> float:
    covariance = _windowed(a.values * b.values).sub_(a.mean * b.mean)
    mean_a, mean_b = a.mean + a.level, b.mean + b.level
    means = mean_a.square().add_(mean_b.square()).add_(SSIM_C1)
    spreads = (a.spread + b.spread).add_(SSIM_C2)
    numerator = mean_a.mul_(mean_b).mul_(2).add_(SSIM_C1).mul_(covariance.mul_(2).add_(SSIM_C2))
    return _mean(numerator.div_(means.mul_(spreads)))


def _structure_term(a: Plane, b: Plane) -> float:
    covariance = _windowed(a.values * b.values).sub_(a.mean * b.mean)
    return _mean(covariance.div_((a.spread * b.spread).add_(_C3)))


def _mean(plane: Tensor) -> float:
    # NumPy adds in one order on any number of threads; torch does not.
    return float(plane.numpy().mean(dtype=np.float64))


def _windowed(plane: Tensor) -> Tensor:
    """Means under the window; of one picture at a time, whose planes then stay in the processor's cache."""
    return ssim_window_mean(plane, axes=(0, 1))
