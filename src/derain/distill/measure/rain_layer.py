"""Statistics of the rain layer: what a picture has more (or less) than its derained version.

By day a streak shows the light of its surroundings and hides what is behind it, O = (1 - a) B + a A, so that the layer
O - B = a (A - B) falls as the background grows brighter and darkens what is brighter than the rain (Garg & Nayar,
"Vision and rain", IJCV 2007). Drops that fall near one another differ in length, width and brightness, share a
direction up to a few degrees, and never come in the same arrangement twice. Drops on glass show a blurred, bent scene.
Each of these is measured here by a function of its own, and rain that is painted rather than seen breaks some of them.

Planes are (H, W) float32, sRGB-encoded luma unless said otherwise; lengths are in pixels of the working copy.
Directions are in degrees from vertical, positive drifting to the right on the way down, -90 to 90.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from derain.distill.measure.statistics import Statistics, regression, root_mean_square
from derain.imaging.color import luma_bt601
from derain.rain.blur import gaussian_blur

FAINTEST = 0.0015
"""Root mean square of the fine layer below which there is no rain to measure."""

_FINE_SIGMA = 8.0  # what is broader than this is veil and drops, not streaks
_MARKED_SIGMAS = 2.5  # a pixel is rain where the layer stands out of its noise by so much
_LEAST_MARKED = 50  # pixels, for regressions to mean anything
_LONGEST_EXTENT = 64  # pixels on either side along which the autocorrelation is followed
_NEAREST_REPEAT = 14.0  # pixels: nearer, marks of the rain themselves correlate
_OFF_AXIS = 5.0  # pixels beside the line along which streaks correlate with themselves


@dataclass(frozen=True)
class RainLayerStatistics(Statistics):
    """What is measured of a rain layer; NaN where it cannot be. All are signed or logarithmic so that differences
    between two pictures mean the same everywhere."""

    strength: float
    """ln of the root mean square of the fine layer."""
    density: float
    """ln of the part of the picture that is marked as rain."""
    kurtosis: float
    """ln of the fourth standardised moment of the fine layer; 1.1 for Gaussian noise."""
    skewness: float
    """Third standardised moment, cube root; rain brightens, so it is positive."""
    tilt_deg: float
    """Lean of the dominating direction from vertical, without sign, 0 to 90."""
    spread_deg: float
    """Circular standard deviation of direction over the picture."""
    coherence: float
    """0 where the layer is isotropic in each neighbourhood, 1 where it consists of lines."""
    coarse_coherence: float
    """The same of the layer blurred to the scale of drops."""
    width: float
    """ln of the full width at half of the autocorrelation, across the dominating direction."""
    length: float
    """The same along it."""
    repetition: float
    """Highest autocorrelation far from zero and off the streaks' own line, -1 to 1; near 1 for tiles."""
    repetition_prominence: float
    """The same in standard deviations of the autocorrelation there, ln."""
    brightness_spread: float
    """(90th - 50th percentile) / median of the marked pixels' layer: little where all rain has one brightness."""
    crest_spread: float
    """(90th - 10th percentile) / median of the layer on the crests of marks: drops differ, painted lines do not."""
    light_slope: float
    """Slope of the marked pixels' layer against the background's luma; physical rain by day falls."""
    light_correlation: float
    """Correlation of the two."""
    linear_slope: float
    """The same slope in linear light over the median of the layer: -1 for a (A - B) with A twice the median of B."""
    darkening: float
    """Part of the layer's energy that darkens."""
    bright_occlusion: float
    """Mean layer over the brightest quarter of backgrounds over that of the darkest, both of marked pixels."""
    saturation: float
    """Part of the marked pixels that are clipped in some channel."""
    chroma: float
    """ln of colour over luma in the marked layer; none at all where grey was added."""
    hue_agreement: float
    """Cosine between the marked layer's mean colour and the background's."""
    band_1: float
    """ln of the part of the layer's energy at scales around 1 pixel (difference of Gaussians)."""
    band_2: float
    """At scales around 2 pixels."""
    band_4: float
    band_8: float
    band_16: float
    blob_detail: float
    """ln of the fine detail inside broad marks over that outside: drops blur what they cover."""
    blob_change: float
    """ln of the fine detail inside broad marks before deraining over after."""
    blob_correlation: float
    """Correlation of the picture with its derained version inside broad marks: refraction brings in other light."""
    blob_cover: float
    """ln of the part of the picture under broad marks."""
    blob_flatness: float
    """ln of the variation at middle scale inside broad marks over that outside; little under one colour."""


