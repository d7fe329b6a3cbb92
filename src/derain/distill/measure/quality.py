"""What a picture suffered besides rain: how sharp it is, how exposed, how noisy, how much compression took from it.

Each quantity is a free function of a luma plane. `measure_quality` joins some into the score of a photograph:
sharpness, exposure and contrast are measured on the picture reduced to 1024 pixels, noise and compression on the middle
1024 x 1024 pixels as they are. `background_statistics` measures blur, the blocks of JPEG, and bands for the judges, on
the pixels as they are in the file, for reducing a picture hides all three. Of large pictures the middle is measured, so
that the time hardly grows with the picture.

Sources: Pech-Pacheco et al., ICPR 2000 (variance of the Laplacian); Immerkaer, CVIU 64(2), 1996 (noise); Crete et al.,
"The blur effect", SPIE 2007 (reblur).
"""

from dataclasses import dataclass
from math import log, pi, prod, sqrt

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from derain.backends.view import View
from derain.distill.measure.planes import Plane, Plane8, centre, luma8, shrunk
from derain.distill.measure.statistics import Statistics, ramp
from derain.rain.blur import gaussian_blur
from derain.rain.compression import cosine_basis

LONGEST = 1024
"""Pixels of the longer side at which sharpness, exposure and contrast are measured."""
_BLOCK = 8
_NOISE_BLOCK = 16
_QUIET_SHARE = 0.1
"""The quietest tenth of the blocks is taken for flat surfaces, on which all that varies is noise."""

BACKGROUND_SIDE = 768
"""Pixels on a side of the middle on which the background is measured."""
SMALLEST_SIDE = 32
"""Pixels below which no background is measured."""
_REBLUR = 9
"""Pixels of the box that a picture is blurred by once more."""


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
        return float(prod(max(part, 0.01) for part in parts) ** (1 / len(parts)))


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

    m are means of `step_profile`. Two standard errors are taken off, so that small pictures without blocks give 0. The
    mean of both axes; 0 under 32 pixels. The phase is free: a cropped JPEG counts as well.
    """
    if min(luma.shape) < 32:
        return 0.0
    return (_periodic_excess(step_profile(luma)) + _periodic_excess(step_profile(luma.T))) / 2


def step_profile(luma: Plane8) -> npt.NDArray[np.float64]:
    """(W - 3,) mean over the rows of |D - (D_before + D_after) / 2|, D the step between neighbouring columns.

    That is what a step is beyond the slope on either side of it; entry i lies between columns i + 1 and i + 2.
    """
    steps = np.diff(luma.astype(np.int16), axis=1)
    bend = np.abs(2 * steps[:, 1:-1] - steps[:, :-2] - steps[:, 2:])
    return np.asarray(bend.mean(axis=0, dtype=np.float64) / 2)


def _periodic_excess(profile: npt.NDArray[np.float64]) -> float:
    """`blockiness` along the rows."""
    whole = len(profile) // _BLOCK * _BLOCK
    phases = profile[:whole].reshape(-1, _BLOCK)
    means = phases.mean(axis=0)
    strongest = int(np.argmax(means))
    others = np.delete(phases, strongest, axis=1)
    error = sqrt((phases[:, strongest].var() + others.var()) / len(phases))
    usual = float(others.mean())
    # Half a step of 255 in the denominator: flat surfaces have no steps to compare with.
    return max(0.0, (float(means[strongest]) - usual - 2 * error) / (usual + 0.5))


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


@dataclass(frozen=True)
class BackgroundStatistics(Statistics):
    """What is measured of a background."""

    reblur_rows: float
    """Part of the neighbouring differences along rows that survives a further blur, 0 sharp to 1 blurred."""
    reblur_columns: float
    """The same along columns."""
    detail: float
    """ln of the energy within a pixel or two over that within four or five."""
    contrast: float
    """ln of the standard deviation of luma."""
    blockiness: float
    """ln of the differences across the borders of 8 x 8 blocks over those within."""
    lost_frequencies: float
    """ln of the high frequencies of blocks off JPEG's grid over those on it, where quantisation zeroes them."""
    zero_coefficients: float
    """Part of the middle and high frequencies of blocks on the grid that is zero."""
    flat: float
    """Part of neighbouring pixels that are equal: large in bands and behind strong compression."""


