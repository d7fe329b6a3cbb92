"""Quality against slow obvious versions, and on photographs that are made worse step by step."""

import io
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter

from derain.backends.view import View
from derain.distill.measure.planes import luma8
from derain.distill.measure.quality import (
    blockiness,
    clipped_shares,
    exposure_score,
    measure_quality,
    noise_deviation,
    sharpness,
)

SAMPLES = {"astronaut": skimage.data.astronaut, "cat": skimage.data.chelsea, "coffee": skimage.data.coffee}


def view_of(pixels):
    return View("", np.ascontiguousarray(pixels, np.uint8))


def blurred(pixels, radius):
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def recompressed(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def noisy(pixels, deviation):
    noise = np.random.default_rng(0).normal(0, deviation, pixels.shape)
    return np.clip(pixels + noise, 0, 255).round().astype(np.uint8)


def test_sharpness_is_the_laplacian_over_the_contrast():
    luma = luma8(skimage.data.chelsea()[:40, :50])
    values = luma.astype(float)
    squares = []
    for y in range(1, 39):
        for x in range(1, 49):
            around = values[y - 1, x] + values[y + 1, x] + values[y, x - 1] + values[y, x + 1]
            squares.append(around - 4 * values[y, x])
    detail = np.var(squares) - 20 * (255 * noise_deviation(luma)) ** 2
    assert sharpness(luma) == pytest.approx(np.sqrt(max(detail, 0) / (values.var() + 2.55**2)), rel=1e-9)


@pytest.mark.parametrize("deviation", [2.0, 5.0, 12.0])
def test_noise_is_found_at_its_strength(deviation):
    flat = np.random.default_rng(1).normal(120, deviation, (256, 256)).round().astype(np.uint8)
    assert noise_deviation(flat) == pytest.approx(deviation / 255, rel=0.12)


@pytest.mark.parametrize("name", SAMPLES)
def test_each_harm_is_measured_and_lowers_the_score(name):
    pixels = SAMPLES[name]()
    good = measure_quality(view_of(pixels))
    for harm, steps, quantity, sign in [
        (blurred, (0.5, 1, 2, 3), "sharpness", -1),
        (recompressed, (30, 10, 4), "blockiness", 1),
        (noisy, (6, 12, 25), "noise", 1),
    ]:
        found = [good, *(measure_quality(view_of(harm(pixels, step))) for step in steps)]
        values = [sign * getattr(quality, quantity) for quality in found]
        assert values == sorted(values), quantity
        assert values[-1] > values[0]
        assert found[-1].score < good.score - 0.1, quantity


def test_burnt_out_and_black_pictures_are_badly_exposed_and_nights_are_not():
    pixels = skimage.data.astronaut()
    assert measure_quality(view_of(pixels)).exposure == pytest.approx(1.0, abs=0.05)
    assert measure_quality(view_of(np.full_like(pixels, 255))).exposure == 0
    assert measure_quality(view_of(pixels // 40)).exposure < 0.2
    assert exposure_score(mean_luma=0.08, clipped_dark=0.35, clipped_bright=0.01) == 1


def test_clipped_shares_count_both_ends():
    luma = np.array([[0, 2, 3, 252], [253, 255, 100, 100]], np.uint8)
    assert clipped_shares(luma) == (0.25, 0.25)


def test_blocks_are_found_wherever_their_grid_begins_and_only_there():
    pixels = recompressed(skimage.data.astronaut(), 8)
    whole, shifted = blockiness(luma8(pixels)), blockiness(luma8(np.ascontiguousarray(pixels[3:, 5:])))
    assert whole > 0.5
    assert shifted == pytest.approx(whole, rel=0.1)
    assert blockiness(luma8(skimage.data.astronaut())) < 0.05


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (32, 32), (37, 53), (3000, 2001)])
def test_every_size_is_measured(size):
    pixels = np.asarray(Image.fromarray(skimage.data.rocket()).resize(size[::-1]))
    quality = measure_quality(view_of(pixels))
    assert 0 <= quality.score <= 1
    assert quality == measure_quality(view_of(pixels))


def test_a_flat_picture_has_no_quality():
    quality = measure_quality(view_of(np.full((64, 64, 3), 128)))
    assert (quality.sharpness, quality.contrast, quality.noise, quality.blockiness) == (0, 0, 0, 0)
    assert quality.score < 0.15


def test_the_score_is_the_geometric_mean_of_its_parts():
    quality = measure_quality(view_of(skimage.data.chelsea()))
    spoilt = replace(quality, sharpness=0.03)  # both shares of the sharpness count for 0.01
    perfect = replace(quality, sharpness=1.0, contrast=0.5, noise=0.0, blockiness=0.0)
    assert perfect.score == 1
    assert replace(perfect, sharpness=0.03).score == pytest.approx(0.01 ** (2 / 6))
    assert spoilt.score < quality.score
