"""Connected components of a mask, by runs: stretches of a row that hang together with those of the row below."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from derain.distill.measure.planes import Mask, Plane8

Numbers = npt.NDArray[np.int64]


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
        return Components(
            self.top[which],
            self.left[which],
            self.bottom[which],
            self.right[which],
            self.area[which],
            self.runs[which],
            self.peak[which],
        )


def connected_components(mask: Mask, plane: Plane8) -> Components:
    """Components of a mask (H, W), pixels that touch at corners included; peaks are of `plane` (H, W)."""
    row, start, end = _runs(mask)
    label = join(len(row), *_touching(row, start, end, mask.shape[1]))
    roots, member = np.unique(label, return_inverse=True)
    count = len(roots)
    if count == 0:
        none = np.zeros(0, np.int64)
        return Components(none, none, none, none, none, none, none)
    top, left = np.full(count, mask.shape[0]), np.full(count, mask.shape[1])
    bottom, right, peak = (np.zeros(count, np.int64) for _ in range(3))
    np.minimum.at(top, member, row)
    np.minimum.at(left, member, start)
    np.maximum.at(bottom, member, row + 1)
    np.maximum.at(right, member, end)
    np.maximum.at(peak, np.repeat(member, end - start), plane[mask].astype(np.int64))
    area = np.bincount(member, weights=end - start, minlength=count).astype(np.int64)
    return Components(top, left, bottom, right, area, np.bincount(member, minlength=count), peak)


def join(count: int, first: Numbers, second: Numbers) -> Numbers:
    """Least member of the group of each of `count` things, given pairs that belong together; (count,)."""
    label = np.arange(count)
    while True:
        least = np.minimum(label[first], label[second])
        before = label.copy()
        for ends in (first, second):  # the things themselves, and those that stand for them
            np.minimum.at(label, before[ends], least)
            np.minimum.at(label, ends, least)
        label = label[label]
        if np.array_equal(label, before):
            return label


def _runs(mask: Mask) -> tuple[Numbers, Numbers, Numbers]:
    """Row, first column and end of each run, by rows."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    step = np.diff(padded.ravel())
    begins, ends = np.flatnonzero(step == 1), np.flatnonzero(step == -1)
    row = begins // (width + 2)
    return row, begins - row * (width + 2), ends - row * (width + 2)


def _touching(row: Numbers, start: Numbers, end: Numbers, width: int) -> tuple[Numbers, Numbers]:
    """Pairs of runs of neighbouring rows that overlap or meet at a corner."""
    stride = width + 2
    begin_key, end_key = row * stride + start, row * stride + end
    # Of the row below: the first run that ends at this one's start or later, and the first that begins beyond its end.
    low = np.searchsorted(end_key, (row + 1) * stride + start, "left")
    high = np.searchsorted(begin_key, (row + 1) * stride + end, "right")
    counts = np.maximum(high - low, 0)
    first = np.repeat(np.arange(len(row)), counts)
    offset = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return first, np.repeat(low, counts) + offset
