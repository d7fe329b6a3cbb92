"""How a scene is lit, by night or by day, and what it is made of: colours, sky, veil, straight edges, lamps.

Source of the veil: He, Sun and Tang, CVPR 2009 (dark channel: without mist, something near every pixel is dark in some
channel).
"""

from dataclasses import dataclass

import numpy as np

from derain.backends.view import Pixels8, View
from derain.distill.measure.planes import Mask, Plane8, box_mean, connected_components, luma8, shrunk, window_extreme
from derain.distill.measure.rain_form import doubled_angles
from derain.distill.measure.statistics import Statistics

LONGEST = 256
_SKY_LONGEST = 96
"""Rain roughens the sky; so small, it is smooth again."""
_LEAST_LAMP = 4
"""Pixels of the reduced picture; what is smaller is a glint."""
_HUES = ((20, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (195, "teal"), (260, "blue"), (335, "purple"))
"""Upper end in degrees of each hue; red goes on from the last."""
COLOURS = ("black", "grey", "white", "red", "orange", "yellow", "green", "teal", "blue", "purple", "brown")


@dataclass(frozen=True)
class LightMeasure(Statistics):
    """Luma in [0, 1] throughout; shares are of all pixels."""

    mean: float
    dark_tenth: float
    """Tenth percentile."""
    median: float
    bright_tenth: float
    """Ninetieth percentile."""
    brightest: float
    """Ninety-ninth percentile."""
    dark_share: float
    """Share below 0.15."""
    top_mean: float
    """Mean of the upper third, where by day the sky is."""
    top_over_bottom: float
    """That less the mean of the lower third."""
    lamp_share: float
    """Share of pixels that shine like lamps: near white, and far above what surrounds them."""
    lamp_contrast: float
    """Brightest percent less the median, over the brightest percent: near 1 where few places are lit."""
    saturation: float
    """Mean of (max - min) / max over channels, weighted by max."""
    warmth: float
    """Mean red less mean blue."""
    dark_blue: float
    """Blue less red of the darker half: by night what is unlit is often bluish, or orange from lamps."""


def measure_light(view: View) -> LightMeasure:
    """Measure the light on the picture reduced to 256 pixels."""
    pixels = shrunk(view.pixels, LONGEST)
    grey = luma8(pixels)
    luma = grey.astype(np.float32) / 255
    colour = pixels.astype(np.float64) / 255
    dark, median, bright, brightest = (float(q) for q in np.quantile(luma, [0.1, 0.5, 0.9, 0.99]))
    third = max(1, luma.shape[0] // 3)
    top, bottom = float(luma[:third].mean(dtype=np.float64)), float(luma[-third:].mean(dtype=np.float64))
    largest, least = colour.max(axis=2), colour.min(axis=2)
    means = colour.mean(axis=(0, 1))
    darker = colour[luma <= median].mean(axis=0)
    return LightMeasure(
        mean=float(luma.mean(dtype=np.float64)),
        dark_tenth=dark,
        median=median,
        bright_tenth=bright,
        brightest=brightest,
        dark_share=float((luma < 0.15).mean()),
        top_mean=top,
        top_over_bottom=top - bottom,
        lamp_share=float(lamps(grey).mean()),
        lamp_contrast=(brightest - median) / max(brightest, 0.02),
        saturation=float((largest - least).sum() / max(largest.sum(), 1e-6)),
        warmth=float(means[0] - means[2]),
        dark_blue=float(darker[2] - darker[0]),
    )


def lamps(luma: Plane8) -> Mask:
    """Where a luma plane (H, W) shines like a lamp: 0.75 of full scale or more, and 0.35 above the mean around it."""
    radius = max(2, max(luma.shape) // 16)
    return np.asarray((luma >= 0.75 * 255) & (luma - box_mean(luma, radius) >= 0.35 * 255))


@dataclass(frozen=True)
class Scene:
    """Measures of a scene; shares are of all pixels."""

    colours: tuple[tuple[str, float], ...]
    """Names from `COLOURS` with their shares, the largest first."""
    sky_share: float
    """Bright or blue, smooth, and joined to the top."""
    veil: float
    """Median of the dark channel over the brightest: 0 in clear air with shadows, near 1 in fog."""
    straightness: float
    """Share of the strong slopes within 10 degrees of upright or level; 0.22 where edges run all ways."""
    busyness: float
    """Share of pixels at strong slopes."""
    lamp_count: int
    """Separate places that shine like lamps."""


def measure_scene(view: View) -> Scene:
    """Measure the scene on the picture reduced to 256 pixels."""
    pixels = shrunk(view.pixels, LONGEST)
    luma = luma8(pixels)
    straightness, busyness = edges(luma)
    return Scene(
        colours=colour_shares(pixels),
        sky_share=sky_share(pixels),
        veil=veil(pixels),
        straightness=straightness,
        busyness=busyness,
        lamp_count=int((connected_components(lamps(luma), luma).area >= _LEAST_LAMP).sum()),
    )


def colour_shares(pixels: Pixels8) -> tuple[tuple[str, float], ...]:
    """Shares of the named colours in pixels (H, W, 3), the largest first; those of less than 1 % left out."""
    colour = pixels.reshape(-1, 3).astype(np.float64) / 255
    largest, least = colour.max(axis=1), colour.min(axis=1)
    chroma = np.maximum(largest - least, 1e-9)
    red, green, blue = colour.T
    hue = np.where(
        largest == red,
        (green - blue) / chroma % 6,
        np.where(largest == green, (blue - red) / chroma + 2, (red - green) / chroma + 4),
    )
    degrees = hue * 60
    names = np.array([name for _, name in _HUES] + ["red"])
    named = names[np.searchsorted([end for end, _ in _HUES], degrees, side="right")]
    named = np.where((named == "orange") & (largest < 0.55), "brown", named)
    is_grey = (chroma < 0.06) | (chroma / np.maximum(largest, 1e-9) < 0.18)
    greys = np.where(largest < 0.2, "black", np.where(largest > 0.8, "white", "grey"))
    named = np.where(largest < 0.12, "black", np.where(is_grey, greys, named))
    shares = [(name, float((named == name).mean())) for name in COLOURS]
    return tuple(sorted(((name, share) for name, share in shares if share >= 0.01), key=lambda pair: -pair[1]))


def sky_share(pixels: Pixels8) -> float:
    """Share of pixels (H, W, 3) that look like sky: bright or blue, smooth, and joined to the top of the picture."""
    pixels = shrunk(pixels, _SKY_LONGEST)
    luma = luma8(pixels)
    rough = window_extreme(luma, 3, largest=True) - window_extreme(luma, 3, largest=False)
    red, _, blue = (pixels[..., channel].astype(np.int16) for channel in range(3))
    upper = float(np.quantile(luma, 0.75))
    likely = (rough <= 16) & (((luma >= 110) & (luma >= upper * 0.8)) | ((blue - red >= 25) & (luma >= 70)))
    # Down each column from the top as far as it stays likely; one rough pixel in three does not end it.
    steady = box_mean(likely.astype(np.int32), 1) >= 0.5
    return float(np.logical_and.accumulate(steady, axis=0).mean())


def veil(pixels: Pixels8) -> float:
    """Median over the picture of the dark channel in windows of a sixteenth of it, over the brightest luma; 0 to 1."""
    darkest = np.ascontiguousarray(pixels.min(axis=2))
    dark = window_extreme(darkest, max(3, max(darkest.shape) // 16), largest=False)
    brightest = max(float(np.quantile(luma8(pixels), 0.99)), 1.0)
    return min(1.0, float(np.median(dark)) / brightest)


def edges(luma: Plane8) -> tuple[float, float]:
    """Share of strong slopes that run straight up or level, and share of pixels with strong slopes; luma (H, W)."""
    if min(luma.shape) < 3:
        return 0.0, 0.0
    smooth = box_mean(luma, 1) / np.float32(255)
    cosines, sines, weights = doubled_angles(smooth)
    strong = weights >= 0.04
    if not strong.any():
        return 0.0, 0.0
    angle = np.abs(np.rad2deg(np.arctan2(sines[strong], cosines[strong]))) / 2
    return float(((angle <= 10) | (angle >= 80)).mean()), float(strong.mean())


def dominant(colours: tuple[tuple[str, float], ...], least: float, most: int) -> list[str]:
    """Names of at most `most` colours that take at least the share `least`; the first one always."""
    names = [name for name, share in colours if share >= least][:most]
    return names or [name for name, _ in colours[:1]]
