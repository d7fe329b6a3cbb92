"""Everything that can be simulated, by name: the four types of rain, and snow and haze beside them."""

from derain.errors import ImageError
from derain.types import RainType, Weather

SimulatedType = RainType | Weather

SIMULATED: tuple[SimulatedType, ...] = (*RainType, *Weather)
"""All that the simulator makes."""


def simulated_type(name: str) -> SimulatedType:
    """The member of `SIMULATED` of this name.

    Raises:
        ImageError: there is none.
    """
    for known in SIMULATED:
        if known == name:
            return known
    raise ImageError(f"wanted weather that can be simulated, one of {', '.join(SIMULATED)}; got {name!r}")


def is_suited(kind: SimulatedType, shows_night: bool) -> bool:
    """Whether a photograph serves a type: rain by day needs day, all others take what there is."""
    return not shows_night or kind not in (RainType.DRS, RainType.DRD)
