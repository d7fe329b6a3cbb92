"""Statistics of the rain layer: what a picture has more (or less) than its derained version.

By day a streak shows the light of its surroundings and hides what is behind it, O = (1 - a) B + a A, so that the layer
O - B = a (A - B) falls as the background grows brighter and darkens what is brighter than the rain (Garg & Nayar,
"Vision and rain", IJCV 2007). Drops that fall near one another differ in length, width and brightness, share a
direction up to a few degrees, and never come in the same arrangement twice. Drops on glass show a blurred, bent scene.
Each of these is measured here by a function of its own, and rain that is painted rather than seen breaks some of them.

Planes are (H, W) float32, sRGB-encoded luma unless said otherwise; lengths are in pixels of the working copy.
"""

import math
from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from derain.distill.measure.layer_shape import (
    autocorrelation,
    band_energies,
    coherence,
    direction,
    extent,
    repetition,
)
from derain.imaging.color import luma_bt601
from derain.rain.blur import gaussian_blur

FAINTEST = 0.0015
"""Root mean square of the fine layer below which there is no rain to measure."""

_FINE_SIGMA = 8.0  # what is broader than this is veil and drops, not streaks
_MARKED_SIGMAS = 2.5  # a pixel is rain where the layer stands out of its noise by so much
_LEAST_MARKED = 50  # pixels, for regressions to mean anything


@dataclass(frozen=True)
class RainLayerStatistics:
    """What is measured of a rain layer; NaN where it cannot be told. All are signed or logarithmic so that differences
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

    def vector(self) -> npt.NDArray[np.float64]:
        """(S,) all of them, in the order of the fields."""
        return np.array(astuple(self), np.float64)

    @staticmethod
    def names() -> tuple[str, ...]:
        """The fields' names, in order."""
        return tuple(field.name for field in fields(RainLayerStatistics))


def rain_layer_statistics(picture: Tensor, without_rain: Tensor) -> RainLayerStatistics | None:
    """Measure a rain layer; None where the two hardly differ.

    Args:
        picture: (1, 3, H, W) sRGB-encoded, [0, 1].
        without_rain: the same without its rain: derained, or the true scene.
    """
    layer = full_luma(picture) - full_luma(without_rain)
    fine = fine_layer(layer)
    rms = float(fine.square().mean().sqrt())
    if rms < FAINTEST:
        return None
    background = blurred(full_luma(without_rain), 3.0)
    marked = marked_pixels(fine)
    angle_deg, spread_deg = direction(fine)
    correlation = autocorrelation(fine)
    peak, prominence = repetition(correlation, angle_deg)
    bands = band_energies(layer)
    standard = (fine - fine.mean()) / fine.std().clamp(min=1e-9)
    moment = float(standard.pow(3).mean())
    light = _light(fine, background, marked)
    unclipped = marked & (picture[0].amax(dim=0) < 0.98)
    colour = _colour(picture - without_rain, without_rain, unclipped)
    blobs = _blobs(picture, without_rain, layer)
    return RainLayerStatistics(
        strength=math.log(rms),
        density=math.log(max(float(marked.float().mean()), 1e-4)),
        kurtosis=math.log(max(float(standard.pow(4).mean()), 1.0)),
        skewness=math.copysign(abs(moment) ** (1 / 3), moment),
        tilt_deg=abs(angle_deg),
        spread_deg=spread_deg,
        coherence=coherence(fine, 2.0),
        coarse_coherence=coherence(blurred(layer, 3.0), 6.0),
        width=math.log(extent(correlation, angle_deg + 90)),
        length=math.log(extent(correlation, angle_deg)),
        repetition=peak,
        repetition_prominence=math.log(max(prominence, 0.1)),
        brightness_spread=light.spread,
        crest_spread=crest_spread(fine, marked),
        light_slope=light.slope,
        light_correlation=light.correlation,
        linear_slope=_linear_slope(picture, without_rain, marked),
        darkening=float(fine.clamp(max=0).square().sum() / fine.square().sum()),
        bright_occlusion=light.occlusion,
        saturation=_saturation(picture, marked),
        chroma=colour[0],
        hue_agreement=colour[1],
        band_1=bands[0],
        band_2=bands[1],
        band_4=bands[2],
        band_8=bands[3],
        band_16=bands[4],
        blob_detail=blobs[0],
        blob_change=blobs[1],
        blob_correlation=blobs[2],
        blob_cover=blobs[3],
        blob_flatness=blobs[4],
    )


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


