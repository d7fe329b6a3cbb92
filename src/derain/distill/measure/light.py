"""How a scene is lit: what tells night from day."""

from dataclasses import astuple, dataclass, fields

import numpy as np

from derain.backends.view import View
from derain.distill.measure.planes import Mask, Plane8, box_mean, luma8, shrunk

LONGEST = 256


@dataclass(frozen=True)
class LightMeasure:
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


LIGHT_NAMES = tuple(field.name for field in fields(LightMeasure))


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


def light_values(measure: LightMeasure) -> list[float]:
    """The fields in the order of `LIGHT_NAMES`."""
    return [float(value) for value in astuple(measure)]
