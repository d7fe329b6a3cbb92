"""Night scenes: lamps, the light around them, day turned into night, sensor noise."""

import pytest
import skimage.data
import torch
from torch import Tensor
from torch.nn import functional

from derain.imaging.color import linear_to_srgb, luminance, srgb_to_linear
from derain.rain.night import add_sensor_noise, day_to_night, glow, local_illumination, night_scene
from derain.rain.night_lamps import BRIGHTEST_LAMP

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def photograph(name: str, height: int, width: int) -> Tensor:
    pixels = torch.from_numpy(getattr(skimage.data, name)()[..., :3].copy()).permute(2, 0, 1)[None].float() / 255
    return srgb_to_linear(functional.interpolate(pixels, (height, width), mode="area"))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_lamp(height: int, width: int, row: int, column: int, size: int, colour: tuple[float, float, float]) -> Tensor:
    lamps = torch.zeros(1, 3, height, width)
    lamps[..., row : row + size, column : column + size] = torch.tensor(colour).view(1, 3, 1, 1)
    return lamps


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_day_becomes_a_night_of_the_brightness_of_real_ones(name: str) -> None:
    day = photograph(name, 96, 128)
    for seed in range(6):
        night = day_to_night(day, seeded(seed))
        assert bool(torch.isfinite(night.linear).all() and torch.isfinite(night.lamps).all())
        assert float(night.linear.min()) >= 0
        assert float(night.linear.max()) <= 1
        assert 0.01 < float(luminance(night.linear).mean()) < 0.2
        assert float((night.linear.amax(dim=1) > 0.98).float().mean()) < 0.06
        assert float(luminance(night.linear).quantile(0.995)) > 3 * float(luminance(night.linear).mean())


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_every_night_has_lamps_that_exceed_white_and_show_in_the_picture(name: str) -> None:
    day = photograph(name, 96, 128)
    brightest = []
    for seed in range(6):
        night = day_to_night(day, seeded(seed))
        assert float(night.lamps.max()) <= BRIGHTEST_LAMP
        lit = night.lamps.amax(dim=1) > 1
        brightest.append(float(night.lamps.max()))
        assert bool((night.linear.amax(dim=1)[lit] > 0.99).all())
    assert min(brightest) > 0.5
    assert max(brightest) > 3


def test_the_sky_goes_dark_and_the_ground_stays_lit() -> None:
    day = torch.full((1, 3, 96, 128), 0.2)
    day[..., :48, :] = torch.tensor([0.55, 0.7, 0.9]).view(1, 3, 1, 1)
    ratios = []
    for seed in range(8):
        light = luminance(day_to_night(day, seeded(seed)).linear)
        ratios.append(light[..., :40, :].median() / light[..., 56:, :].median())
    assert float(torch.stack(ratios).median()) < 0.5


@pytest.mark.parametrize(("height", "width"), [(37, 53), (16, 16), (1, 1), (8, 200)])
def test_odd_and_tiny_pictures(height: int, width: int) -> None:
    day = photograph("coffee", height, width)
    night = day_to_night(day, seeded(2))
    found = night_scene(day)
    for layer in (
        night.linear,
        night.lamps,
        found.lamps,
        local_illumination(night.lamps),
        glow(night.lamps, seeded(1)),
    ):
        assert layer.shape == day.shape
        assert bool(torch.isfinite(layer).all())
        assert float(layer.min()) >= 0


def test_black_and_white_pictures_are_no_exception() -> None:
    for level in (0.0, 1.0):
        night = day_to_night(torch.full((1, 3, 32, 48), level), seeded(1))
        assert bool(torch.isfinite(night.linear).all())
        assert float((night.linear.amax(dim=1) > 0.98).float().mean()) < 0.3


