"""What drops on the glass leave on a picture: round marks, and places out of focus.

Source of the votes for centres: Loy and Zelinsky, PAMI 25(8), 2003 (fast radial symmetry).
"""

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from derain.distill.measure.fine_structure import cell_sums
from derain.distill.measure.planes import Counts, Plane, Plane8, box_mean

_FOCUS_CELL = 8


@dataclass(frozen=True)
class RoundMarks:
    """Marks of about one radius."""

    symmetry: float
    """How far the votes for centres of circles of this radius bunch: standard deviation over mean."""
    strongest: float
    """Votes of the strongest tenth of a percent of the pixels, over the mean."""
    peakedness: float
    """Kurtosis of the band of this size, logarithm of; single marks give more than texture."""


@dataclass(frozen=True)
class Focus:
    """How the sharpness is spread over cells of 8 x 8 pixels."""

    unevenness: float
    """Standard deviation of the logarithm of fine over coarse contrast."""
    soft_share: float
    """Share of the cells with contrast, but with a quarter of the usual share of fine contrast or less."""
    skewness: float
    """Of the same logarithm: below 0 where soft places stand out from a sharp picture."""
    clumping: float
    """Correlation of the logarithm with the mean of its neighbours: near 1 where soft places are large."""


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
    votes: Counts = np.zeros(height * width, np.int32)
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