def background_statistics(view: View) -> BackgroundStatistics | None:
    """Measure a picture; None where it is too small."""
    if min(view.height, view.width) < SMALLEST_SIDE:
        return None
    luma = centre(luma8(view.pixels), BACKGROUND_SIDE, grid=_BLOCK)
    plane = luma.astype(np.float32)
    lost, zero = jpeg_losses(torch.from_numpy(plane))
    return BackgroundStatistics(
        reblur_rows=reblur(plane),
        reblur_columns=reblur(plane.T),
        detail=detail(torch.from_numpy(plane)),
        contrast=log(max(float(plane.std(ddof=1, dtype=np.float64)), 0.1)),
        blockiness=(grid_steps(luma) + grid_steps(luma.T)) / 2,
        lost_frequencies=lost,
        zero_coefficients=zero,
        flat=float((luma[:, 1:] == luma[:, :-1]).mean()),
    )


def reblur(plane: Plane) -> float:
    """How little a further blur along the rows changes a plane (H, W), 0 to 1: large where it was blurred before.

    With differences D of neighbours before and D' after a box blur, (sum |D| - sum max(0, |D| - |D'|)) / sum |D|.
    """
    from scipy import ndimage

    after = ndimage.uniform_filter1d(plane, _REBLUR, axis=1, mode="nearest")
    before_steps, after_steps = np.abs(np.diff(plane, axis=1)), np.abs(np.diff(after, axis=1))
    total = float(before_steps.sum(dtype=np.float64))
    if total == 0:
        return 1.0
    return (total - float(np.maximum(before_steps - after_steps, 0).sum(dtype=np.float64))) / total


def detail(plane: Tensor) -> float:
    """ln of the mean square of the band around one pixel over that of the band around four."""
    smooth = [gaussian_blur(plane[None, None], sigma)[0, 0] for sigma in (0.7, 2.8, 5.6)]
    fine, middle = (plane - smooth[0]).square().mean(), (smooth[1] - smooth[2]).square().mean()
    return log((float(fine) + 1e-3) / (float(middle) + 1e-3))


def grid_steps(luma: Plane8) -> float:
    """ln of the mean step across borders of 8 x 8 blocks over that within, along the rows; grid at the top left."""
    profile = step_profile(luma)
    place = (np.arange(len(profile)) + 2) % _BLOCK
    inside = (place >= 3) & (place <= 5)  # away from the neighbours that share the border's own step
    return log((float(profile[place == 0].mean()) + 0.05) / (float(profile[inside].mean()) + 0.05))


def jpeg_losses(plane: Tensor) -> tuple[float, float]:
    """What quantisation on an 8 x 8 grid at the top left left of a plane's frequencies.

    Returns:
        ln of the mean high frequency of blocks shifted by half a block over that of blocks on the grid; and the part
        of the frequencies u + v >= 4 on the grid that is below 1 (of 255).
    """
    on = block_frequencies(plane)
    off = block_frequencies(plane[4:, 4:])
    u = torch.arange(8)
    order = u[:, None] + u
    high, beyond_low = order >= 7, order >= 4
    ratio = (float(off[:, high].mean()) + 0.1) / (float(on[:, high].mean()) + 0.1)
    return log(ratio), float((on[:, beyond_low] < 1.0).float().mean())


def block_frequencies(plane: Tensor) -> Tensor:
    """Absolute cosine transform of the whole 8 x 8 blocks of a plane (H, W); (blocks, 8, 8)."""
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = plane[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).transpose(1, 2).reshape(-1, 8, 8)
    basis = cosine_basis()
    return (basis @ blocks @ basis.T).abs()
