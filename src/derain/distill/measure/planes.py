"""The grey planes and sizes on which pictures are measured, windows over them, and connected components of masks."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from derain.backends.view import Pixels8

Plane8 = npt.NDArray[np.uint8]
"""(H, W), luma Y' of BT.601 in full swing, 0 to 255."""
Plane = npt.NDArray[np.float32]
"""(H, W)."""
Mask = npt.NDArray[np.bool_]
"""(H, W)."""
Numbers = npt.NDArray[np.int64]


def luma8(pixels: Pixels8) -> Plane8:
    """Y' = 0.299 R + 0.587 G + 0.114 B, rounded; pixels (H, W, 3), result (H, W)."""
    return np.asarray(Image.fromarray(pixels).convert("L"))


def shrunk(pixels: Pixels8, longest: int) -> Pixels8:
    """Pixels (H, W, 3) or (H, W) averaged over areas until no side is longer than `longest`; never enlarged."""
    height, width = pixels.shape[:2]
    if max(height, width) <= longest:
        return pixels
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def centre(plane: Plane8, side: int, grid: int = 1) -> Plane8:
    """The middle of a plane, at most `side` x `side`; its corner lies at a multiple of `grid`."""
    height, width = plane.shape
    top, left = max(0, height - side) // 2 // grid * grid, max(0, width - side) // 2 // grid * grid
    return plane[top : top + side, left : left + side]


def box_mean(plane: npt.NDArray[np.generic], radius: int) -> Plane:
    """Mean over (2 radius + 1)^2 pixels, edges repeated; (H, W) in, float32 (H, W) out."""
    from scipy import ndimage

    means: Plane = ndimage.uniform_filter(plane, 2 * radius + 1, output=np.float32, mode="nearest")
    return means


def window_extreme(plane: Plane8, size: int, largest: bool) -> Plane8:
    """Greatest (or least) value of the size x size window around each pixel, cut at the edges; (H, W) in and out.

    Windows of even size reach one further up and left. Twenty times as fast as the rank filters of scipy.
    """
    fold = np.maximum if largest else np.minimum
    outside = 0 if largest else 255
    for axis in (0, 1):
        padding = [(size // 2, (size - 1) // 2) if a == axis else (0, 0) for a in (0, 1)]
        running = np.pad(plane, padding, constant_values=outside)
        covered = 1
        while covered < size:  # windows of doubling size, each the fold of two that overlap or touch
            step = min(covered, size - covered)
            ahead = running[step:] if axis == 0 else running[:, step:]
            behind = running[:-step] if axis == 0 else running[:, :-step]
            running = fold(ahead, behind)
            covered += step
        plane = running
    return plane


@dataclass(frozen=True)
class Components:
    """N components, in the order of their first pixel by rows; every field is (N,). Bottom and right are exclusive."""

    top: Numbers
    left: Numbers
    bottom: Numbers
    right: Numbers
    area: Numbers
    """Pixels."""
    runs: Numbers
    """Stretches of rows: one a row for a block, more for a letter."""
    peak: Numbers
    """Greatest value of the plane in it."""

    @property
    def height(self) -> Numbers:
        return self.bottom - self.top

    @property
    def width(self) -> Numbers:
        return self.right - self.left

    def __len__(self) -> int:
        return len(self.top)

    def chosen(self, which: npt.NDArray[np.bool_] | Numbers) -> "Components":
        """Those of a mask (N,) or of row numbers."""
        return Components(*(values[which] for values in vars(self).values()))


def connected_components(mask: Mask, plane: Plane8) -> Components:
    """Components of a mask (H, W), pixels that touch at corners included; peaks are of `plane` (H, W)."""
    from scipy import ndimage

    label, count = ndimage.label(mask, np.ones((3, 3)))
    boxes = ndimage.find_objects(label)
    top, bottom = (np.array([getattr(rows, end) for rows, _ in boxes], np.int64) for end in ("start", "stop"))
    left, right = (np.array([getattr(columns, end) for _, columns in boxes], np.int64) for end in ("start", "stop"))
    begins = mask.copy()
    begins[:, 1:] &= ~mask[:, :-1]
    peak = np.zeros(count + 1, np.int64)
    np.maximum.at(peak, label[mask], plane[mask])
    area, runs = (np.bincount(label[where], minlength=count + 1)[1:] for where in (mask, begins))
    return Components(top, left, bottom, right, area, runs, peak[1:])
