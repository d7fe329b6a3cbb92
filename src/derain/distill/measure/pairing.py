"""Whether a rainy picture and its clean partner belong together: place, colour and structure.

The rainy picture is compared both as it is and derained: rain hides edges, and a network moves none. Whether the target
still holds rain is told by `layer_agreement`. Images are (1, 3, H, W), planes luma in full swing (H, W), both in
[0, 1]; lengths are in pixels of the working copy.
"""

import math
from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from derain.distill.measure.rain_layer import blurred, full_luma, regression
from derain.imaging.metrics import Protocol, ssim
from derain.rain.blur import gaussian_blur

_BLOCKS = 3  # the picture is registered as a whole and in so many rows and columns of overlapping blocks
_LARGEST_SHIFT = 24.0


@dataclass(frozen=True)
class PairStatistics:
    """What is measured of a pair."""

    shift: float
    """ln(0.1 + distance) between the pictures as a whole."""
    block_shift: float
    """The same, largest over blocks that can be registered: turns and scalings show here."""
    registration: float
    """Height of the registration's peak, 0 to 1: what agrees at all."""
    structure: float
    """SSIM of the derained picture and the clean one."""
    gradient_correlation: float
    """Correlation of the two's gradients, at zero shift."""
    colour_shift: float
    """ln(0.005 + largest difference of the channels' median ratio from their mean) between derained and clean."""
    exposure_shift: float
    """ln of the median ratio of derained to clean luma, without sign."""
    clean_detail: float
    """ln of the clean picture's fine detail over that of the derained one: little where the target was smoothed."""
    clean_detail_rainy: float
    """The same over that of the rainy picture."""

    def vector(self) -> npt.NDArray[np.float64]:
        """(S,) all of them, in the order of the fields."""
        return np.array(astuple(self), np.float64)

    @staticmethod
    def names() -> tuple[str, ...]:
        """The fields' names, in order."""
        return tuple(field.name for field in fields(PairStatistics))


def pair_statistics(rainy: Tensor, derained: Tensor, clean: Tensor) -> PairStatistics:
    """Measure a pair; all three (1, 3, H, W) of one size, H and W at least 96."""
    dry, target = full_luma(derained), full_luma(clean)
    offset = registration(dry, target)
    blocks = [registration(dry[area], target[area]) for area in _areas(*dry.shape)]
    trusted = [b.distance for b in blocks if b.peak > 0.3 * max(offset.peak, 0.15)]
    chroma, exposure = colour_shift(derained, clean)
    _, agreement = regression(_gradients(dry), _gradients(target))
    clean_detail = _detail(target)
    return PairStatistics(
        shift=math.log(0.1 + offset.distance),
        block_shift=math.log(0.1 + max([*trusted, offset.distance])),
        registration=offset.peak,
        structure=float(ssim(derained, clean, Protocol.UNIRAIN)),
        gradient_correlation=agreement,
        colour_shift=math.log(0.005 + chroma),
        exposure_shift=abs(exposure),
        clean_detail=math.log((clean_detail + 1e-4) / (_detail(dry) + 1e-4)),
        clean_detail_rainy=math.log((clean_detail + 1e-4) / (_detail(full_luma(rainy)) + 1e-4)),
    )


@dataclass(frozen=True)
class Registration:
    """Where one plane has to be moved to lie on another."""

    down: float
    right: float
    peak: float
    """Height of the correlation's peak, 0 to 1."""

    @property
    def distance(self) -> float:
        """In pixels, at most 24."""
        return min(math.hypot(self.down, self.right), _LARGEST_SHIFT)


def registration(moving: Tensor, fixed: Tensor) -> Registration:
    """Sub-pixel shift of `fixed` against `moving`, planes (H, W): phase correlation of their gradients.

    Kuglin & Hines 1975: the inverse transform of the normalised cross-power spectrum peaks at the shift. Gradients as
    one complex plane gx + i gy (Argyriou & Vlachos, "Gradient correlation", 2003) keep flat areas and light out of it;
    a Gaussian over frequencies widens the peak so that a parabola through its neighbours gives the fraction.
    """
    spectrum = torch.fft.fft2(_windowed_gradients(fixed)) * torch.fft.fft2(_windowed_gradients(moving)).conj()
    height, width = spectrum.shape
    radius_square = torch.fft.fftfreq(height)[:, None].square() + torch.fft.fftfreq(width).square()
    weight = torch.exp(-0.5 * radius_square / 0.12**2)
    length = spectrum.abs()
    # Frequencies that hardly occur have a random phase: they are normalised by what is usual, not by themselves.
    whitened = spectrum / (length + 0.1 * length.mean()) * weight
    correlation = torch.fft.ifft2(whitened).real * (height * width / float(weight.sum()))
    place = int(correlation.argmax())
    top, left = place // width, place % width
    down = _parabola([float(correlation[(top + step) % height, left]) for step in (-1, 0, 1)])
    right = _parabola([float(correlation[top, (left + step) % width]) for step in (-1, 0, 1)])
    return Registration(
        down=(top + height // 2) % height - height // 2 + down,
        right=(left + width // 2) % width - width // 2 + right,
        peak=min(max(float(correlation[top, left]), 0.0), 1.0),
    )


def _parabola(values: list[float]) -> float:
    """Place of the vertex of the parabola through values at -1, 0 and 1."""
    before, at, after = values
    bend = before - 2 * at + after
    return 0.0 if bend >= 0 else max(-0.5, min(0.5, 0.5 * (before - after) / bend))


def _windowed_gradients(plane: Tensor) -> Tensor:
    smooth = blurred(plane, 1.0)
    gx = (smooth[1:-1, 2:] - smooth[1:-1, :-2]) / 2
    gy = (smooth[2:, 1:-1] - smooth[:-2, 1:-1]) / 2
    window = torch.hann_window(gx.shape[0], periodic=False)[:, None] * torch.hann_window(gx.shape[1], periodic=False)
    return torch.complex(gx * window, gy * window)


def _areas(height: int, width: int) -> list[tuple[slice, slice]]:
    """Blocks of half the picture's size that overlap by half."""
    tops = [round(index * height / 2 / (_BLOCKS - 1)) for index in range(_BLOCKS)]
    lefts = [round(index * width / 2 / (_BLOCKS - 1)) for index in range(_BLOCKS)]
    return [(slice(top, top + height // 2), slice(left, left + width // 2)) for top in tops for left in lefts]


def colour_shift(derained: Tensor, clean: Tensor) -> tuple[float, float]:
    """Largest difference of a channel's median log ratio from the channels' mean, and that mean.

    Of broad light only, so that neither rain nor edges count, and of places that are neither black nor clipped.
    """
    sigma = max(2.0, 0.02 * clean.shape[-2])
    a, b = gaussian_blur(derained, sigma)[0].flatten(1), gaussian_blur(clean, sigma)[0].flatten(1)
    usable = (torch.minimum(a, b).amin(dim=0) > 0.03) & (torch.maximum(a, b).amax(dim=0) < 0.97)
    if int(usable.sum()) < 50:
        return 0.0, 0.0
    ratios = (a[:, usable].log() - b[:, usable].log()).median(dim=1).values
    return float((ratios - ratios.mean()).abs().max()), float(ratios.mean())


def _gradients(plane: Tensor) -> Tensor:
    smooth = blurred(plane, 1.0)
    return torch.cat([smooth.diff(dim=0).flatten(), smooth.diff(dim=1).flatten()])


def _detail(plane: Tensor) -> float:
    return float((plane - blurred(plane, 1.0)).abs().mean())
