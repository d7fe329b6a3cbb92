"""Negative rain and spoiled pairs are wrong in the way that their names say, and in no other."""

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from derain.errors import ImageError
from derain.imaging.io import to_tensor
from derain.rain.negatives import NEGATIVES, SEEN_WITHOUT_TARGET, GoodPair, SyntheticNegative, make_negative, moved
from derain.rain.settings import RainSettings
from derain.rain.simulate import simulate
from derain.types import RainType

HEAVY = RainSettings(look_share=0, noise_share=0, jpeg_share=0, light_weight=0, medium_weight=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def good() -> GoodPair:
    clean = to_tensor(np.ascontiguousarray(skimage.data.chelsea()[40:232, 60:348]))
    pair = simulate(clean, RainType.DRS, seeded(3), HEAVY)
    other = to_tensor(np.ascontiguousarray(skimage.data.coffee()[::3, ::3]))
    return GoodPair(pair.rainy, pair.target, other)


@pytest.fixture(scope="module")
def negative(good: GoodPair) -> dict[str, SyntheticNegative]:
    return {name: make_negative(name, good, seeded(7)) for name in NEGATIVES}


@pytest.mark.parametrize("name", NEGATIVES)
def test_every_kind_is_a_pair_that_differs_from_the_good_one(
    name: str, good: GoodPair, negative: dict[str, SyntheticNegative]
) -> None:
    made = negative[name]
    for image in (made.rainy, made.target):
        assert image.shape == good.rainy.shape
        assert float(image.min()) >= 0
        assert float(image.max()) <= 1
    changed = (made.rainy - good.rainy).abs().mean() + (made.target - good.target).abs().mean()
    assert changed > 0.002
    is_rainy_picture_changed = not torch.equal(made.rainy, good.rainy)
    assert is_rainy_picture_changed == (name in SEEN_WITHOUT_TARGET)


@pytest.mark.parametrize("name", NEGATIVES)
def test_the_generator_decides_everything(name: str, good: GoodPair, negative: dict[str, SyntheticNegative]) -> None:
    again = make_negative(name, good, seeded(7))
    assert torch.equal(again.rainy, negative[name].rainy)
    assert torch.equal(again.target, negative[name].target)
    other = make_negative(name, good, seeded(8))
    is_same = torch.equal(other.rainy, again.rainy) and torch.equal(other.target, again.target)
    assert is_same == (name == "wrong_target")


@pytest.mark.parametrize("size", [(16, 16), (37, 53), (40, 120)])
@pytest.mark.parametrize("name", NEGATIVES)
def test_small_and_odd_sizes(name: str, size: tuple[int, int]) -> None:
    target = torch.rand(1, 3, *size, generator=seeded())
    made = make_negative(name, GoodPair((target + 0.1).clamp(max=1), target, torch.rand(1, 3, 20, 31)), seeded(1))
    assert made.rainy.shape == made.target.shape == (1, 3, *size)
    assert torch.isfinite(made.rainy).all()
    assert torch.isfinite(made.target).all()


def test_grey_lines_add_one_grey_whatever_lies_behind(good: GoodPair, negative: dict[str, SyntheticNegative]) -> None:
    layer = (negative["grey_lines"].rainy - good.target)[0]
    unclipped = negative["grey_lines"].rainy[0].amax(dim=0) < 1
    torch.testing.assert_close(layer[0][unclipped], layer[1][unclipped], atol=1e-5, rtol=0)
    torch.testing.assert_close(layer[0][unclipped], layer[2][unclipped], atol=1e-5, rtol=0)
    assert 0.15 <= float(layer.max()) <= 0.46
    darker = GoodPair(good.rainy * 0.3, good.target * 0.3, good.other)
    layer_in_the_dark = (make_negative("grey_lines", darker, seeded(7)).rainy - darker.target)[0]
    torch.testing.assert_close(layer_in_the_dark[:, unclipped], layer[:, unclipped], atol=1e-5, rtol=0)


def test_blobs_are_discs_of_one_colour(good: GoodPair, negative: dict[str, SyntheticNegative]) -> None:
    rainy = negative["round_blobs"].rainy[0]
    changed = (rainy - good.target[0]).abs().amax(dim=0) > 0.02
    assert 0.02 < float(changed.float().mean()) < 0.25
    # O = (1 - a) S + a C in one picture: the difference is linear in the scene, with one slope and one intercept.
    scene, difference = good.target[0, 0], (rainy - good.target[0])[0]
    inside = changed & (torch.nn.functional.max_pool2d(-changed[None, None].float(), 5, 1, 2)[0, 0] == -1)
    x, y = scene[inside].double(), difference[inside].double()
    slope, intercept = np.polyfit(x.numpy(), y.numpy(), 1)
    assert -0.8 <= slope <= -0.35
    assert float((y - slope * x - intercept).abs().median()) < 0.02


def test_the_pattern_repeats_itself(good: GoodPair, negative: dict[str, SyntheticNegative]) -> None:
    rainy, target = negative["repeated_pattern"].rainy[0, 1], good.target[0, 1]
    rain = 1 - (1 - rainy) / (1 - target).clamp(min=1e-3)
    errors = [float((rain[:, shift:] - rain[:, :-shift]).abs().median()) for shift in range(16, 100)]
    side = 16 + int(np.argmin(errors))
    assert round(0.14 * 192) <= side <= round(0.34 * 192)
    assert min(errors) < 1e-4
    torch.testing.assert_close(rain[side:], rain[:-side], atol=1e-3, rtol=0)


def test_targets_are_spoiled_as_named(good: GoodPair, negative: dict[str, SyntheticNegative]) -> None:
    weight = ((negative["target_still_rainy"].target - good.target) / (good.rainy - good.target))[
        (good.rainy - good.target).abs() > 0.05
    ]
    assert 0.4 <= float(weight.median()) <= 0.85
    assert float(weight.std()) < 1e-3

    def detail(image: Tensor) -> float:
        return float(image.diff(dim=-1).abs().mean())

    assert detail(negative["smoothed_target"].target) < 0.8 * detail(good.target)
    assert detail(negative["blurred_background"].target) < 0.8 * detail(good.target)
    blurred = negative["blurred_background"]
    rain_before, rain_after = good.rainy - good.target, blurred.rainy - blurred.target
    assert torch.corrcoef(torch.stack([rain_before.flatten(), rain_after.flatten()]))[0, 1] > 0.98
    ratio = (
        (negative["colour_shifted_target"].target.mean(dim=(0, 2, 3)) / good.target.mean(dim=(0, 2, 3))).sort().values
    )
    assert ratio[0] < 0.91
    assert ratio[2] > 1.05


def test_moving_is_what_it_says() -> None:
    image = to_tensor(np.ascontiguousarray(skimage.data.astronaut()[:120, 100:260]))
    torch.testing.assert_close(moved(image, (0, 0), 0, 1), image, atol=1e-5, rtol=0)
    right = moved(image, (7, -3), 0, 1)
    torch.testing.assert_close(right[..., 5:110, 10:150], image[..., 8:113, 3:143], atol=1e-4, rtol=0)
    turned = moved(image, (0, 0), 90, 1)
    centre = torch.rot90(image[..., 20:100, 40:120], -1, dims=(-2, -1))
    torch.testing.assert_close(turned[..., 20:100, 40:120], centre, atol=1e-4, rtol=0)
    larger = moved(image, (0, 0), 0, 2)
    assert (
        larger[..., 40:80, 60:100].diff(dim=-1).abs().mean() < 0.8 * image[..., 50:70, 70:90].diff(dim=-1).abs().mean()
    )


def test_refusals_say_what_to_do(good: GoodPair) -> None:
    with pytest.raises(ImageError, match=r"grey_lines, round_blobs.*got 'snowmen'"):
        make_negative("snowmen", good, seeded())
    with pytest.raises(ImageError, match="of one size"):
        GoodPair(good.rainy, good.target[..., :-1], good.other)
    with pytest.raises(ImageError, match="float image"):
        GoodPair((good.rainy * 255).byte(), good.target, good.other)
