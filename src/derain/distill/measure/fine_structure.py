"""Which way the fine bright structure of a picture runs, how much there is of it, and how evenly it is spread.

Falling rain is fine, brighter than what lies behind, runs one way, and does so all over the picture; what runs one way
in a scene (masts, facades) does so in places, and with strong edges. Gradients are therefore cut at a ceiling, and the
picture is asked in cells. Source of the averaged doubled angles: Bigun and Granlund, ICCV 1987 (structure tensor).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from derain.distill.measure.planes import Plane, Plane8, box_mean

_CEILING = 0.06
"""Slopes above this, in parts of full scale a pixel, count no more than this: a strong edge is the scene's."""
CELLS = 8


@dataclass(frozen=True)
class FineStructure:
    """The structure at one scale."""

    coherence: float
    """0 where it runs all ways alike, 1 where it runs one way."""
    tilt_deg: float
    """Lean from vertical of the way most of it runs, -90 to 90; positive where the upper end leans right."""
    agreement: float
    """Share of the cells in which it runs within 20 degrees of that way, those without any structure left out."""
    spread: float
    """How evenly it is spread: the cells' lower quartile of it over their mean, 0 to 1."""
    amount: float
    """Mean bright excess over the surroundings, in parts of full scale."""
    asymmetry: float
    """Skewness of the excess: above 0 where bright marks are finer and stronger than dark ones."""


def fine_structure(luma: Plane8, radius: int) -> FineStructure:
    """Measure marks of a width of about `radius` pixels on a luma plane (H, W); H and W at least 8."""
    excess = (box_mean(luma, radius // 2) - box_mean(luma, 2 * radius + 1)) / np.float32(255)
    cosines, sines, cell_weights = (cell_sums(plane) for plane in doubled_angles(np.clip(excess, 0.0, None)))
    cell_vectors = cosines + 1j * sines
    whole, total = complex(cell_vectors.sum()), float(cell_weights.sum())
    filled = cell_weights > 0.05 * max(float(cell_weights.mean()), 1e-9)
    turned = np.abs(np.angle(cell_vectors * np.conj(whole)))
    mean_weight = max(float(cell_weights.mean()), 1e-9)
    deviation = max(float(excess.std(dtype=np.float64)), 1e-4)
    return FineStructure(
        coherence=abs(whole) / total if total > 0 else 0.0,
        tilt_deg=float(np.rad2deg(np.angle(whole)) / 2) if total > 0 else 0.0,
        agreement=float((turned[filled] < np.deg2rad(40)).mean()) if filled.any() else 0.0,
        spread=min(1.0, float(np.quantile(cell_weights, 0.25)) / mean_weight),
        amount=float(np.clip(excess, 0, _CEILING).mean(dtype=np.float64)),
        asymmetry=_mean_cube(np.clip(excess / deviation, -5, 5)),
    )


def doubled_angles(plane: Plane) -> tuple[Plane, Plane, Plane]:
    """w cos 2 phi, w sin 2 phi and w at each inner pixel; phi the slope's angle from the right, w its height.

    Heights are cut at a ceiling. Structure that runs straight up has slopes to the right and left, phi 0 or 180
    degrees, doubled angle 0. All (H - 2, W - 2).
    """
    right = (plane[1:-1, 2:] - plane[1:-1, :-2]) / 2
    down = (plane[2:, 1:-1] - plane[:-2, 1:-1]) / 2
    squared = np.square(right) + np.square(down)
    weight = np.minimum(np.sqrt(squared), _CEILING)
    scale = weight / np.maximum(squared, 1e-12)
    return scale * (np.square(right) - np.square(down)), scale * 2 * right * down, weight


def cell_sums(plane: Plane) -> npt.NDArray[np.float64]:
    """(8, 8) sums over cells that part the plane (H, W) evenly."""
    rows = np.linspace(0, plane.shape[0], CELLS + 1).astype(int)[:-1]
    columns = np.linspace(0, plane.shape[1], CELLS + 1).astype(int)[:-1]
    by_rows = np.add.reduceat(plane, rows, axis=0, dtype=np.float64)
    return np.asarray(np.add.reduceat(by_rows, columns, axis=1))


def _mean_cube(values: Plane) -> float:
    wide = values.astype(np.float64)
    return float(np.mean(wide * wide * wide))
