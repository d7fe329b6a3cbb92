"""The four types of rain on real photographs: what physics and the contract ask for."""

from collections import Counter

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor

from derain.errors import ImageError
from derain.imaging.color import linear_to_srgb, srgb_to_linear
from derain.imaging.pixels import to_tensor
from derain.rain.compression import compress
from derain.rain.simulate import RainSettings, Severity, compose, simulate
from derain.rain.weather import SIMULATED, SimulatedType
from derain.types import RainType
from references.orientation import dominant_angle_deg

PLAIN = RainSettings(noise_share=0, jpeg_share=0)
PHYSICAL = RainSettings(noise_share=0, jpeg_share=0, look_share=0)
TYPES = list(RainType)


def photograph(height: int = 128, width: int = 144) -> Tensor:
    picture = to_tensor(np.ascontiguousarray(skimage.data.astronaut()))
    return F.interpolate(picture, (height, width), mode="bilinear", antialias=True).clamp(0, 1)


def street(height: int = 128, width: int = 144) -> Tensor:
    """A rocket by night under floodlights."""
    picture = to_tensor(np.ascontiguousarray(skimage.data.rocket()))
    return F.interpolate(picture, (height, width), mode="bilinear", antialias=True).clamp(0, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("rain_type", TYPES)
def test_pictures_stay_in_bounds_and_rain_is_seen(rain_type: RainType) -> None:
    pair = simulate(photograph().repeat(12, 1, 1, 1), rain_type, seeded())
    for image in (pair.rainy, pair.target):
        assert image.shape == (12, 3, 128, 144)
        assert image.dtype == torch.float32
        assert torch.isfinite(image).all()
        assert image.min() >= 0
        assert image.max() <= 1
    difference = (pair.rainy - pair.target).abs().mean(dim=(1, 2, 3))
    assert (difference > 1e-4).all()
    assert len(set(difference.tolist())) == 12  # each picture has its own rain
    assert pair.layers.streaks.min() >= 0
    assert pair.layers.streaks.max() <= 1
    assert pair.layers.veil.min() >= 0
    assert pair.layers.veil.max() < 1
    assert pair.layers.glow.min() >= 0


@pytest.mark.parametrize("rain_type", TYPES)
def test_the_layers_put_together_give_the_rainy_picture(rain_type: RainType) -> None:
    settings = RainSettings(look_share=0.5, noise_share=0.5, jpeg_share=0.5, streaks_behind_drops=0.5)
    pair = simulate(photograph().repeat(8, 1, 1, 1), rain_type, seeded(), settings)
    layers = pair.layers
    torch.testing.assert_close(compose(layers), pair.rainy, atol=2e-3, rtol=0)
    # The equation of the docstring, written out picture by picture.
    for i in range(8):
        encoded = bool(layers.encoded[i])
        scene = linear_to_srgb(layers.scene[i]) if encoded else layers.scene[i]
        rained = (1 - layers.occlusion[i] * layers.streaks[i]) * scene + layers.streaks[i] * layers.streak_light[i]
        misty = (1 - layers.veil[i]) * rained + layers.veil[i] * layers.airlight[i] + layers.glow[i]
        seen = (1 - layers.drop_alpha[i]) * misty + layers.drop_alpha[i] * layers.refraction[i]
        shown = seen.clamp(0, 1) if encoded else linear_to_srgb(seen.clamp(0, 1))
        rainy = compress((shown + layers.noise[i]).clamp(0, 1)[None], layers.jpeg_quality[i : i + 1])[0]
        assert (rainy - pair.rainy[i]).abs().mean() < 1e-4


@pytest.mark.parametrize("rain_type", [RainType.DRS, RainType.NRS])
def test_the_scene_behind_falling_rain_is_the_target(rain_type: RainType) -> None:
    pair = simulate(photograph().repeat(4, 1, 1, 1), rain_type, seeded(), PLAIN)
    torch.testing.assert_close(linear_to_srgb(pair.layers.scene), pair.target, atol=1e-4, rtol=0)


def test_by_day_the_target_is_the_photograph_itself() -> None:
    clean = photograph()
    for rain_type in (RainType.DRS, RainType.DRD):
        assert torch.equal(simulate(clean, rain_type, seeded(), PLAIN).target, clean)
    night = street()
    for rain_type in (RainType.NRS, RainType.NRD):
        assert torch.equal(simulate(night, rain_type, seeded(), PLAIN, is_night=True).target, night)
        assert simulate(clean, rain_type, seeded(), PLAIN).target.mean() < clean.mean()


def test_day_rain_brightens_a_dark_background() -> None:
    dark = (0.25 * photograph()).repeat(8, 1, 1, 1)
    pair = simulate(dark, RainType.DRS, seeded(), PLAIN)
    assert (pair.rainy.mean(dim=(1, 2, 3)) > pair.target.mean(dim=(1, 2, 3))).all()


def test_streaks_nearly_vanish_before_a_white_sky() -> None:
    sky, dark = torch.full((6, 3, 96, 96), 0.98), photograph(96, 96).repeat(6, 1, 1, 1) * 0.3
    residuals = []
    for clean in (sky, dark):
        pair = simulate(clean, RainType.DRS, seeded(4), PHYSICAL.model_copy(update={"veil_share": 0.0}))
        residuals.append((pair.rainy - pair.target).abs().mean())
    assert residuals[0] < 0.5 * residuals[1]


@pytest.mark.parametrize("is_night", [True, False])
def test_night_rain_only_adds_light(is_night: bool) -> None:
    clean = street() if is_night else photograph()
    pair = simulate(clean.repeat(8, 1, 1, 1), RainType.NRS, seeded(), PLAIN, is_night=is_night)
    assert pair.layers.veil.max() == 0
    assert (pair.rainy - pair.target).min() >= -1e-4
    assert (pair.rainy - pair.target).mean() > 1e-3


def test_night_streaks_shine_by_the_lamp_and_take_its_colour() -> None:
    night = torch.full((1, 3, 128, 256), 0.02)
    night[:, :, 56:72, 24:40] = torch.tensor([1.0, 0.85, 0.5]).view(1, 3, 1, 1)
    near, far, red, blue = 0.0, 0.0, 0.0, 0.0
    for seed in range(12):
        light = simulate(night, RainType.NRS, seeded(seed), PLAIN, is_night=True).layers.streak_light
        near += float(light[..., :64].mean())
        far += float(light[..., 192:].mean())
        red += float(light[:, 0, :, :64].mean())
        blue += float(light[:, 2, :, :64].mean())
    assert near > 2.5 * far
    assert far > 0
    assert red > 1.1 * blue


def test_the_residual_runs_in_the_direction_of_its_streaks() -> None:
    settings = PHYSICAL.model_copy(update={"veil_share": 0.0})
    for seed in range(4):
        pair = simulate(photograph(256, 256) * 0.4, RainType.DRS, seeded(seed), settings)
        drawn = dominant_angle_deg(pair.layers.streaks[0, 0])
        light = srgb_to_linear(pair.rainy) - srgb_to_linear(pair.target)
        strength = pair.layers.streak_light - pair.layers.scene  # what a full streak would change
        residual = (light / strength.clamp(min=0.05)).mean(dim=1)[0]
        assert abs(dominant_angle_deg(residual) - drawn) <= 5


@pytest.mark.parametrize("rain_type", TYPES)
def test_the_generator_decides_everything(rain_type: RainType) -> None:
    clean = photograph(64, 80).repeat(3, 1, 1, 1)
    first, second = (simulate(clean, rain_type, seeded(5)) for _ in range(2))
    assert torch.equal(first.rainy, second.rainy)
    assert torch.equal(first.target, second.target)
    assert first.severities == second.severities
    assert not torch.equal(first.rainy, simulate(clean, rain_type, seeded(6)).rainy)


@pytest.mark.parametrize("rain_type", [RainType.DRS, RainType.NRS])
def test_a_larger_photograph_shows_the_same_rain_larger(rain_type: RainType) -> None:
    small, large = photograph(128, 144).repeat(4, 1, 1, 1), photograph(384, 432).repeat(4, 1, 1, 1)
    settings = PHYSICAL.model_copy(update={"zoom_min": 2.0, "zoom_max": 3.0})
    layers = [simulate(clean, rain_type, seeded(), settings).layers for clean in (small, large)]
    for index in range(4):
        shrunk = F.avg_pool2d(layers[1].streaks[index : index + 1], 3).flatten()
        assert torch.corrcoef(torch.stack([shrunk, layers[0].streaks[index].flatten()]))[0, 1] > 0.9
    torch.testing.assert_close(F.avg_pool2d(layers[1].veil, 3), layers[0].veil, atol=0.02, rtol=0)


@pytest.mark.parametrize("rain_type", TYPES)
def test_heavy_rain_changes_more_than_light_rain(rain_type: RainType) -> None:
    changes = []
    for light, heavy in ((1.0, 0.0), (0.0, 1.0)):
        weights = {"light_weight": light, "medium_weight": 0.0, "heavy_weight": heavy}
        pair = simulate(photograph(80, 80).repeat(16, 1, 1, 1), rain_type, seeded(), PLAIN.model_copy(update=weights))
        assert set(pair.severities) == {Severity.LIGHT if light else Severity.HEAVY}
        changes.append((pair.rainy - pair.target).square().mean(dim=(1, 2, 3)).median())
    assert changes[1] > 1.5 * changes[0]


def test_severities_come_in_the_mix_asked_for() -> None:
    counts = Counter(simulate(torch.rand(400, 3, 16, 16), RainType.DRS, seeded()).severities)
    assert counts[Severity.MEDIUM] / 400 == pytest.approx(0.5, abs=0.08)
    assert counts[Severity.LIGHT] / 400 == pytest.approx(0.25, abs=0.08)


def test_the_share_of_benchmark_looks() -> None:
    layers = simulate(torch.rand(300, 3, 16, 16), RainType.DRS, seeded()).layers
    assert layers.encoded.float().mean() == pytest.approx(0.2, abs=0.08)
    assert set(layers.occlusion[layers.encoded].tolist()) == {0.0, 1.0}  # added, and in screen blend


@pytest.mark.parametrize("rain_type", TYPES)
@pytest.mark.parametrize("size", [(16, 16), (37, 53), (20, 90)])
def test_small_and_odd_sizes(rain_type: RainType, size: tuple[int, int]) -> None:
    pair = simulate(photograph(*size).repeat(2, 1, 1, 1), rain_type, seeded())
    assert pair.rainy.shape == (2, 3, *size)
    assert torch.isfinite(pair.rainy).all()


@pytest.mark.parametrize("is_night", [False, True])
@pytest.mark.parametrize("kind", SIMULATED)
def test_black_white_and_double_precision_are_taken(kind: SimulatedType, is_night: bool) -> None:
    extremes = torch.cat([torch.zeros(3, 3, 32, 40), torch.ones(3, 3, 32, 40)]).double()
    pair = simulate(extremes, kind, seeded(), is_night=is_night)
    for image in (pair.rainy, pair.target):
        assert image.dtype == torch.float32
        assert torch.isfinite(image).all()
        assert 0 <= float(image.min()) <= float(image.max()) <= 1


def test_noise_stays_out_of_the_target() -> None:
    clean = torch.full((6, 3, 64, 64), 0.2)
    pair = simulate(clean, RainType.NRD, seeded(), RainSettings(noise_share=1, jpeg_share=0), is_night=True)
    assert torch.equal(pair.target, clean)
    spread = pair.layers.noise.std(dim=(1, 2, 3))
    assert (spread > 0).all()
    assert spread.max() < 0.03


@pytest.mark.parametrize("wrong", [torch.rand(3, 16, 16), torch.rand(1, 1, 16, 16), torch.zeros(1, 3, 16, 16).byte()])
def test_another_shape_or_type_is_refused(wrong: Tensor) -> None:
    with pytest.raises(ImageError, match=r"wanted clean photographs .* got .*; convert"):
        simulate(wrong, RainType.DRS, seeded())
