"""How good a picture is, from what can be measured on it alone: sharpness, exposure, contrast, noise, compression.

Each quantity is a free function of a luma plane; `measure_quality` joins them into one score. Sharpness, exposure and
contrast are measured on the picture reduced to 1024 pixels, noise and compression on the middle 1024 x 1024 pixels as
they are, so that the time hardly grows with the picture.

Sources: Pech-Pacheco et al., ICPR 2000 (variance of the Laplacian); Immerkaer, CVIU 64(2), 1996 (noise).
"""

from dataclasses import dataclass
from math import log, pi, sqrt

import numpy as np
import numpy.typing as npt

from derain.backends.view import View
from derain.distill.measure.planes import Plane8, centre, luma8, ramp, shrunk

LONGEST = 1024
"""Pixels of the longer side at which sharpness, exposure and contrast are measured."""
_BLOCK = 8
_NOISE_BLOCK = 16
_QUIET_SHARE = 0.1
"""The quietest tenth of the blocks is taken for flat surfaces, on which all that varies is noise."""


@dataclass(frozen=True)
class Quality:
    """What was measured on a picture, and the score that follows from it."""

    sharpness: float
    """RMS of the Laplacian over RMS contrast, noise taken off; below 0.1 is out of focus, above 0.4 crisp."""
    contrast: float
    """Standard deviation of luma, in parts of full scale."""
    mean_luma: float
    """Mean luma, 0 to 1."""
    clipped_dark: float
    """Share of pixels with luma 2/255 or less."""
    clipped_bright: float
    """Share of pixels with luma 253/255 or more."""
    noise: float
    """Standard deviation of the noise on flat surfaces, in parts of full scale."""
    blockiness: float
    """How much higher steps at the borders of 8 x 8 blocks are than elsewhere; 0 for none, 1 for twice as high."""

    @property
    def exposure(self) -> float:
        """1 for a picture that is neither burnt out nor black, 0 for one that is all one or the other."""
        return exposure_score(self.mean_luma, self.clipped_dark, self.clipped_bright)

    @property
    def score(self) -> float:
        """Geometric mean in [0, 1] of the five parts, sharpness with weight 2: one bad part spoils the picture.

        Parts: sharpness 0.03 to 0.8 on a logarithmic scale, contrast 0.01 to 0.1, noise 0.05 to 0.006, blockiness 2 to
        0.3, and exposure. None counts for less than 0.01.
        """
        sharp = ramp(log(max(self.sharpness, 1e-6)), log(0.03), log(0.8))
        parts = [
            sharp,
            sharp,
            self.exposure,
            ramp(self.contrast, 0.01, 0.1),
            ramp(self.noise, 0.05, 0.006),
            ramp(self.blockiness, 2.0, 0.3),
        ]
        product = 1.0
        for part in parts:
            product *= max(part, 0.01)
        return float(product ** (1 / len(parts)))


def measure_quality(view: View) -> Quality:
    """Measure a picture of any size from 1 x 1; no randomness."""
    luma = luma8(view.pixels)
    small = shrunk(luma, LONGEST)
    middle = centre(luma, LONGEST, grid=_BLOCK)
    dark, bright = clipped_shares(small)
    return Quality(
        sharpness=sharpness(small),
        contrast=float(np.std(small, dtype=np.float64)) / 255,
        mean_luma=float(np.mean(small, dtype=np.float64)) / 255,
        clipped_dark=dark,
        clipped_bright=bright,
        noise=noise_deviation(middle),
        blockiness=blockiness(middle),
    )


def sharpness(luma: Plane8) -> float:
    """sqrt((var(L) - 20 s^2) / (var(Y) + c)), L the 4-neighbour Laplacian of luma Y, s its noise, c = (0.01 * 255)^2.

    White noise of deviation s gives L a variance of 20 s^2, which is taken off. 0 for pictures under 3 x 3.
    """
    if min(luma.shape) < 3:
        return 0.0
    wide = luma.astype(np.int16)
    laplacian = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * wide[1:-1, 1:-1]
    detail = _variance(laplacian) - 20 * (255 * noise_deviation(luma)) ** 2
    return sqrt(max(0.0, detail) / (_variance(luma) + 2.55**2))


