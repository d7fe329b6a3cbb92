"""Measures of backgrounds, against formulas written out and against pictures that were spoiled on purpose."""

import io
import math
from itertools import pairwise

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from derain.backends.view import Pixels8, View
from derain.distill.measure.planes import luma8
from derain.distill.measure.quality import (
    BackgroundStatistics,
    background_statistics,
    block_frequencies,
    jpeg_losses,
    reblur,
    step_profile,
)
from derain.imaging.io import to_pixels, to_tensor
from derain.rain.blur import gaussian_blur


def as_view(pixels: Pixels8) -> View:
    return View("0" * 64, np.ascontiguousarray(pixels))


def jpeg(pixels: Pixels8, quality: int) -> Pixels8:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def blurred(pixels: Pixels8, sigma: float) -> Pixels8:
    return to_pixels(gaussian_blur(to_tensor(np.ascontiguousarray(pixels)), sigma))


def measured(pixels: Pixels8) -> BackgroundStatistics:
    found = background_statistics(as_view(pixels))
    assert found is not None
    return found


PICTURES = {"chelsea": skimage.data.chelsea(), "coffee": skimage.data.coffee(), "rocket": skimage.data.rocket()}


def test_reblur_equals_its_sums_written_out() -> None:
    plane = torch.rand(7, 20, generator=torch.Generator().manual_seed(1)) * 255
    values = plane.double().numpy()
    padded = np.pad(values, ((0, 0), (4, 4)), mode="edge")
    before = after = 0.0
    for row in range(7):
        smooth = [padded[row, column : column + 9].mean() for column in range(20)]
        for column in range(19):
            step = abs(values[row, column + 1] - values[row, column])
            before += step
            after += max(0.0, step - abs(smooth[column + 1] - smooth[column]))
    assert reblur(plane.numpy()) == pytest.approx((before - after) / before, rel=1e-5)
    assert reblur(np.full((9, 9), 3.0, np.float32)) == 1.0


@pytest.mark.parametrize("name", PICTURES)
def test_blur_raises_reblur_and_takes_detail(name: str) -> None:
    steps = [measured(blurred(PICTURES[name], sigma)) for sigma in (0.0, 1.0, 2.0, 4.0)]
    assert all(b.reblur_rows > a.reblur_rows for a, b in pairwise(steps))
    assert all(b.reblur_columns > a.reblur_columns for a, b in pairwise(steps))
    assert steps[2].detail < steps[0].detail - 1


def test_motion_along_rows_shows_along_rows() -> None:
    moved = np.mean([np.roll(PICTURES["chelsea"], shift, axis=1) for shift in range(9)], axis=0).astype(np.uint8)
    before, after = measured(PICTURES["chelsea"]), measured(moved)
    assert after.reblur_rows - before.reblur_rows > 2 * abs(after.reblur_columns - before.reblur_columns)


@pytest.mark.parametrize("name", PICTURES)
def test_compression_shows_in_blocks_and_frequencies(name: str) -> None:
    pixels = blurred(PICTURES[name], 0.5)
    steps = [measured(pixels), *(measured(jpeg(pixels, quality)) for quality in (60, 25, 10))]
    for attribute in ("blockiness", "lost_frequencies", "zero_coefficients"):
        values = [getattr(step, attribute) for step in steps]
        assert values[3] > values[0], attribute
        assert values == sorted(values) or attribute == "lost_frequencies", attribute
    assert abs(steps[0].blockiness) < 0.2
    assert steps[2].blockiness > 0.5
    assert abs(steps[0].lost_frequencies) < 0.3
    assert steps[2].lost_frequencies > 0.5


def test_large_pictures_are_measured_in_their_middle_on_the_grid() -> None:
    tall = np.tile(jpeg(PICTURES["rocket"], 20), (3, 2, 1))[:1200, :1100]  # 427 rows: the grid is lost at the seams
    large = jpeg(blurred(tall, 0.5), 20)
    assert measured(large).blockiness > 0.5


def test_blocks_are_transformed_as_the_standard_says() -> None:
    plane = torch.rand(17, 25, generator=torch.Generator().manual_seed(2)) * 255
    found = block_frequencies(plane)
    assert found.shape == (2 * 3, 8, 8)
    block = plane[8:16, 16:24].double()
    for u, v in ((0, 0), (3, 5), (7, 1)):
        scale = (math.sqrt(0.5) if u == 0 else 1) * (math.sqrt(0.5) if v == 0 else 1) / 4
        sums = sum(
            float(block[y, x]) * math.cos((2 * y + 1) * u * math.pi / 16) * math.cos((2 * x + 1) * v * math.pi / 16)
            for y in range(8)
            for x in range(8)
        )
        assert float(found[5, u, v]) == pytest.approx(abs(scale * sums), rel=1e-3, abs=1e-3)


def test_flat_pictures_and_tiny_ones() -> None:
    flat = measured(np.full((64, 80, 3), 128, np.uint8))
    assert np.isfinite(flat.vector()).all()
    assert flat.flat == 1.0
    assert background_statistics(as_view(np.zeros((31, 400, 3), np.uint8))) is None
    assert len(flat.vector()) == len(BackgroundStatistics.names())


def test_an_unquantised_grid_loses_nothing() -> None:
    plane = torch.from_numpy(luma8(PICTURES["coffee"]).astype(np.float32))
    lost, zero = jpeg_losses(plane[:392, :592])
    assert abs(lost) < 0.2
    assert zero < 0.7


def test_the_profile_of_steps_is_that_of_its_formula() -> None:
    luma = luma8(np.ascontiguousarray(skimage.data.chelsea()[:9, :21]))
    steps = np.diff(luma.astype(float), axis=1)
    plain = [
        np.mean([abs(row[x] - (row[x - 1] + row[x + 1]) / 2) for row in steps]) for x in range(1, steps.shape[1] - 1)
    ]
    np.testing.assert_allclose(step_profile(luma), plain, rtol=1e-12)
