"""What has been laid over a picture: lines of text (captions, dates, watermarks) and frames of one colour.

Text is looked for as rows of small marks of one colour and height: thin strokes that stand out from both sides, on one
base line, several to a row, of differing widths, with nothing like them right above and below. Windows, railings and
leaves have some of this, seldom all. In the upper and lower fifth, where captions and dates stand, seven letters are
enough; between them, where houses, cars and the signs of shops stand, twelve are wanted. Transparent and slanted
watermarks are not found.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from derain.backends.view import Pixels8, View
from derain.data.near_duplicates import connected
from derain.distill.measure.planes import (
    Components,
    Numbers,
    Plane8,
    connected_components,
    luma8,
    shrunk,
    window_extreme,
)

LONGEST = 1024
"""Pixels of the longer side at which text is looked for."""
STROKE_WIDTHS = (7, 19)
"""Strokes narrower than this are found; letters of ordinary fonts are five to eight times as high."""
_CONTRAST = 70
"""Least step of luma, of 255, of a stroke against what surrounds it."""
_MOST_MARKS = 3000
_LEAST_LETTERS = 7.0
"""Letters of a line in the upper or lower fifth."""
_LEAST_LETTERS_BETWEEN = 12.0
"""Letters of a line elsewhere; rows of windows and cars, and words on signs, looked like up to ten."""
_LEAST_MARKS = 4
_QUIET = 40
"""Step of luma, of 255, that counts as clutter above or below a line."""


@dataclass(frozen=True)
class Extent:
    """A part of the picture, in parts of its height and width; bottom and right exclusive."""

    top: float
    left: float
    bottom: float
    right: float

    @property
    def share(self) -> float:
        """Share of the picture's area."""
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def is_near_edge(self) -> bool:
        """Whether all of it lies in the upper or lower fifth, where captions stand."""
        return self.bottom <= 0.2 or self.top >= 0.8


@dataclass(frozen=True)
class Frame:
    """Widths of borders of one colour, in parts of the picture's height (top, bottom) and width (left, right)."""

    top: float
    bottom: float
    left: float
    right: float

    @property
    def share(self) -> float:
        """Share of the picture's area that is frame."""
        return 1 - (1 - self.top - self.bottom) * (1 - self.left - self.right)


@dataclass(frozen=True)
class Overlays:
    """What was found laid over a picture."""

    text: tuple[Extent, ...]
    """Lines of text, from the top."""
    frame: Frame | None

    @property
    def share(self) -> float:
        """Share of the picture that text and frame take, at most 1."""
        return min(1.0, sum(line.share for line in self.text) + (self.frame.share if self.frame else 0.0))


def find_overlays(view: View) -> Overlays:
    """Text and frame of a picture of any size; text in pictures of 32 pixels a side or more."""
    return Overlays(text=find_text(view), frame=find_frame(view.pixels))


def find_text(view: View) -> tuple[Extent, ...]:
    """Lines of text, bright or dark, from the top, each once."""
    luma = luma8(shrunk(view.pixels, LONGEST))
    if min(luma.shape) < 32:
        return ()
    found: list[Extent] = []
    for stroke in STROKE_WIDTHS:
        for plane in (luma, 255 - luma):
            for line in text_lines(plane, stroke):
                if not any(_overlap(line, other) for other in found):
                    found.append(line)
    return tuple(sorted(found, key=lambda line: (line.top, line.left)))


def text_lines(plane: Plane8, stroke: int) -> list[Extent]:
    """Lines of bright text in a plane (H, W) whose strokes are narrower than `stroke` pixels."""
    opened = window_extreme(window_extreme(plane, stroke, largest=False), stroke, largest=True)
    excess = plane - opened
    marks = connected_components(excess >= _CONTRAST, plane)
    letters = marks.chosen(_like_letters(marks, plane.shape))
    if len(letters) > _MOST_MARKS:
        letters = letters.chosen(np.sort(np.argsort(-letters.peak, kind="stable")[:_MOST_MARKS]))
    if len(letters) < _LEAST_MARKS:
        return []
    label = connected(len(letters), *neighbours(letters))
    lines = [letters.chosen(label == root) for root in np.unique(label)]
    return [
        extent
        for line, extent in ((line, _extent(line, plane.shape)) for line in lines)
        if letter_count(line) >= (_LEAST_LETTERS if extent.is_near_edge else _LEAST_LETTERS_BETWEEN)
        and is_row_of_letters(line)
        and stands_alone(line, plane, excess)
    ]


def neighbours(marks: Components) -> tuple[Numbers, Numbers]:
    """Pairs of marks that may be neighbours on a line: alike in height, level and peak, a letter's width apart."""
    top, bottom, left, right = marks.top, marks.bottom, marks.left, marks.right
    height = marks.height
    smaller = np.minimum(height[:, None], height[None])
    larger = np.maximum(height[:, None], height[None])
    shared = np.minimum(bottom[:, None], bottom[None]) - np.maximum(top[:, None], top[None])
    gap = left[None] - right[:, None]
    close = (
        (shared >= 0.6 * smaller)
        & (larger <= 2.2 * smaller)
        & (gap >= -0.3 * smaller)
        & (gap <= 1.0 * larger)
        & (np.abs(marks.peak[:, None] - marks.peak[None]) <= 24)
        & (left[None] > left[:, None])
    )
    first, second = np.nonzero(close)
    return first, second


