"""Light, fine structure, round marks and scenes, on photographs and on drawn pictures whose answer is known."""

import numpy as np
import pytest
import skimage.data
import torch

from derain.backends.view import View
from derain.distill.measure.planes import box_mean, luma8
from derain.distill.measure.rain_form import cell_sums, centre_votes, doubled_angles, fine_structure, focus, round_marks
from derain.distill.measure.scene import colour_shares, edges, lamps, measure_light, measure_scene, sky_share, veil
from derain.imaging.pixels import to_pixels, to_tensor
from derain.rain.night import day_to_night


def lines(tilt_deg, height=200, width=240, count=150, seed=0):
    """Bright short lines whose upper end leans right by so many degrees."""
    generator = np.random.default_rng(seed)
    plane = np.full((height, width), 90.0)
    for _ in range(count):
        x, y = generator.uniform(0, width), generator.uniform(0, height)
        for step in np.arange(-12, 12, 0.25):
            row = round(y - step * np.cos(np.deg2rad(tilt_deg)))
            column = round(x + step * np.sin(np.deg2rad(tilt_deg)))
            if 0 <= row < height and 0 <= column < width:
                plane[row, column] = 120
    return plane.astype(np.uint8)


def discs(radius, height=160, width=200):
    plane = np.full((height, width), 90, np.uint8)
    y, x = np.mgrid[:height, :width]
    for row, column in [(40, 50), (100, 60), (70, 140), (125, 150)]:
        plane[np.hypot(y - row, x - column) <= radius] = 140
    return plane


def test_the_mean_over_boxes_is_that_of_each_box():
    plane = luma8(skimage.data.chelsea()[:13, :17])
    for radius in (0, 1, 3, 9):
        padded = np.pad(plane, radius, mode="edge").astype(float)
        size = 2 * radius + 1
        plain = [[padded[y : y + size, x : x + size].mean() for x in range(17)] for y in range(13)]
        assert np.allclose(box_mean(plane, radius), plain, atol=1e-4), "tolerance: of 255"


@pytest.mark.parametrize("tilt_deg", [-60, -25, -8, 0, 12, 30, 75])
def test_the_lean_of_lines_is_measured(tilt_deg):
    found = fine_structure(lines(tilt_deg), 3)
    assert found.tilt_deg == pytest.approx(tilt_deg, abs=5)
    assert found.coherence > 0.3
    assert found.agreement > 0.8
    assert found.asymmetry > 1


def test_noise_runs_no_way_and_dense_rain_is_more_than_thin_rain():
    noise = np.random.default_rng(0).normal(120, 10, (200, 240)).astype(np.uint8)
    assert fine_structure(noise, 1).coherence < 0.05
    thin, dense = (fine_structure(lines(10, count=count), 1).amount for count in (20, 200))
    assert dense > 4 * thin


def test_slopes_are_doubled_and_cut():
    plane = np.zeros((5, 5), np.float32)
    plane[:, 3:] = 0.5
    cosines, sines, weights = doubled_angles(plane)
    assert weights.max() == pytest.approx(0.06)
    assert np.allclose(cosines, weights)
    assert np.allclose(sines, 0)
    cosines, _, weights = doubled_angles(np.ascontiguousarray(plane.T))
    assert np.allclose(cosines, -weights)


def test_cells_part_the_plane():
    plane = np.random.default_rng(0).random((37, 53)).astype(np.float32)
    sums = cell_sums(plane)
    assert sums.shape == (8, 8)
    assert sums.sum() == pytest.approx(float(plane.sum(dtype=float)))
    assert sums[0, 0] == pytest.approx(float(plane[:4, :6].sum()), rel=1e-5)


def test_circles_are_voted_for_at_their_centres():
    votes = centre_votes(discs(8), 8)
    row, column = np.unravel_index(np.argmax(votes), votes.shape)
    assert min(np.hypot(row - y, column - x) for y, x in [(40, 50), (100, 60), (70, 140), (125, 150)]) <= 2
    assert round_marks(discs(8), 8).strongest > 2 * round_marks(discs(8), 16).strongest


def test_soft_places_make_the_focus_uneven():
    luma = box_mean(np.random.default_rng(0).integers(0, 255, (240, 320)).astype(np.uint8), 1).round().astype(np.uint8)
    patchy = luma.copy()
    patchy[60:140, 100:200] = box_mean(luma, 3)[60:140, 100:200].round()
    assert focus(luma).soft_share == 0
    assert focus(patchy).soft_share == pytest.approx(80 * 100 / luma.size, rel=0.35)
    assert focus(patchy).unevenness > 1.5 * focus(luma).unevenness
    assert focus(patchy).skewness < focus(luma).skewness - 1
    assert focus(patchy).clumping > focus(luma).clumping + 0.5


def test_night_is_darker_and_lit_in_places():
    day = skimage.data.astronaut()
    linear = to_tensor(day) ** 2.2
    night = day_to_night(linear, torch.Generator().manual_seed(0)).linear ** (1 / 2.2)
    found, dark = measure_light(View("", day)), measure_light(View("", to_pixels(night)))
    assert dark.mean < 0.6 * found.mean
    assert dark.dark_share > found.dark_share
    assert dark.lamp_contrast > found.lamp_contrast


def test_lamps_stand_out_and_a_white_sky_does_not():
    luma = np.full((120, 160), 30, np.uint8)
    luma[40:44, 50:54] = 255
    assert np.array_equal(np.flatnonzero(lamps(luma).any(axis=1)), np.arange(40, 44))
    luma[:60] = 250
    assert lamps(luma).mean() < 0.02


@pytest.mark.parametrize(
    ("pixel", "name"),
    [
        ((200, 20, 20), "red"),
        ((230, 140, 30), "orange"),
        ((90, 50, 20), "brown"),
        ((230, 220, 40), "yellow"),
        ((40, 160, 60), "green"),
        ((40, 90, 200), "blue"),
        ((140, 40, 200), "purple"),
        ((250, 250, 250), "white"),
        ((128, 130, 126), "grey"),
        ((10, 10, 12), "black"),
    ],
)
def test_colours_have_their_usual_names(pixel, name):
    assert colour_shares(np.full((4, 5, 3), pixel, np.uint8)) == ((name, 1.0),)


def test_sky_is_smooth_bright_and_above():
    pixels = np.empty((90, 120, 3), np.uint8)
    pixels[:45] = (150, 180, 220)
    pixels[45:] = np.random.default_rng(0).integers(20, 120, (45, 120, 1))
    assert sky_share(pixels) == pytest.approx(0.5, abs=0.04)
    assert sky_share(np.ascontiguousarray(pixels[::-1])) < 0.05


def test_mist_veils():
    clear = skimage.data.coffee()
    misty = (clear * 0.4 + 140).astype(np.uint8)
    assert veil(clear) < 0.2
    assert veil(misty) > 0.5


def test_buildings_have_straight_edges():
    pixels = np.full((120, 160), 60, np.uint8)
    pixels[20:100:10, 10:150] = 200
    pixels[20:100, 10:150:12] = 200
    assert edges(pixels)[0] > 0.7
    noise = np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8)
    assert edges(noise)[0] == pytest.approx(0.22, abs=0.05)


def test_scenes_of_any_size_are_measured():
    for size in [(1, 1), (2, 40), (700, 33)]:
        scene = measure_scene(View("", np.full((*size, 3), 77, np.uint8)))
        assert scene.colours == (("grey", 1.0),)
        assert 0 <= scene.veil <= 1