def rain_layer_statistics(picture: Tensor, without_rain: Tensor) -> RainLayerStatistics | None:
    """Measure a rain layer; None where the two hardly differ.

    Args:
        picture: (1, 3, H, W) sRGB-encoded, [0, 1].
        without_rain: the same without its rain: derained, or the true scene.
    """
    seen, dry = full_luma(picture), full_luma(without_rain)
    layer = seen - dry
    fine = fine_layer(layer)
    if root_mean_square(fine) < FAINTEST:
        return None
    marked = marked_pixels(fine)
    return RainLayerStatistics(
        **_distribution(fine, marked),
        **_shape(layer, fine),
        **_light(fine, blurred(dry, 3.0), marked),
        crest_spread=crest_spread(fine, marked),
        linear_slope=_linear_slope(seen, dry, marked),
        saturation=_saturation(picture, marked),
        **_colour(picture - without_rain, without_rain, marked & (picture[0].amax(dim=0) < 0.98)),
        **_blobs(seen, dry),
    )


def _distribution(fine: Tensor, marked: Tensor) -> dict[str, float]:
    """How strong the fine layer is, how much of the picture it covers, and its moments."""
    standard = (fine - fine.mean()) / fine.std().clamp(min=1e-9)
    moment = float(standard.pow(3).mean())
    return {
        "strength": math.log(root_mean_square(fine)),
        "density": math.log(max(float(marked.float().mean()), 1e-4)),
        "kurtosis": math.log(max(float(standard.pow(4).mean()), 1.0)),
        "skewness": math.copysign(abs(moment) ** (1 / 3), moment),
        "darkening": float(fine.clamp(max=0).square().sum() / fine.square().sum()),
    }


def _shape(layer: Tensor, fine: Tensor) -> dict[str, float]:
    """Direction, size of the marks, scales, and whether the layer repeats itself."""
    angle_deg, spread_deg = direction(fine)
    correlation = autocorrelation(fine)
    peak, prominence = repetition(correlation, angle_deg)
    bands = zip((1, 2, 4, 8, 16), band_energies(layer), strict=True)
    return {
        "tilt_deg": abs(angle_deg),
        "spread_deg": spread_deg,
        "coherence": coherence(fine, 2.0),
        "coarse_coherence": coherence(blurred(layer, 3.0), 6.0),
        "width": math.log(extent(correlation, angle_deg + 90)),
        "length": math.log(extent(correlation, angle_deg)),
        "repetition": peak,
        "repetition_prominence": math.log(max(prominence, 0.1)),
        **{f"band_{scale}": energy for scale, energy in bands},
    }


def full_luma(image: Tensor) -> Tensor:
    """Luma of BT.601 in full swing, (H, W) in [0, 1], of an image (1, 3, H, W)."""
    return (luma_bt601(image)[0, 0] * 255 - 16) / 219


def blurred(plane: Tensor, sigma: float) -> Tensor:
    """A plane (H, W) after a Gaussian of `sigma` pixels."""
    return gaussian_blur(plane[None, None], sigma)[0, 0]


def fine_layer(layer: Tensor) -> Tensor:
    """The layer (H, W) without what is broader than a streak."""
    return layer - blurred(layer, _FINE_SIGMA)


def marked_pixels(fine: Tensor) -> Tensor:
    """Where a fine layer (H, W) stands out: above 2.5 times its noise, which is taken from the median deviation."""
    noise = 1.4826 * float((fine - fine.median()).abs().median())
    return fine > max(_MARKED_SIGMAS * noise, 0.004)


def crest_spread(fine: Tensor, marked: Tensor) -> float:
    """(90th - 10th percentile) / median of a fine layer (H, W) at the marked pixels that are the greatest of 5 x 5."""
    greatest = torch.nn.functional.max_pool2d(fine[None, None], 5, stride=1, padding=2)[0, 0]
    crests = fine[marked & (fine == greatest)]
    if len(crests) < _LEAST_MARKED:
        return math.nan
    low, half, high = (float(value) for value in torch.quantile(crests, crests.new_tensor([0.1, 0.5, 0.9])))
    return (high - low) / half


