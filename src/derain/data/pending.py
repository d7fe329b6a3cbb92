"""A clean picture whose weather is still to be simulated: what a worker passes to another device."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PendingSimulation:
    """A clean square and which weather to simulate on it; the pair follows from these fields alone."""

    clean: Tensor
    """(3, S, S) uint8, sRGB-encoded."""
    type_name: str
    """Which weather."""
    is_night: bool
    """The photograph shows night already."""
    seed: int
    """Of the simulation."""