@dataclass(frozen=True)
class LightResponse:
    """How rain goes with the light behind it."""

    slope: float
    correlation: float
    occlusion: float
    spread: float


def _light(fine: Tensor, background: Tensor, marked: Tensor) -> LightResponse:
    values, behind = fine[marked], background[marked]
    if len(values) < _LEAST_MARKED:
        return LightResponse(math.nan, math.nan, math.nan, math.nan)
    slope, correlation = regression(behind, values)
    low, high = torch.quantile(behind[:: max(1, len(behind) // 20000)], behind.new_tensor([0.25, 0.75])).tolist()
    bright, dark = values[behind >= high].mean(), values[behind <= low].mean()
    half, most = torch.quantile(values[:: max(1, len(values) // 20000)], values.new_tensor([0.5, 0.9])).tolist()
    return LightResponse(slope, correlation, float(bright / dark.clamp(min=1e-4)), (most - half) / half)


def regression(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Least squares slope of y on x and their correlation, both (N,); NaN for both where x does not vary."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    squares_x, squares_y, product = float(x @ x), float(y @ y), float(x @ y)
    if squares_x < 1e-9 * len(x):
        return math.nan, math.nan
    return product / squares_x, product / math.sqrt(squares_x * max(squares_y, 1e-12))


def _linear_slope(picture: Tensor, without_rain: Tensor, marked: Tensor) -> float:
    # Without the fine layer's high-pass, which would bend the light: a (A - B) holds for the layer itself.
    if int(marked.sum()) < _LEAST_MARKED:
        return math.nan
    lit, dry = full_luma(picture).pow(2.2)[marked], full_luma(without_rain).pow(2.2)[marked]
    slope, _ = regression(dry, lit - dry)
    middle = max(float((lit - dry).median()), 1e-3)
    return math.asinh(slope * max(float(dry.median()), 1e-3) / middle)


def _saturation(picture: Tensor, marked: Tensor) -> float:
    clipped = picture[0].amax(dim=0) >= 0.995
    count = int(marked.sum())
    return float((clipped & marked).sum()) / count if count else math.nan


def _colour(layer: Tensor, without_rain: Tensor, marked: Tensor) -> tuple[float, float]:
    """ln of chroma over luma, and the cosine of mean colours, of the layer (1, 3, H, W) where it is marked."""
    if int(marked.sum()) < _LEAST_MARKED:
        return math.nan, math.nan
    fine = layer - gaussian_blur(layer, _FINE_SIGMA)
    values = fine[0][:, marked]
    grey = values.mean(dim=0)
    chroma = float((values - grey).square().mean().sqrt() / grey.square().mean().sqrt().clamp(min=1e-6))
    mean, behind = values.mean(dim=1), without_rain[0][:, marked].mean(dim=1)
    agreement = float(torch.nn.functional.cosine_similarity(mean, behind, dim=0))
    return math.log(max(chroma, 1e-3)), agreement


def _blobs(picture: Tensor, without_rain: Tensor, layer: Tensor) -> tuple[float, float, float, float, float]:
    """Detail, change, correlation, cover and flatness of broad marks; the first three and the last NaN without any."""
    broad = blurred(layer, 3.0) - blurred(layer, 40.0)
    noise = 1.4826 * float((broad - broad.median()).abs().median())
    inside = broad.abs() > max(2.5 * noise, 0.02)
    cover = math.log(max(float(inside.float().mean()), 1e-4))
    if int(inside.sum()) < _LEAST_MARKED:
        return math.nan, math.nan, math.nan, cover, math.nan
    seen, dry = full_luma(picture), full_luma(without_rain)
    detail_seen, detail_dry = (seen - blurred(seen, 1.5)).abs(), (dry - blurred(dry, 1.5)).abs()
    middle = (blurred(seen, 1.5) - blurred(seen, 5.0)).abs()
    outside = ~inside
    _, correlation = regression((dry - blurred(dry, 12.0))[inside], (seen - blurred(seen, 12.0))[inside])
    return (
        _log_ratio(detail_seen[inside], detail_seen[outside]),
        _log_ratio(detail_seen[inside], detail_dry[inside]),
        correlation,
        cover,
        _log_ratio(middle[inside], middle[outside]),
    )


def _log_ratio(above: Tensor, below: Tensor) -> float:
    """ln of the ratio of means, kept finite."""
    return math.log((float(above.mean()) + 1e-4) / ((float(below.mean()) if len(below) else 0.0) + 1e-4))
