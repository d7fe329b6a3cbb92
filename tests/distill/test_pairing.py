"""Measures of pairs, on photographs whose partners were moved, tinted, smoothed or left rainy by a known amount."""

import math

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from derain.distill.measure.pair import (
    LayerAgreement,
    PairStatistics,
    colour_shift,
    layer_agreement,
    pair_statistics,
    registration,
)
from derain.distill.measure.rain_layer import full_luma
from derain.imaging.io import to_tensor
from derain.rain.blur import gaussian_blur
from derain.rain.negatives import moved
from derain.rain.settings import RainSettings
from derain.rain.simulate import RainyPair, simulate
from derain.types import RainType

HEAVY = RainSettings(look_share=0, noise_share=0, jpeg_share=0, light_weight=0, medium_weight=0)


@pytest.fixture(scope="module")
def scene() -> Tensor:
    return to_tensor(np.ascontiguousarray(skimage.data.chelsea()[:, 20:440]))


@pytest.fixture(scope="module")
def pair(scene: Tensor) -> RainyPair:
    return simulate(scene, RainType.DRS, torch.Generator().manual_seed(4), HEAVY)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, 0.0), (2.0, -3.25), (-11.0, 6.5)])
@pytest.mark.parametrize("is_rainy", [False, True])
def test_shifts_are_found_to_a_fraction_of_a_pixel_also_through_rain(
    shift: tuple[float, float], is_rainy: bool, scene: Tensor, pair: RainyPair
) -> None:
    moving = full_luma(pair.rainy if is_rainy else scene)
    found = registration(moving, full_luma(moved(scene, shift, 0, 1)))
    assert found.right == pytest.approx(shift[0], abs=0.15)
    assert found.down == pytest.approx(shift[1], abs=0.15)
    assert found.peak > (0.15 if is_rainy else 0.6)


def test_other_scenes_do_not_register(scene: Tensor) -> None:
    other = to_tensor(np.ascontiguousarray(skimage.data.astronaut()[: scene.shape[2], : scene.shape[3]]))
    assert registration(full_luma(scene), full_luma(other)).peak < 0.15
    apart, together = pair_statistics(scene, scene, other), pair_statistics(scene, scene, scene)
    assert apart.structure < 0.5 < together.structure
    assert apart.gradient_correlation < 0.2
    assert together.gradient_correlation == pytest.approx(1)


def test_turns_show_between_blocks(pair: RainyPair) -> None:
    straight = pair_statistics(pair.rainy, pair.target, pair.target)
    turned = pair_statistics(pair.rainy, pair.target, moved(pair.target, (0, 0), 1.2, 1))
    assert math.exp(straight.block_shift) - 0.1 < 0.2
    assert math.exp(turned.block_shift) - 0.1 > 1.0
    assert turned.shift < turned.block_shift


def test_colour_shift_is_the_gain_of_the_channels(scene: Tensor) -> None:
    gains = scene.new_tensor([0.8, 0.9, 0.85]).view(1, 3, 1, 1)
    apart, mean = colour_shift(scene, scene * gains)
    logs = -gains.flatten().log()
    assert apart == pytest.approx(float((logs - logs.mean()).abs().max()), abs=0.01)
    assert mean == pytest.approx(float(logs.mean()), abs=0.01)
    assert colour_shift(scene, scene) == (0.0, 0.0)
    assert colour_shift(torch.zeros_like(scene), scene) == (0.0, 0.0)  # nothing to compare


@pytest.mark.parametrize("left", [0.0, 0.3, 0.7])
def test_rain_left_in_the_target_is_missing_from_the_pair(left: float, pair: RainyPair) -> None:
    target = torch.lerp(pair.target, pair.rainy, left)
    found = layer_agreement(pair.rainy, pair.target, target)
    assert math.tan(found.slope) == pytest.approx(1 - left, abs=1e-3)
    assert found.ratio == pytest.approx(math.log(1 - left), abs=0.02)
    assert found.correlation == pytest.approx(1, abs=1e-3)


def test_edges_leak_into_the_layer_of_a_misaligned_pair(pair: RainyPair) -> None:
    good = layer_agreement(pair.rainy, pair.target, pair.target)
    spoiled = layer_agreement(pair.rainy, pair.target, moved(pair.target, (4, 2), 0, 1))
    assert spoiled.leakage > good.leakage + 0.1
    assert spoiled.unexplained > good.unexplained + 1
    assert spoiled.darkening > good.darkening + 0.1
    assert spoiled.correlation < good.correlation - 0.2


def test_a_smoothed_target_lacks_detail(pair: RainyPair) -> None:
    good = pair_statistics(pair.rainy, pair.target, pair.target)
    smooth = pair_statistics(pair.rainy, pair.target, gaussian_blur(pair.target, 1.5))
    assert good.clean_detail == pytest.approx(0, abs=1e-6)
    assert smooth.clean_detail < -0.4
    assert smooth.clean_detail_rainy < good.clean_detail_rainy


@pytest.mark.parametrize("size", [(96, 96), (101, 307)])
def test_flat_and_odd_pictures_give_numbers(size: tuple[int, int]) -> None:
    flat = torch.full((1, 3, *size), 0.5)
    for images in ((flat, flat, flat), (flat, flat * 0.9, flat * 0.8), (torch.rand(1, 3, *size), flat, flat)):
        statistics, layers = pair_statistics(*images).vector(), layer_agreement(*images).vector()
        assert not np.isinf(statistics).any()
        assert not np.isinf(layers).any()
        assert len(statistics) == len(PairStatistics.names())
        assert len(layers) == len(LayerAgreement.names())
