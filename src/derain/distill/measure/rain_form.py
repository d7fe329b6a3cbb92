"""What distinguishes streaks from drops: which way fine bright structure runs, round marks, and places out of focus.

Falling rain is fine, brighter than what lies behind, runs one way, and does so all over the picture; what runs one way
in a scene (masts, facades) does so in places, and with strong edges. Gradients are therefore cut at a ceiling, and the
picture is measured in cells. Drops on the glass leave round marks, and blur what lies behind them.

Sources: Bigun and Granlund, ICCV 1987 (structure tensor, the averaged doubled angles); Loy and Zelinsky, PAMI 25(8),
2003 (fast radial symmetry, the votes for centres).
"""

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from derain.distill.measure.planes import Plane, Plane8, box_mean
from derain.distill.measure.statistics import Statistics

_CEILING = 0.06
"""Slopes above this, in parts of full scale a pixel, count no more than this: a strong edge is the scene's."""
CELLS = 8
_FOCUS_CELL = 8


@dataclass(frozen=True)
class FineStructure(Statistics):
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


@dataclass(frozen=True)
class RoundMarks(Statistics):
    """Marks of about one radius."""

    symmetry: float
    """How far the votes for centres of circles of this radius bunch: standard deviation over mean."""
    strongest: float
    """Votes of the strongest tenth of a percent of the pixels, over the mean."""
    peakedness: float
    """Kurtosis of the band of this size, logarithm of; single marks give more than texture."""


@dataclass(frozen=True)
class Focus(Statistics):
    """How the sharpness is spread over cells of 8 x 8 pixels."""

    unevenness: float
    """Standard deviation of the logarithm of fine over coarse contrast."""
    soft_share: float
    """Share of the cells with contrast, but with a quarter of the usual share of fine contrast or less."""
    skewness: float
    """Of the same logarithm: below 0 where soft places stand out from a sharp picture."""
    clumping: float
    """Correlation of the logarithm with the mean of its neighbours: near 1 where soft places are large."""


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


def round_marks(luma: Plane8, radius: int) -> RoundMarks:
    """Measure marks of a radius in pixels on a luma plane (H, W); H and W at least 8."""
    votes = centre_votes(luma, radius)
    mean = max(float(votes.mean(dtype=np.float64)), 1e-9)
    band = (box_mean(luma, max(1, radius // 2)) - box_mean(luma, 2 * radius)) / np.float32(255)
    square = np.square(band.astype(np.float64) - float(band.mean(dtype=np.float64)))
    variance = max(float(square.mean()), 1e-9)
    return RoundMarks(
        symmetry=float(votes.std(dtype=np.float64)) / mean,
        strongest=float(np.quantile(votes, 0.999)) / mean,
        peakedness=log(max(float(np.mean(np.square(square))) / variance**2, 0.1)),
    )


def centre_votes(luma: Plane8, radius: int) -> Plane:
    """Each pixel with a slope votes for the two places `radius` up and down its slope, all slopes alike.

    Votes are averaged over a quarter of the radius; (H, W) in and out, votes a pixel.
    """
    height, width = luma.shape
    smooth = box_mean(luma, 1) / np.float32(255)
    right, down = np.zeros_like(smooth), np.zeros_like(smooth)
    right[:, 1:-1] = smooth[:, 2:] - smooth[:, :-2]
    down[1:-1] = smooth[2:] - smooth[:-2]
    slope = np.hypot(right, down)
    y, x = np.nonzero(slope > 0.02)
    across, along = right[y, x] / slope[y, x] * radius, down[y, x] / slope[y, x] * radius
    votes: npt.NDArray[np.int32] = np.zeros(height * width, np.int32)
    for sign in (-1, 1):
        rows = np.rint(y + sign * along).astype(np.int64)
        columns = np.rint(x + sign * across).astype(np.int64)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        votes += np.bincount(rows[inside] * width + columns[inside], minlength=height * width).astype(np.int32)
    return box_mean(votes.reshape(height, width), max(1, radius // 4))


def focus(luma: Plane8) -> Focus:
    """How sharpness is spread over a luma plane (H, W); H and W at least 24."""
    smooth = box_mean(luma, 1)
    fine, coarse = (luma - smooth) / np.float32(255), (smooth - box_mean(luma, 4)) / np.float32(255)
    ratio = np.log(_cell_energy(fine) + 1e-6) - np.log(_cell_energy(coarse) + 1e-6)
    contrast = _cell_energy(coarse)
    counted = contrast > 1e-5
    values = ratio[counted] if counted.any() else np.zeros(1)
    spread = max(float(values.std()), 1e-6)
    padded = np.pad(ratio, 1, mode="edge")
    around = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4
    return Focus(
        unevenness=float(values.std()),
        soft_share=float((values < np.median(values) - np.log(4)).mean()),
        skewness=float(np.mean(((values - values.mean()) / spread) ** 3)),
        clumping=_correlation(ratio, around),
    )


def unevenness_of_detail(luma: Plane8) -> float:
    """Coefficient of variation over 8 x 8 parts of the picture of the fine contrast in them."""
    parts = cell_sums(np.abs(luma - box_mean(luma, 1)))
    return float(parts.std() / max(float(parts.mean()), 1e-9))


def _cell_energy(plane: Plane) -> npt.NDArray[np.float64]:
    """(rows, columns) mean square of cells of 8 x 8 pixels."""
    rows, columns = plane.shape[0] // _FOCUS_CELL, plane.shape[1] // _FOCUS_CELL
    cut = np.square(plane[: rows * _FOCUS_CELL, : columns * _FOCUS_CELL].astype(np.float64))
    return np.asarray(cut.reshape(rows, _FOCUS_CELL, columns, _FOCUS_CELL).mean(axis=(1, 3)))


def _correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Pearson's, 0 where either is flat."""
    deviation = float(a.std() * b.std())
    return float(np.mean((a - a.mean()) * (b - b.mean())) / deviation) if deviation > 1e-9 else 0.0
