"""Snow on real photographs: bounds, its light, and the equation that it is composed by."""

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from derain.imaging.color import linear_to_srgb
from derain.imaging.metrics import Protocol, psnr
from derain.imaging.pixels import to_tensor
from derain.rain.settings import RainSettings
from derain.rain.simulate import simulate
from derain.types import Weather

PLAIN = RainSettings(noise_share=0, jpeg_share=0)


def photograph(height: int = 128, width: int = 144) -> Tensor:
    picture = to_tensor(np.ascontiguousarray(skimage.data.rocket()))
    return torch.nn.functional.interpolate(picture, (height, width), mode="area").clamp(0, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("is_night", [False, True])
def test_pictures_stay_in_bounds_and_are_made_of_their_layers(is_night: bool) -> None:
    clean = photograph().repeat(6, 1, 1, 1)
    pair = simulate(clean, Weather.SNOW, seeded(), PLAIN, is_night=is_night)
    layers = pair.layers
    assert torch.equal(pair.target, clean)
    assert torch.isfinite(pair.rainy).all()
    assert (pair.rainy.min(), pair.rainy.max()) >= (0, 0)
    assert pair.rainy.max() <= 1
    assert layers.drop_alpha.min() >= 0
    assert layers.drop_alpha.max() <= 1
    assert ((layers.drop_alpha > 0.2).float().mean(dim=(1, 2, 3)) > 1e-4).all()
    veiled = layers.scene * (1 - layers.veil) + layers.airlight * layers.veil
    linear = veiled * (1 - layers.drop_alpha) + layers.refraction * layers.drop_alpha
    torch.testing.assert_close(pair.rainy, linear_to_srgb(linear.clamp(0, 1)), atol=1e-4, rtol=0)
    assert len({round(float(picture.mean()), 6) for picture in pair.rainy}) == 6


def test_heavier_snow_hides_more() -> None:
    clean = photograph().repeat(12, 1, 1, 1)
    quality = []
    for name in ("light", "medium", "heavy"):
        weights = {f"{severity}_weight": float(severity == name) for severity in ("light", "medium", "heavy")}
        pair = simulate(clean, Weather.SNOW, seeded(1), PLAIN.model_copy(update=weights))
        quality.append(float(psnr(pair.rainy, pair.target, Protocol.RGB).mean()))
    assert quality[0] > quality[1] + 1
    assert quality[1] > quality[2] + 1


def test_flakes_are_bright_before_the_dark_and_unseen_before_white() -> None:
    scene = torch.full((8, 3, 128, 128), 0.15)
    scene[..., :64, :] = 1.0
    pair = simulate(scene, Weather.SNOW, seeded(2), PLAIN)
    flake = pair.layers.drop_alpha > 0.5
    light = pair.layers.refraction.mean(dim=1, keepdim=True)
    dark_half = flake.clone()
    dark_half[..., :64, :] = False
    assert float(light[dark_half].mean()) > 0.4  # the scene there is 0.02
    difference = (pair.rainy - pair.target).abs().mean(dim=1, keepdim=True)
    assert float(difference[..., 64:, :].mean()) > 3 * float(difference[..., :64, :].mean())


def test_snow_does_not_stop_at_a_level_line_in_the_open() -> None:
    scene = torch.full((32, 3, 128, 144), 0.3)
    alpha = simulate(scene, Weather.SNOW, seeded(), PLAIN).layers.drop_alpha
    top, *_, bottom = alpha.mean(dim=(1, 3)).unflatten(1, (4, 32)).mean(dim=2).unbind(dim=1)
    assert float((bottom / top).min()) > 0.4
    assert float((bottom / top).median()) > 0.7


def test_by_night_flakes_shine_near_lamps() -> None:
    scene = torch.full((6, 3, 128, 128), 0.08)
    scene[..., 20:25, 20:25] = 1.0
    pair = simulate(scene, Weather.SNOW, seeded(3), PLAIN, is_night=True)
    light = pair.layers.refraction.mean(dim=1, keepdim=True)
    seen = pair.layers.drop_alpha > 0.1
    near, away = seen.clone(), seen.clone()
    near[..., 48:, :], near[..., 48:] = False, False
    away[..., :96, :] = False
    assert float(light[near].mean()) > 2 * float(light[away].mean())


def test_a_larger_picture_shows_the_same_snow_larger() -> None:
    clean = photograph(96, 120)
    large = torch.nn.functional.interpolate(clean, (288, 360), mode="bilinear", align_corners=False)
    settings = PLAIN.model_copy(update={"zoom_min": 2.0, "zoom_max": 2.0, "light_weight": 0.0, "medium_weight": 0.0})
    small_alpha = simulate(clean, Weather.SNOW, seeded(4), settings).layers.drop_alpha
    large_alpha = simulate(large, Weather.SNOW, seeded(4), settings).layers.drop_alpha
    shrunk = torch.nn.functional.interpolate(large_alpha, (96, 120), mode="area")
    both = torch.stack([shrunk.flatten(), small_alpha.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.9
