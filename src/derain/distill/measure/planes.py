"""The grey planes and sizes on which pictures are measured, all by integer or 64-bit arithmetic that never varies."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from derain.backends.view import Pixels8

Plane8 = npt.NDArray[np.uint8]
"""(H, W), luma Y' of BT.601 in full swing, 0 to 255."""
Plane = npt.NDArray[np.float32]
"""(H, W)."""
Counts = npt.NDArray[np.int32]
"""(H, W), 0 or more."""
Mask = npt.NDArray[np.bool_]
"""(H, W)."""


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


def box_mean(plane: Plane8 | Counts, radius: int) -> Plane:
    """Mean over (2 radius + 1)^2 pixels, edges repeated; integers (H, W) in, float32 (H, W) out.

    Sums are of integers, so that no order of additions changes them. Raises OverflowError where they would not fit.
    """
    height, width = plane.shape
    padded = np.pad(plane, ((radius + 1, radius), (radius + 1, radius)), mode="edge")
    if padded.size * int(padded.max()) >= 2**31:
        raise OverflowError(f"sums of {height} x {width} pixels do not fit into 32 bits; reduce the picture first")
    sums = np.cumsum(padded, axis=1, dtype=np.int32)
    size = 2 * radius + 1
    across = sums[:, size:] - sums[:, :-size]
    for row in range(1, len(across)):  # much faster than cumsum, which walks down each column
        np.add(across[row], across[row - 1], out=across[row])
    totals = across[size:] - across[:-size]
    return totals.astype(np.float32) / np.float32(size * size)


def window_extreme(plane: Plane8, size: int, largest: bool) -> Plane8:
    """Greatest (or least) value of the size x size window around each pixel, cut at the edges; (H, W) in and out.

    Windows of even size reach one further up and left.
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


def ramp(value: float, low: float, high: float) -> float:
    """0 at `low`, 1 at `high`, straight between and level beyond; `high` may be the smaller."""
    return min(1.0, max(0.0, (value - low) / (high - low)))
