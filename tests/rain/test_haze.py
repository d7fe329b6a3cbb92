"""Haze: the equation of scattering, and how it looks by day and by night."""

import math

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from derain.imaging.color import linear_to_srgb, srgb_to_linear
from derain.imaging.metrics import Protocol, psnr
from derain.imaging.pixels import to_tensor
from derain.rain.haze import day_airlight, haze_veil, night_airlight, transmission
from derain.rain.night import night_scene
from derain.rain.random_sampler import RandomSampler
from derain.rain.settings import RainSettings
from derain.rain.simulate import simulate
from derain.types import Weather

PLAIN = RainSettings(noise_share=0, jpeg_share=0)


def sampler(seed: int = 0) -> RandomSampler:
    return RandomSampler(torch.Generator().manual_seed(seed))


def photograph(name: str, height: int = 120, width: int = 144) -> Tensor:
    picture = to_tensor(np.ascontiguousarray(getattr(skimage.data, name)()))
    return torch.nn.functional.interpolate(picture, (height, width), mode="area").clamp(0, 1)


def of_severity(name: str) -> RainSettings:
    weights = {f"{severity}_weight": float(severity == name) for severity in ("light", "medium", "heavy")}
    return PLAIN.model_copy(update=weights)


def test_light_falls_by_the_same_share_over_each_stretch() -> None:
    near, far = transmission(torch.tensor(0.3), 1.7), transmission(torch.tensor(0.9), 1.7)
    torch.testing.assert_close(near**3, far)
    torch.testing.assert_close(float(near), math.exp(-0.51))


def test_veil_reaches_the_wanted_transmission_at_the_far_end() -> None:
    depth = torch.linspace(0, 1, 50).view(1, 1, 50, 1).expand(1, 1, 50, 40).contiguous()
    veil = haze_veil(depth, 0.4, sampler())
    assert (veil[..., 0, :] == 0).all()
    assert 0.4 ** (7 / 6) <= float(1 - veil[..., -1, :].max()) <= float(1 - veil[..., -1, :].min()) <= 0.4 ** (5 / 6)
    assert float(veil.std(dim=3).max()) > 0.005


def test_hazy_picture_is_the_scattering_equation_in_linear_light() -> None:
    pair = simulate(photograph("astronaut").repeat(4, 1, 1, 1), Weather.HAZE, torch.Generator().manual_seed(0), PLAIN)
    arriving = 1 - pair.layers.veil
    linear = srgb_to_linear(pair.target) * arriving + pair.layers.airlight * (1 - arriving)
    torch.testing.assert_close(pair.rainy, linear_to_srgb(linear), atol=1e-4, rtol=0)


def test_contrast_is_lost_and_more_of_it_in_thicker_haze() -> None:
    clean = photograph("coffee").repeat(12, 1, 1, 1)
    pairs = [
        simulate(clean, Weather.HAZE, torch.Generator().manual_seed(1), of_severity(name))
        for name in ("light", "medium", "heavy")
    ]
    quality = [float(psnr(pair.rainy, pair.target, Protocol.RGB).mean()) for pair in pairs]
    assert quality[0] > quality[1] + 1.5
    assert quality[1] > quality[2] + 1.5
    contrast = [float(srgb_to_linear(pair.rainy).std(dim=(2, 3)).mean()) for pair in pairs]
    assert contrast[0] > contrast[1] > contrast[2]


def test_airlight_is_pale_and_at_least_as_bright_as_overcast_sky() -> None:
    light = day_airlight(srgb_to_linear(photograph("coffee")).repeat(30, 1, 1, 1), sampler())
    assert light.shape == (30, 3, 1, 1)
    assert float(light.min()) > 0.25
    assert float(light.max()) <= 0.97
    assert float((light.amax(dim=1) - light.amin(dim=1)).max()) < 0.35
    assert float(light.mean(dim=1).std()) > 0.03


def test_airlight_before_a_black_scene_is_a_grey_sky() -> None:
    light = day_airlight(torch.zeros(30, 3, 24, 24), sampler())
    assert 0.25 < float(light.min()) < float(light.max()) <= 0.97
    assert float((light.amax(dim=1) - light.amin(dim=1)).max()) < 0.2


def test_haze_by_night_takes_the_colour_of_lamps() -> None:
    linear = torch.full((1, 3, 96, 96), 0.01)
    linear[:, 0, 20:24, 20:24] = 1.0
    linear[:, 1, 20:24, 20:24] = 0.3
    light = night_airlight(linear, night_scene(linear).lamps, sampler())
    near, away = light[0, :, 22, 30], light[0, :, 90, 90]
    gained = near - away
    assert float(gained[0]) > 0.02
    assert float(gained[0]) > 2 * float(gained[2])


@pytest.mark.parametrize("is_night", [False, True])
def test_target_is_the_photograph(is_night: bool) -> None:
    clean = photograph("rocket")
    pair = simulate(clean, Weather.HAZE, torch.Generator().manual_seed(2), PLAIN, is_night=is_night)
    assert torch.equal(pair.target, clean)
    assert bool(pair.layers.glow.any()) is is_night
