"""A clean picture on its way to be spoilt: what a worker hands over where the weather is simulated elsewhere."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class DryScene:
    """A clean square on which weather is still to be simulated; the pair follows from these fields alone."""

    clean: Tensor
    """(3, S, S) uint8, sRGB-encoded."""
    type_name: str
    """Which weather."""
    is_night: bool
    """The photograph shows night already."""
    seed: int
    """Of the simulation."""