def test_the_generator_alone_decides_and_pictures_of_a_batch_differ() -> None:
    day = photograph("chelsea", 64, 96).repeat(2, 1, 1, 1)
    first, second, other = (day_to_night(day, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.linear, second.linear)
    assert torch.equal(first.lamps, second.lamps)
    assert not torch.equal(first.linear, other.linear)
    assert not torch.equal(first.linear[0], first.linear[1])


def test_a_night_looks_alike_at_twice_the_resolution() -> None:
    small, large = (day_to_night(photograph("coffee", size, size), seeded(5)) for size in (128, 256))
    light, fine = luminance(small.linear), luminance(functional.avg_pool2d(large.linear, 2))
    assert float((light - fine).abs().mean()) < 0.1 * float(light.mean()) + 0.005


def test_lamps_are_found_where_a_night_photograph_is_clipped_and_small_ones_are_raised_most() -> None:
    night = torch.full((1, 3, 128, 128), 0.01)
    night[..., 20:23, 20:23] = 1.0  # a lamp
    night[..., 60:120, 30:110] = 0.97  # a lit wall
    scene = night_scene(night)
    assert torch.equal(scene.linear, night)
    assert float(scene.lamps[..., 21, 21].max()) > 10
    assert float(scene.lamps[..., 90, 70].max()) < 1.5
    assert float(scene.lamps[..., 40, 100].max()) == 0


def test_the_hue_lost_in_a_clipped_lamp_comes_from_its_halo() -> None:
    night = torch.full((1, 3, 128, 128), 0.005)
    night[:, 0, 58:70, 58:70] = 0.5  # a red halo
    night[..., 62:66, 62:66] = 1.0
    red, green, _ = night_scene(night).lamps[0, :, 63, 63].tolist()
    assert red > 1.5 * green


def test_a_night_without_lamps_casts_no_light() -> None:
    dark = torch.full((1, 3, 48, 64), 0.02)
    lamps = night_scene(dark).lamps
    assert float(lamps.max()) == 0
    assert float(local_illumination(lamps).max()) == 0
    assert float(glow(lamps, seeded(1)).max()) < 1e-6


def test_illumination_is_strongest_at_the_lamp_keeps_its_colour_and_falls_with_distance() -> None:
    light = local_illumination(one_lamp(128, 256, 60, 60, 6, (20.0, 8.0, 2.0)))
    assert float(light.max()) == pytest.approx(1.0, abs=1e-5)
    row = light[0, 0, 63, 63:200]
    assert float(row[0]) > 0.8 > 0.2 > float(row[30]) > float(row[80]) >= 0
    assert float(light[0, 1, 63, 90] / light[0, 0, 63, 90]) == pytest.approx(0.4, abs=0.01)


def test_illumination_is_the_sum_of_three_blurs() -> None:
    """Against the sum written with one dense Gaussian matrix per direction, on a small picture."""
    height, width = 64, 80
    lamps = torch.zeros(1, 3, height, width)
    lamps[..., 20:44, 24:56] = torch.rand(1, 3, 24, 32, generator=seeded(1)) ** 8

    def matrix(size: int, sigma: float) -> Tensor:
        """Rows hold the weights of each output pixel; what lies beyond a border has the border's value."""
        reach = size * 4
        places = torch.arange(-reach, size + reach)
        weights = torch.exp(-0.5 * ((places[None, :] - torch.arange(size)[:, None]) / sigma) ** 2)
        weights = weights / weights.sum(dim=1, keepdim=True)
        folded = torch.zeros(size, size)
        return folded.index_add_(1, places.clamp(0, size - 1), weights)

    total = torch.zeros_like(lamps)
    for share, spread in ((1.0, 0.02), (0.6, 0.06), (0.3, 0.2)):
        rows, columns = matrix(height, spread * height), matrix(width, spread * height)
        total += share * torch.einsum("yr,bcrs,xs->bcyx", rows, lamps, columns)
    expected = total / total.max()
    torch.testing.assert_close(local_illumination(lamps), expected, atol=0.05, rtol=0)
    assert float((local_illumination(lamps) - expected).abs().mean()) < 0.01


def test_glow_is_light_of_the_lamps_spread_around_them() -> None:
    lamps = one_lamp(96, 96, 46, 46, 4, (20.0, 10.0, 5.0))
    for seed in range(5):
        veil = glow(lamps, seeded(seed))
        assert float(veil.min()) >= 0
        share = float(veil.sum() / lamps.sum())
        assert 0.05 < share < 0.65
        peak = veil[0, 0].argmax()
        assert abs(int(peak) // 96 - 47.5) < 3
        assert abs(int(peak) % 96 - 47.5) < 3
        assert float(veil[0, 1].sum() / veil[0, 0].sum()) == pytest.approx(0.5, abs=0.01)
        assert float(veil[0, 0, 48, 70]) < 0.5 * float(veil[0, 0, 48, 52])


def test_glow_does_not_wrap_around_the_border() -> None:
    veil = glow(one_lamp(64, 64, 30, 0, 3, (20.0, 20.0, 20.0)), seeded(1))
    assert float(veil[0, 0, 30, 60]) < 0.2 * float(veil[0, 0, 30, 4])


def test_noise_keeps_the_mean_and_stays_below_its_bound_in_the_encoded_picture() -> None:
    for level in (0.001, 0.02, 0.3, 0.8):
        linear = torch.full((32, 3, 32, 32), level)
        noisy = add_sensor_noise(linear, seeded(1), 0.03)
        assert float(noisy.mean()) == pytest.approx(level, rel=0.05, abs=3e-4)
        deviation = (linear_to_srgb(noisy) - linear_to_srgb(linear)).flatten(1).std(dim=1)
        assert float(deviation.max()) < 0.033
        assert float(deviation.max()) > 2.5 * float(deviation.min())


def test_noise_of_strength_zero_changes_nothing() -> None:
    linear = photograph("coffee", 24, 32)
    torch.testing.assert_close(add_sensor_noise(linear, seeded(1), 0.0), linear)