def letter_count(marks: Components) -> float:
    """About how many letters marks of one line are; a mark may be several letters that touch."""
    return float(np.maximum(1.0, marks.width / (0.8 * float(np.median(marks.height)))).sum())


def is_row_of_letters(marks: Components) -> bool:
    """Whether marks that stand side by side are on one line, of one colour, and of strokes as letters are."""
    height = float(np.median(marks.height))
    length = float(marks.right.max() - marks.left.min())
    if len(marks) < _LEAST_MARKS or length < 3 * height:
        return False
    low = np.abs(marks.bottom - np.median(marks.bottom)) <= 0.12 * height + 1
    tall = np.abs(marks.top - np.median(marks.top)) <= 0.35 * height + 1
    thickness = marks.area / marks.runs
    strokes = float(marks.runs.sum() / marks.height.sum())
    return bool(
        low.mean() >= 0.7
        and tall.mean() >= 0.7
        and marks.peak.std() <= 6
        and strokes >= 1.25
        and thickness.mean() <= 0.45 * height
        and thickness.std() <= 0.5 * thickness.mean()
        and marks.width.std() >= 0.12 * marks.width.mean()
    )


def stands_alone(marks: Components, plane: Plane8, excess: Plane8) -> bool:
    """Whether a line differs from what lies between its strokes, with little like strokes right above and below.

    `excess` (H, W) is how far the plane stands out at the scale of the strokes.
    """
    top, bottom = int(marks.top.min()), int(marks.bottom.max())
    columns = slice(int(marks.left.min()), int(marks.right.max()))
    between = plane[top:bottom, columns][excess[top:bottom, columns] < _CONTRAST]
    if between.size == 0 or np.median(marks.peak) - np.median(between) < 80:
        return False
    margin = max(2, int(np.median(marks.height)) // 4)
    bands = [excess[max(0, top - margin) : top, columns], excess[bottom : bottom + margin, columns]]
    return all(float((band >= _QUIET).mean()) <= 0.2 for band in bands if band.size)


def find_frame(pixels: Pixels8) -> Frame | None:
    """A frame, or bars at opposite sides, of one colour and with straight inner edges; None where there is neither."""
    top, top_colour = _border(pixels)
    bottom, bottom_colour = _border(pixels[::-1])
    left, left_colour = _border(pixels.transpose(1, 0, 2))
    right, right_colour = _border(pixels.transpose(1, 0, 2)[::-1])
    upright = bool(top and bottom and np.abs(top_colour - bottom_colour).max() <= 6)
    across = bool(left and right and np.abs(left_colour - right_colour).max() <= 6)
    if not upright and not across:
        return None
    height, width = pixels.shape[:2]
    return Frame(
        top=top / height if upright else 0.0,
        bottom=bottom / height if upright else 0.0,
        left=left / width if across else 0.0,
        right=right / width if across else 0.0,
    )


def _border(pixels: Pixels8) -> tuple[int, npt.NDArray[np.float64]]:
    """How many of the upper rows of pixels (H, W, 3) are a border, 0 for none, and its colour (3,).

    Rows are border while nearly all of their pixels have the colour of the first row; the row after the border must
    differ in most of its pixels, within two rows of a blurred edge.
    """
    most = len(pixels) * 2 // 5
    sample = pixels[:, :: max(1, pixels.shape[1] // 512)].astype(np.int16)
    colour = np.median(sample[0], axis=0)
    inner = sample[:, len(sample[0]) // 16 : -(len(sample[0]) // 16) or None]
    rows = 0
    while rows < most and float(_differs(inner[rows], colour, 12).mean()) <= 0.01:
        rows += 1
    least = max(2, len(pixels) // 200)
    if rows < least or rows >= most:
        return 0, colour
    beyond = _differs(inner[min(rows + 2, len(inner) - 1)], colour, 16)
    return (rows if float(beyond.mean()) >= 0.75 else 0), colour


def _differs(row: npt.NDArray[np.int16], colour: npt.NDArray[np.float64], tolerance: int) -> npt.NDArray[np.bool_]:
    """(W,) whether pixels (W, 3) differ from a colour (3,) in any channel."""
    return np.asarray(np.abs(row - colour).max(axis=1) > tolerance)


def _like_letters(marks: Components, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """(N,) marks of a size and a fill that letters and short words have."""
    height, width = marks.height, marks.width
    fill = marks.area / (height * width)
    return np.asarray(
        (height >= 5) & (height <= 0.15 * shape[0]) & (width <= 10 * height) & (width >= 0.08 * height) & (fill <= 0.9)
    )


def _extent(marks: Components, shape: tuple[int, ...]) -> Extent:
    """What marks in a plane of a shape (H, W) take of it."""
    height, width = shape
    return Extent(
        top=float(marks.top.min()) / height,
        left=float(marks.left.min()) / width,
        bottom=float(marks.bottom.max()) / height,
        right=float(marks.right.max()) / width,
    )


def _overlap(a: Extent, b: Extent) -> bool:
    """Whether a third of the smaller lies in the other."""
    down = min(a.bottom, b.bottom) - max(a.top, b.top)
    across = min(a.right, b.right) - max(a.left, b.left)
    return down > 0 and across > 0 and down * across > min(a.share, b.share) / 3