def clipped_shares(luma: Plane8) -> tuple[float, float]:
    """Shares in [0, 1] of pixels at the dark end (2 or less of 255) and at the bright end (253 or more)."""
    counts = np.bincount(luma.ravel(), minlength=256)
    return float(counts[:3].sum() / luma.size), float(counts[253:].sum() / luma.size)


def exposure_score(mean_luma: float, clipped_dark: float, clipped_bright: float) -> float:
    """1 for a usable exposure, 0 for none; nights are dark by right, so that only near black counts against them.

    Product of three ramps: mean luma 0.01 to 0.05, dark share 0.95 to 0.4, bright share 0.6 to 0.15.
    """
    return ramp(mean_luma, 0.01, 0.05) * ramp(clipped_dark, 0.95, 0.4) * ramp(clipped_bright, 0.6, 0.15)


def noise_deviation(luma: Plane8) -> float:
    """Standard deviation of noise in parts of full scale.

    Immerkaer's estimate, sqrt(pi / 2) / 6 * mean |Y * N| with N = [1 -2 1; -2 4 -2; 1 -2 1], on blocks of 16 x 16; of
    the blocks that are not clipped, the tenth percentile, for elsewhere texture adds to it. 0 under 18 x 18.
    """
    rows, columns = (luma.shape[0] - 2) // _NOISE_BLOCK, (luma.shape[1] - 2) // _NOISE_BLOCK
    if rows < 1 or columns < 1:
        return 0.0
    wide = luma[: rows * _NOISE_BLOCK + 2, : columns * _NOISE_BLOCK + 2].astype(np.int16)
    across = wide[:, :-2] - 2 * wide[:, 1:-1] + wide[:, 2:]
    both = np.abs(across[:-2] - 2 * across[1:-1] + across[2:])
    estimates = sqrt(pi / 2) / 6 * _block_means(both)
    levels = _block_means(wide[1:-1, 1:-1])
    usable = estimates[(levels > 4) & (levels < 250)]
    return float(np.quantile(usable, _QUIET_SHARE)) / 255 if usable.size else 0.0


def blockiness(luma: Plane8) -> float:
    """Excess height of steps at every eighth column or row: max over phases of m_phase / m_others - 1, less its error.

    m are means of |D|, D the step between neighbours less the mean of the steps before and after it. Two standard
    errors are taken off, so that small pictures without blocks give 0. The mean of both axes; 0 under 32 pixels. The
    phase is free: a cropped JPEG counts as well.
    """
    if min(luma.shape) < 32:
        return 0.0
    wide = luma.astype(np.int16)
    return (_periodic_excess(np.diff(wide, axis=1)) + _periodic_excess(np.diff(wide, axis=0).T)) / 2


def _periodic_excess(steps: npt.NDArray[np.int16]) -> float:
    """`blockiness` along the rows of (H, W - 1) steps."""
    bend = np.abs(2 * steps[:, 1:-1] - steps[:, :-2] - steps[:, 2:])
    profile = bend.mean(axis=0, dtype=np.float64)
    whole = len(profile) // _BLOCK * _BLOCK
    phases = profile[:whole].reshape(-1, _BLOCK)
    means = phases.mean(axis=0)
    strongest = int(np.argmax(means))
    others = np.delete(phases, strongest, axis=1)
    error = sqrt((phases[:, strongest].var() + others.var()) / len(phases))
    usual = float(others.mean())
    # A step per 255 in the denominator: flat surfaces have no steps to compare with.
    return max(0.0, (float(means[strongest]) - usual - 2 * error) / (usual + 1.0))


def _block_means(plane: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """(rows, columns) means of the noise blocks of a plane that they fill."""
    rows, columns = plane.shape[0] // _NOISE_BLOCK, plane.shape[1] // _NOISE_BLOCK
    sums = plane.reshape(rows, _NOISE_BLOCK, columns * _NOISE_BLOCK).sum(axis=1, dtype=np.int32)
    blocks = sums.reshape(rows, columns, _NOISE_BLOCK).sum(axis=2)
    return np.asarray(blocks / float(_NOISE_BLOCK**2))


def _variance(plane: npt.NDArray[np.int16] | Plane8) -> float:
    """Variance of small integers, exact up to the last division."""
    flat = plane.ravel().astype(np.int32)
    total = int(flat.sum(dtype=np.int64))
    squares = int(np.square(flat).sum(dtype=np.int64))
    return squares / flat.size - (total / flat.size) ** 2