def _light(fine: Tensor, background: Tensor, marked: Tensor) -> dict[str, float]:
    """How the marked layer goes with the light behind it."""
    values, behind = fine[marked], background[marked]
    names = ("light_slope", "light_correlation", "bright_occlusion", "brightness_spread")
    if len(values) < _LEAST_MARKED:
        return dict.fromkeys(names, math.nan)
    low, high = torch.quantile(behind[:: max(1, len(behind) // 20000)], behind.new_tensor([0.25, 0.75])).tolist()
    bright, dark = values[behind >= high].mean(), values[behind <= low].mean()
    half, most = torch.quantile(values[:: max(1, len(values) // 20000)], values.new_tensor([0.5, 0.9])).tolist()
    occlusion = float(bright / dark.clamp(min=1e-4))
    return dict(zip(names, (*regression(behind, values), occlusion, (most - half) / half), strict=True))


def _linear_slope(seen: Tensor, dry: Tensor, marked: Tensor) -> float:
    # Without the fine layer's high-pass, which would bend the light: a (A - B) holds for the layer itself.
    if int(marked.sum()) < _LEAST_MARKED:
        return math.nan
    lit, unlit = seen.pow(2.2)[marked], dry.pow(2.2)[marked]
    slope, _ = regression(unlit, lit - unlit)
    middle = max(float((lit - unlit).median()), 1e-3)
    return math.asinh(slope * max(float(unlit.median()), 1e-3) / middle)


def _saturation(picture: Tensor, marked: Tensor) -> float:
    clipped = picture[0].amax(dim=0) >= 0.995
    count = int(marked.sum())
    return float((clipped & marked).sum()) / count if count else math.nan


def _colour(layer: Tensor, without_rain: Tensor, marked: Tensor) -> dict[str, float]:
    """ln of chroma over luma, and the cosine of mean colours, of the layer (1, 3, H, W) where it is marked."""
    if int(marked.sum()) < _LEAST_MARKED:
        return {"chroma": math.nan, "hue_agreement": math.nan}
    values = (layer - gaussian_blur(layer, _FINE_SIGMA))[0][:, marked]
    grey = values.mean(dim=0)
    chroma = root_mean_square(values - grey) / max(root_mean_square(grey), 1e-6)
    mean, behind = values.mean(dim=1), without_rain[0][:, marked].mean(dim=1)
    agreement = float(torch.nn.functional.cosine_similarity(mean, behind, dim=0))
    return {"chroma": math.log(max(chroma, 1e-3)), "hue_agreement": agreement}


def _blobs(seen: Tensor, dry: Tensor) -> dict[str, float]:
    """What lies inside broad marks, compared with what lies outside; without any all but their cover is NaN."""
    layer = seen - dry
    broad = blurred(layer, 3.0) - blurred(layer, 40.0)
    noise = 1.4826 * float((broad - broad.median()).abs().median())
    inside = broad.abs() > max(2.5 * noise, 0.02)
    cover = math.log(max(float(inside.float().mean()), 1e-4))
    names = ("blob_detail", "blob_change", "blob_correlation", "blob_flatness")
    if int(inside.sum()) < _LEAST_MARKED:
        return dict.fromkeys(names, math.nan) | {"blob_cover": cover}
    smooth = blurred(seen, 1.5)
    detail_seen, detail_dry = (seen - smooth).abs(), (dry - blurred(dry, 1.5)).abs()
    middle = (smooth - blurred(seen, 5.0)).abs()
    _, correlation = regression((dry - blurred(dry, 12.0))[inside], (seen - blurred(seen, 12.0))[inside])
    figures = (
        _log_ratio(detail_seen[inside], detail_seen[~inside]),
        _log_ratio(detail_seen[inside], detail_dry[inside]),
        correlation,
        _log_ratio(middle[inside], middle[~inside]),
    )
    return dict(zip(names, figures, strict=True)) | {"blob_cover": cover}


def _log_ratio(above: Tensor, below: Tensor) -> float:
    """ln of the ratio of means, kept finite."""
    return math.log((float(above.mean()) + 1e-4) / ((float(below.mean()) if len(below) else 0.0) + 1e-4))


def structure_tensor(plane: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """gx^2, gx gy and gy^2 of a plane (H, W) blurred by one pixel; each (H - 2, W - 2)."""
    smooth = gaussian_blur(plane[None, None], 1.0)[0, 0]
    gx = (smooth[1:-1, 2:] - smooth[1:-1, :-2]) / 2
    gy = (smooth[2:, 1:-1] - smooth[:-2, 1:-1]) / 2
    return gx * gx, gx * gy, gy * gy


def direction(plane: Tensor) -> tuple[float, float]:
    """Dominating direction of lines in a plane and the circular standard deviation around it, both in degrees.

    With gradient angles doubled, m = sum of w exp(2 i angle) / sum of w with weights w = squared gradient; the
    deviation is sqrt(-2 ln |m|) / 2 (Mardia & Jupp, "Directional Statistics", 1999, eq. 2.3.14 for doubled angles).
    """
    xx, xy, yy = (float(part.double().sum()) for part in structure_tensor(plane))
    total = max(xx + yy, 1e-20)
    cosine, sine = (xx - yy) / total, 2 * xy / total
    # The gradient stands across a line: a vertical line has angle 0, and one that leans right a gradient that rises.
    angle_deg = -math.degrees(math.atan2(sine, cosine)) / 2
    strength = min(max(math.hypot(cosine, sine), 1e-6), 1.0)
    return angle_deg, math.degrees(math.sqrt(-2 * math.log(strength)) / 2)


def coherence(plane: Tensor, sigma: float) -> float:
    """Mean local anisotropy of a plane (H, W), 0 to 1, weighted by gradient energy, in windows of `sigma` pixels.

    sqrt((Jxx - Jyy)^2 + 4 Jxy^2) / (Jxx + Jyy) with the structure tensor J averaged by a Gaussian (Weickert 1999).
    """
    xx, xy, yy = (gaussian_blur(part[None, None], sigma)[0, 0] for part in structure_tensor(plane))
    return float(torch.sqrt((xx - yy).square() + 4 * xy.square()).sum() / (xx + yy).sum().clamp(min=1e-20))


def autocorrelation(plane: Tensor) -> Tensor:
    """Autocorrelation of a plane (H, W) at lags up to half its size, (2 (H // 2) + 1, 2 (W // 2) + 1), 1 in the middle.

    Each lag is divided by the number of pixels that overlap there, so that it does not fall with distance.
    """
    height, width = plane.shape
    centred = (plane - plane.mean()).double()
    size = (2 * height, 2 * width)
    spectrum = torch.fft.rfft2(centred, s=size)
    sums = torch.fft.irfft2(spectrum.abs().square(), s=size)
    dy, dx = height // 2, width // 2
    sums = torch.roll(sums, (dy, dx), dims=(0, 1))[: 2 * dy + 1, : 2 * dx + 1]
    overlap_y = height - torch.arange(-dy, dy + 1).abs()
    overlap_x = width - torch.arange(-dx, dx + 1).abs()
    means = sums / (overlap_y[:, None] * overlap_x)
    return (means / means[dy, dx].clamp(min=1e-20)).float()


def extent(correlation: Tensor, angle_deg: float) -> float:
    """Full width in pixels over which an autocorrelation stays above a half, along a direction through its middle."""
    from scipy import ndimage

    dy, dx = correlation.shape[0] // 2, correlation.shape[1] // 2
    angle = math.radians(angle_deg)
    reach = min(_LONGEST_EXTENT, dy - 1, dx - 1)
    steps = np.arange(0, reach, 0.5)
    places = np.stack([dy + steps * math.cos(angle), dx + steps * math.sin(angle)])
    profile = ndimage.map_coordinates(correlation.numpy(), places, order=1)
    below = np.flatnonzero(profile < 0.5)
    if not len(below):
        return 2.0 * reach
    first = int(below[0])
    before, after = float(profile[first - 1]), float(profile[first])
    return 2 * 0.5 * (first - 1 + (before - 0.5) / (before - after))


def repetition(correlation: Tensor, angle_deg: float) -> tuple[float, float]:
    """Highest autocorrelation far from zero, and the same over the standard deviation there.

    Left out are lags shorter than a mark and those along the streaks' own direction, where long streaks correlate.
    """
    dy, dx = correlation.shape[0] // 2, correlation.shape[1] // 2
    rows = torch.arange(-dy, dy + 1).float()[:, None]
    columns = torch.arange(-dx, dx + 1).float()
    angle = math.radians(angle_deg)
    across = (columns * math.cos(angle) - rows * math.sin(angle)).abs()
    far = (torch.hypot(rows, columns) > _NEAREST_REPEAT) & (across > _OFF_AXIS)
    values = correlation[far]
    if len(values) < 100:
        return 0.0, 1.0
    peak = float(values.max())
    return peak, peak / max(float(values.std()), 1e-6)


def band_energies(layer: Tensor) -> list[float]:
    """ln of the parts of a layer's energy around 1, 2, 4, 8 and 16 pixels: differences of Gaussians, sum of parts 1."""
    sigmas = (0.7, 1.4, 2.8, 5.6, 11.2, 22.4)
    smooth = [gaussian_blur(layer[None, None], sigma)[0, 0] for sigma in sigmas]
    energies = [float((a - b).square().mean()) for a, b in pairwise(smooth)]
    total = max(sum(energies), 1e-20)
    return [math.log(max(energy / total, 1e-4)) for energy in energies]
