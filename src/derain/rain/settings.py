"""How often the simulator does what."""

from enum import StrEnum

from derain.settings import Settings


class Severity(StrEnum):
    """How much of the picture the rain takes."""

    LIGHT = "light"
    MEDIUM = "medium"
    HEAVY = "heavy"


AMOUNTS = {Severity.LIGHT: (0.0, 0.25), Severity.MEDIUM: (0.25, 0.7), Severity.HEAVY: (0.7, 1.0)}
"""How heavy, from ... to, within the whole range from 0 to 1: for the recipes to interpolate."""


class RainSettings(Settings):
    """How often what happens; the sizes and strengths of rain belong to the recipes."""

    light_weight: float = 0.25
    """Relative frequency of light rain."""
    medium_weight: float = 0.5
    """Relative frequency of medium rain."""
    heavy_weight: float = 0.25
    """Relative frequency of heavy rain."""
    look_share: float = 0.2
    """Part of the day streaks that has the looks of public benchmarks."""
    zoom_min: float = 0.7
    """Smallest factor on the sizes of streaks, which are those of a moderate wide angle lens at 1."""
    zoom_max: float = 2.0
    """Largest factor on the sizes of streaks."""
    veil_share: float = 0.45
    """Part of the other day streaks that lies under a veil of fine rain."""
    streaks_behind_drops: float = 0.15
    """Part of the pictures with drops on the glass that also has rain falling behind it."""
    noise_share: float = 0.4
    """Part of the inputs that carries noise of the sensor; the target never does."""
    day_noise: float = 0.008
    """Largest standard deviation of that noise by day, sRGB-encoded."""
    night_noise: float = 0.025
    """Largest standard deviation of that noise by night, sRGB-encoded."""
    jpeg_share: float = 0.3
    """Part of the pairs that went through JPEG: input and target with the same quality."""
    jpeg_quality_min: float = 72
    """Lowest quality of those, on the scale of the Independent JPEG Group."""
