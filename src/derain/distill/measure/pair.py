"""Whether a rainy picture and its clean partner belong together: place, colour, structure, and the rain between them.

The rainy picture is compared both as it is and derained: rain hides edges, and a network moves none. Of rain there are
two layers, the rainy picture minus its partner and minus what a network makes of it. In a good pair both show the same
rain. Where the partner is another picture, or moved, the first holds edges of the scene; where it still holds rain, the
first is a weaker copy of the second. Images are (1, 3, H, W), planes luma in full swing (H, W), both in [0, 1]; lengths
are in pixels of the working copy.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from derain.distill.measure.rain_layer import blurred, fine_layer, full_luma
from derain.distill.measure.statistics import Statistics, regression, root_mean_square
from derain.imaging.metrics import Protocol, ssim
from derain.rain.blur import gaussian_blur

_BLOCKS = 3  # the picture is registered as a whole and in so many rows and columns of overlapping blocks
_LARGEST_SHIFT = 24.0
_BROAD_SIGMA = 8.0
_TINT_FLOOR = 0.002


@dataclass(frozen=True)
class PairStatistics(Statistics):
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


@dataclass(frozen=True)
class LayerAgreement(Statistics):
    """How the pair's layer goes with the network's."""

    slope: float
    """Least squares slope of the pair's layer on the network's, as an angle: pi / 4 where they are equal."""
    correlation: float
    """Correlation of the two."""
    ratio: float
    """ln of their root mean squares' ratio, pair over network."""
    leakage: float
    """Correlation of the pair's layer, without sign, with the partner's gradients: edges that do not cancel."""
    unexplained: float
    """ln of what of the pair's layer the network's does not explain, over the partner's contrast at that scale."""
    darkening: float
    """Part of the pair's layer's energy where the rainy picture is darker."""
    tint: float
    """ln of the root mean square of the colour of the pair's broad layer: rain and mist have hardly any."""


def layer_agreement(rainy: Tensor, derained: Tensor, clean: Tensor) -> LayerAgreement:
    """Compare the layers; all three images (1, 3, H, W) of one size, in [0, 1]."""
    target, picture = full_luma(clean), full_luma(rainy)
    by_pair, by_network = fine_layer(picture - target), fine_layer(picture - full_luma(derained))
    slope, correlation = regression(by_network.flatten(), by_pair.flatten())
    rest = by_pair - (0.0 if math.isnan(slope) else slope) * by_network
    gy, gx = torch.gradient(blurred(target, 1.0))
    _, leakage = regression(torch.hypot(gy, gx).flatten(), blurred(by_pair.abs(), 1.0).flatten())
    return LayerAgreement(
        slope=math.atan(slope),
        correlation=correlation,
        ratio=math.log((root_mean_square(by_pair) + 1e-4) / (root_mean_square(by_network) + 1e-4)),
        leakage=leakage,
        unexplained=math.log((root_mean_square(rest) + 1e-3) / (root_mean_square(fine_layer(target)) + 1e-3)),
        darkening=float(by_pair.clamp(max=0).square().sum() / by_pair.square().sum().clamp(min=1e-9)),
        tint=math.log(_TINT_FLOOR + tint(rainy - clean)),
    )


def tint(layer: Tensor) -> float:
    """Root mean square of what is not grey in a layer (1, 3, H, W) without its fine structure."""
    broad = gaussian_blur(layer, _BROAD_SIGMA)
    return float((broad - broad.mean(dim=1, keepdim=True)).square().mean().sqrt())
