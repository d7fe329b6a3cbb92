"""What a picture suffered besides rain: blur, the blocks of JPEG, and bands.

Measured on the pixels as they are in the file, for reducing a picture hides all three; of large ones, on their middle.
Planes are luma in full swing, 0 to 255, float32 (H, W).
"""

import math
from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from derain.backends.view import View
from derain.distill.measure.planes import centre, luma8
from derain.rain.blur import gaussian_blur
from derain.rain.compression import cosine_basis

LARGEST_SIDE = 768
"""Of larger pictures the middle is measured."""

SMALLEST_SIDE = 32
"""Pixels below which nothing is measured."""

_REBLUR = 9  # taps of the box that a picture is blurred by once more


@dataclass(frozen=True)
class BackgroundStatistics:
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

    def vector(self) -> npt.NDArray[np.float64]:
        """(S,) all of them, in the order of the fields."""
        return np.array(astuple(self), np.float64)

    @staticmethod
    def names() -> tuple[str, ...]:
        """The fields' names, in order."""
        return tuple(field.name for field in fields(BackgroundStatistics))


def background_statistics(view: View) -> BackgroundStatistics | None:
    """Measure a picture; None where it is too small."""
    if min(view.height, view.width) < SMALLEST_SIDE:
        return None
    plane = torch.from_numpy(centre(luma8(view.pixels), LARGEST_SIDE, grid=8).astype(np.float32))
    lost, zero = jpeg_losses(plane)
    return BackgroundStatistics(
        reblur_rows=reblur(plane),
        reblur_columns=reblur(plane.T),
        detail=detail(plane),
        contrast=math.log(max(float(plane.std()), 0.1)),
        blockiness=blockiness(plane),
        lost_frequencies=lost,
        zero_coefficients=zero,
        flat=float((plane[:, 1:] == plane[:, :-1]).float().mean()),
    )


def reblur(plane: Tensor) -> float:
    """How little a further blur along the rows changes a plane (H, W), 0 to 1: large where it was blurred before.

    Crete et al., "The blur effect", SPIE 2007: with differences D of neighbours before and D' after a box blur,
    (sum |D| - sum max(0, |D| - |D'|)) / sum |D|.
    """
    kernel = plane.new_full((1, 1, 1, _REBLUR), 1 / _REBLUR)
    padded = F.pad(plane[None, None], (_REBLUR // 2, _REBLUR // 2, 0, 0), mode="replicate")
    after = F.conv2d(padded, kernel)[0, 0]
    before_steps, after_steps = plane.diff(dim=1).abs(), after.diff(dim=1).abs()
    total = float(before_steps.sum())
    if total == 0:
        return 1.0
    return (total - float((before_steps - after_steps).clamp(min=0).sum())) / total


def detail(plane: Tensor) -> float:
    """ln of the mean square of the band around one pixel over that of the band around four."""
    smooth = [gaussian_blur(plane[None, None], sigma)[0, 0] for sigma in (0.7, 2.8, 5.6)]
    fine, middle = (plane - smooth[0]).square().mean(), (smooth[1] - smooth[2]).square().mean()
    return math.log((float(fine) + 1e-3) / (float(middle) + 1e-3))


def blockiness(plane: Tensor) -> float:
    """ln of the mean step across borders of 8 x 8 blocks over that elsewhere, both ways; grid at the top left."""
    return (_blockiness_along_rows(plane) + _blockiness_along_rows(plane.T)) / 2


def _blockiness_along_rows(plane: Tensor) -> float:
    # The second difference: what a step is beyond the slope on either side of it.
    steps = plane.diff(dim=1)
    beyond = (steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2).abs().mean(dim=0)
    place = torch.arange(len(beyond)) + 2  # `beyond[i]` lies between columns i + 1 and i + 2
    border = place % 8 == 0
    inside = (place % 8 >= 3) & (place % 8 <= 5)  # away from the neighbours that share the border's own step
    return math.log((float(beyond[border].mean()) + 0.05) / (float(beyond[inside].mean()) + 0.05))


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
    return math.log(ratio), float((on[:, beyond_low] < 1.0).float().mean())


def block_frequencies(plane: Tensor) -> Tensor:
    """Absolute cosine transform of the whole 8 x 8 blocks of a plane (H, W); (blocks, 8, 8)."""
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = plane[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).transpose(1, 2).reshape(-1, 8, 8)
    basis = cosine_basis()
    return (basis @ blocks @ basis.T).abs()
