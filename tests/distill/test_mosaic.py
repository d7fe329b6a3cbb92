"""The canvas for models that look at one picture: everything on it, in proportion, the same every time."""

from itertools import pairwise

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from derain.backends.view import Pixels8
from derain.distill.judges.mosaic import SEPARATOR, fitted, mosaic

CAT, COFFEE, ROCKET = skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()


def plain(height: int, width: int, grey: int) -> Pixels8:
    return np.full((height, width, 3), grey, np.uint8)


def box(canvas: Pixels8, grey: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of what has one grey."""
    rows, columns = np.nonzero((canvas == grey).all(-1))
    return (
        int(rows.min()),
        int(columns.min()),
        int(rows.max() - rows.min() + 1),
        int(columns.max() - columns.min() + 1),
    )


def test_references_lie_above_and_the_candidate_below() -> None:
    canvas = mosaic(plain(400, 600, 10), [plain(300, 400, 20), plain(400, 300, 30), plain(300, 300, 40)], 600)
    assert max(canvas.shape) <= 600
    (top, left, height, width), *row = (box(canvas, grey) for grey in (10, 20, 30, 40))
    assert width / height == pytest.approx(1.5, abs=0.02)
    assert [one[0] for one in row] == [0, 0, 0]
    assert len({one[2] for one in row}) == 1
    assert top == row[0][2] + SEPARATOR
    assert abs(left - (canvas.shape[1] - left - width)) <= 1
    for (_, one_left, _, one_width), (_, next_left, _, _) in pairwise(row):
        assert next_left == one_left + one_width + SEPARATOR
    for one, proportion in zip(row, (4 / 3, 3 / 4, 1.0), strict=True):
        assert one[3] / one[2] == pytest.approx(proportion, abs=0.03)
    covered = height * width + sum(one[2] * one[3] for one in row)
    assert (canvas == 255).all(-1).sum() == canvas.shape[0] * canvas.shape[1] - covered


def test_the_canvas_is_used_well() -> None:
    canvas = mosaic(CAT, [COFFEE, ROCKET, CAT], 672)
    assert max(canvas.shape[:2]) >= 0.85 * 672 or canvas.shape[1] == CAT.shape[1]
    assert canvas.shape[0] - box_of_row(canvas) >= 0.5 * canvas.shape[0]


def box_of_row(canvas: Pixels8) -> int:
    """Height of the upper row, to the white line."""
    white = (canvas == 255).all((1, 2))
    return int(np.argmax(white))


def test_without_references_it_is_the_candidate() -> None:
    assert np.array_equal(mosaic(CAT, [], 672), CAT)
    assert mosaic(CAT, [], 100).shape == (66, 100, 3)


def test_the_same_pixels_every_time_and_every_picture_on_it() -> None:
    canvas = mosaic(CAT, [COFFEE, ROCKET], 500)
    assert np.array_equal(canvas, mosaic(CAT.copy(), [COFFEE.copy(), ROCKET.copy()], 500))
    for others in ((CAT, [ROCKET, COFFEE]), (COFFEE, [CAT, ROCKET]), (CAT, [COFFEE])):
        assert not np.array_equal(canvas, mosaic(*others, 500))


def test_reducing_averages() -> None:
    reduced = fitted(CAT[:300, :450], 150, 150)
    averaged = CAT[:300, :450].reshape(100, 3, 150, 3, 3).mean((1, 3))
    assert np.abs(reduced - averaged).max() <= 1.0  # columns and rows are rounded one after the other


def test_nothing_is_enlarged() -> None:
    assert np.array_equal(fitted(CAT, 4000, 4000), CAT)
    small = plain(20, 30, 7)
    assert box(mosaic(small, [plain(300, 400, 99)], 672), 7)[2:] == (20, 30)


def test_too_many_references_for_the_canvas_are_refused() -> None:
    with pytest.raises(ValueError, match="30 references do not fit"):
        mosaic(CAT, [COFFEE] * 30, 300)


sides = st.integers(16, 700)
sizes = st.tuples(sides, sides)


@given(sizes, st.lists(sizes, max_size=4), st.integers(448, 900))
def test_any_sizes_fit(candidate: tuple[int, int], references: list[tuple[int, int]], side: int) -> None:
    try:
        canvas = mosaic(plain(*candidate, 9), [plain(*size, 99) for size in references], side)
    except ValueError:
        assert sum(width / height for height, width in references) > side / 10 or min(map(min, references)) < 8
        return
    assert max(canvas.shape[:2]) <= side
    assert canvas.dtype == np.uint8
    assert (canvas == 9).all(-1).any()
    assert (canvas == 99).all(-1).any() == bool(references)
