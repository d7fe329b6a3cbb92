"""Losses against slow, obvious versions; values are per sample and do not mix samples."""

import cmath
import math

import pytest
import skimage.data
import torch
from torch import Tensor

from derain.objectives.losses import charbonnier, frequency_l1, l1, rain_mask, rain_weighted_l1


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Two different crops each of two photographs: (2, 3, 6, 5) twice."""
    photos = [torch.from_numpy(photo()) for photo in (skimage.data.astronaut, skimage.data.chelsea)]
    first = torch.stack([photo[100:106, 100:105].permute(2, 0, 1) for photo in photos]) / 255
    second = torch.stack([photo[150:156, 160:165].permute(2, 0, 1) for photo in photos]) / 255
    return first, second


def pixels(image: Tensor) -> list[tuple[int, int, int]]:
    channels, height, width = image.shape
    return [(c, y, x) for c in range(channels) for y in range(height) for x in range(width)]


def test_l1_and_charbonnier_are_their_equations(images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    for sample in range(2):
        errors = [abs(float(x[sample][at]) - float(y[sample][at])) for at in pixels(x[sample])]
        assert float(l1(x, y)[sample]) == pytest.approx(sum(errors) / len(errors), rel=1e-5)
        smooth = [math.sqrt(error**2 + 0.05**2) for error in errors]
        assert float(charbonnier(x, y, 0.05)[sample]) == pytest.approx(sum(smooth) / len(smooth), rel=1e-5)


def test_frequency_l1_is_the_mean_modulus_of_the_transform(images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    difference = (x - y)[0].tolist()
    height, width = 6, 5
    total = 0.0
    for channel in difference:
        for u in range(height):
            for v in range(width):
                coefficient = sum(
                    channel[row][column] * cmath.exp(-2j * math.pi * (u * row / height + v * column / width))
                    for row in range(height)
                    for column in range(width)
                )
                total += abs(coefficient) / math.sqrt(height * width)
    assert float(frequency_l1(x, y)[0]) == pytest.approx(total / (3 * height * width), rel=1e-4)


def test_rain_mask_is_its_equation_and_ignores_rounding(images: tuple[Tensor, Tensor]) -> None:
    rainy, clean = images
    mask = rain_mask(rainy, clean, floor=0.01, softness=0.04)
    assert mask.shape == (2, 1, 6, 5)
    for row in range(6):
        for column in range(5):
            level = sum(abs(float(rainy[1, c, row, column] - clean[1, c, row, column])) for c in range(3)) / 3
            rain = max(level - 0.01, 0)
            assert float(mask[1, 0, row, column]) == pytest.approx(rain / (rain + 0.04), abs=1e-5)
    assert float(rain_mask(clean + 1.5 / 255, clean).max()) == 0
    assert float(rain_mask(clean * 0 + 1, clean * 0).min()) > 0.95


def test_rain_weighted_l1_is_its_equation(images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    mask = torch.rand(2, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    amount = torch.tensor([0.3, 0.001])
    loss = rain_weighted_l1(x, y, mask, amount, share=0.25, least_amount=0.02)
    for sample, least in ((0, 0.3), (1, 0.02)):
        plain, weighted = [], []
        for c, row, column in pixels(x[sample]):
            error = abs(float(x[sample, c, row, column] - y[sample, c, row, column]))
            plain.append(error)
            weighted.append(error * float(mask[sample, 0, row, column]) / least)
        expected = 0.75 * sum(plain) / len(plain) + 0.25 * sum(weighted) / len(weighted)
        assert float(loss[sample]) == pytest.approx(expected, rel=1e-4)


def test_equal_errors_cost_the_same_whatever_the_weighting() -> None:
    target = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.5
    rainy = target.clone()
    rainy[..., 3:7, 3:7] += 0.4
    mask = rain_mask(rainy, target)
    even = rain_weighted_l1(target + 0.1, target, mask, mask.mean().view(1), share=0.5, least_amount=1e-6)
    assert float(even) == pytest.approx(0.1, rel=1e-4)


def test_a_small_drop_dominates_only_the_weighted_loss() -> None:
    target = torch.full((1, 3, 64, 64), 0.5)
    rainy = target.clone()
    rainy[..., :6, :6] += 0.3  # 0.9 % of the picture
    mask = rain_mask(rainy, target)
    amount = mask.mean().view(1)
    keeps_rain, harms_rest = rainy, torch.where(mask > 0, target, target + 0.01)
    assert float(l1(keeps_rain, target)) < float(l1(harms_rest, target))
    weighted = [float(rain_weighted_l1(image, target, mask, amount, 0.5, 0.02)) for image in (keeps_rain, harms_rest)]
    assert weighted[0] > 5 * weighted[1]


@pytest.mark.parametrize("name", ["l1", "charbonnier", "frequency_l1", "rain_weighted_l1"])
def test_samples_are_apart_and_gradients_are_finite(name: str, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    x = x.clone().requires_grad_()
    if name == "rain_weighted_l1":
        loss = rain_weighted_l1(x, y, torch.ones(2, 1, 6, 5), torch.ones(2), 0.5, 0.1)
    else:
        loss = {"l1": l1, "charbonnier": charbonnier, "frequency_l1": frequency_l1}[name](x, y)
    assert loss.shape == (2,)
    assert loss.dtype == torch.float32
    loss[0].backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
    assert float(x.grad[0].abs().sum()) > 0
    assert float(x.grad[1].abs().sum()) == 0


def test_half_precision_input_is_judged_in_float32(images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    assert l1(x.bfloat16(), y).dtype == frequency_l1(x.bfloat16(), y).dtype == torch.float32
