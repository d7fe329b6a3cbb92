"""The names of what spoils a photograph: the four kinds of rain, and other weather."""

from enum import StrEnum


class RainType(StrEnum):
    """Time of day x form of rain, after UniRain (CVPR 2026), section 3."""

    DRS = "drs"
    DRD = "drd"
    NRS = "nrs"
    NRD = "nrd"

    @property
    def is_night(self) -> bool:
        """Whether the scene is lit by lamps."""
        return self in (RainType.NRS, RainType.NRD)

    @property
    def is_drop(self) -> bool:
        """Whether the rain sits as drops on the glass in front of the lens."""
        return self in (RainType.DRD, RainType.NRD)

    @property
    def label(self) -> str:
        """A name for tables and pictures."""
        return f"{'night' if self.is_night else 'day'} {'drops' if self.is_drop else 'streaks'}"


class Weather(StrEnum):
    """Weather other than rain; it has one name for day and night."""

    SNOW = "snow"
    HAZE = "haze"
