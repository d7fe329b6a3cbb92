"""Drops on glass: what is seen through them, how much they cover, and that they look alike at every resolution."""

import math

import pytest
import skimage.data
import torch
from torch import Tensor
from torch.nn import functional

from derain.imaging.color import linear_to_srgb, luminance, srgb_to_linear
from derain.rain.drop_optics import Optics, rasterise_drops
from derain.rain.drop_shapes import DAY_COVERAGES, Drops, GlassStyle, join, select, spread_drops
from derain.rain.drops import DropLayers, composite_drops, lens_copy, look_through, render_drops
from derain.rain.night import NightScene, day_to_night
from derain.rain.random_sampler import RandomSampler

CLEAR = Optics(
    span=0.4,
    brightness=1.0,
    veil=0.0,
    rim=0.0,
    rim_width=0.2,
    slope=0.0,
    spot=0.0,
    spot_size=0.15,
    spot_angle=0.0,
    crescent=0.0,
    sparkle=0.0,
)
"""Drops that only refract."""


def photograph(name: str, height: int, width: int) -> Tensor:
    pixels = torch.from_numpy(getattr(skimage.data, name)()[..., :3].copy()).permute(2, 0, 1)[None].float() / 255
    return srgb_to_linear(functional.interpolate(pixels, (height, width), mode="area"))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def round_drop(x: float, y: float, radius: float, defocus: float = 0.001) -> Drops:
    one, none = torch.ones(1), torch.zeros(1)
    return Drops(
        x=x * one,
        y=y * one,
        radius=radius * one,
        stretch=one,
        axis=none,
        lobe_x=none,
        lobe_y=none,
        lobe_radius=0.3 * one,
        amplitude=torch.zeros(1, 4),
        phase=torch.zeros(1, 4),
        opacity=one,
        defocus=defocus * one,
    )


def seen_through(scene: Tensor, drops: Drops) -> tuple[Tensor, Tensor]:
    """(alpha, what is seen) for clear drops before one scene."""
    _, _, height, width = scene.shape
    optics = torch.tensor([list(vars(CLEAR).values())])
    glass = rasterise_drops(drops, torch.zeros(len(drops.x), dtype=torch.long), optics, 1, height, width)
    weight = glass.weight.clamp(min=1e-12)
    seen = look_through(lens_copy(scene), glass.shift / weight, glass.coarse / weight) * glass.gain / weight
    return 1 - torch.exp(glass.clearness), seen


def halves(x: Tensor, inside: Tensor) -> tuple[float, float, float, float]:
    """Means of the upper, lower, left and right half of what is `inside`, of a picture centred on a drop."""
    height, width = x.shape[-2:]
    mean = x.mean(dim=1, keepdim=True)
    upper = torch.zeros_like(inside)
    upper[..., : height // 2, :] = True
    left = torch.zeros_like(inside)
    left[..., : width // 2] = True
    return tuple(float(mean[inside & part].mean()) for part in (upper, ~upper, left, ~left))  # type: ignore[return-value]


def test_composition_equals_the_equation_written_out_pixel_by_pixel() -> None:
    generator = seeded(1)
    scene, seen = torch.rand(2, 3, 5, 4, generator=generator), 3 * torch.rand(2, 3, 5, 4, generator=generator)
    alpha = torch.rand(2, 1, 5, 4, generator=generator)
    together = composite_drops(scene, seen, alpha)
    for b in range(2):
        for y in range(5):
            for x in range(4):
                a = float(alpha[b, 0, y, x])
                for c in range(3):
                    expected = (1 - a) * float(scene[b, c, y, x]) + a * float(seen[b, c, y, x])
                    assert float(together[b, c, y, x]) == pytest.approx(expected, abs=1e-6)


def test_a_drop_shows_the_sky_in_its_lower_half() -> None:
    scene = torch.full((1, 3, 128, 128), 0.05)
    scene[..., :64, :] = 0.9
    alpha, seen = seen_through(scene, round_drop(0.5, 0.5, 0.12))
    upper, lower, left, right = halves(seen, alpha > 0.9)
    assert lower > 3 * upper
    assert left == pytest.approx(right, rel=0.05)


def test_a_drop_shows_the_left_of_the_scene_on_its_right() -> None:
    scene = torch.full((1, 3, 128, 128), 0.05)
    scene[..., :64] = 0.9
    alpha, seen = seen_through(scene, round_drop(0.5, 0.5, 0.12))
    upper, lower, left, right = halves(seen, alpha > 0.9)
    assert right > 3 * left
    assert upper == pytest.approx(lower, rel=0.05)


def test_the_view_through_a_drop_is_the_formula() -> None:
    """X = c - k q r (1 + 1.5 |q|^2), read off the shift at each pixel; k r is the span."""
    height = 96
    optics = torch.tensor([list(vars(CLEAR).values())])
    glass = rasterise_drops(round_drop(0.5, 0.5, 0.05), torch.zeros(1, dtype=torch.long), optics, 1, height, height)
    shift = glass.shift / glass.weight.clamp(min=1e-12)
    for row, column in ((48, 50), (45, 48), (50, 45), (50, 49)):
        q_x, q_y = (column + 0.5 - 48) / 4.8, (row + 0.5 - 48) / 4.8
        bend = 1 + 1.5 * (q_x**2 + q_y**2)
        assert float(shift[0, 0, row, column]) == pytest.approx(-CLEAR.span * height * q_x * bend, rel=1e-3)
        assert float(shift[0, 1, row, column]) == pytest.approx(-CLEAR.span * height * q_y * bend, rel=1e-3)


def test_a_sharp_round_drop_covers_a_disc_and_a_soft_one_fades_from_its_middle() -> None:
    scene = torch.full((1, 3, 128, 128), 0.5)
    sharp, _ = seen_through(scene, round_drop(0.5, 0.5, 0.1))
    assert float(sharp.sum()) == pytest.approx(math.pi * 12.8**2, rel=0.05)
    soft, _ = seen_through(scene, round_drop(0.5, 0.5, 0.1, defocus=0.09))
    row = soft[0, 0, 64, 64:]
    assert bool((row.diff() <= 1e-6).all())
    assert float(row[9]) < 0.95 < float(row[0])
    assert float(soft[0, 0, 64, 64 + 15]) > 0.01 > float(sharp[0, 0, 64, 64 + 15])


def test_a_drop_smaller_than_the_blur_of_the_glass_is_faint() -> None:
    scene = torch.full((1, 3, 128, 128), 0.5)
    alpha, _ = seen_through(scene, round_drop(0.5, 0.5, 0.01, defocus=0.04))
    assert 0 < float(alpha.max()) < 0.2


def test_overlapping_drops_do_not_exceed_full_cover_and_the_deeper_one_is_seen() -> None:
    scene = torch.full((1, 3, 96, 96), 0.5)
    pair = join([round_drop(0.4, 0.5, 0.15), round_drop(0.55, 0.5, 0.15)])
    alpha, _ = seen_through(scene, pair)
    assert float(alpha.max()) <= 1
    both = rasterise_drops(
        pair, torch.zeros(2, dtype=torch.long), torch.tensor([list(vars(CLEAR).values())]), 1, 96, 96
    )
    left = rasterise_drops(
        select(pair, torch.tensor([0])),
        torch.zeros(1, dtype=torch.long),
        torch.tensor([list(vars(CLEAR).values())]),
        1,
        96,
        96,
    )
    at_left_centre = (..., 48, 38)
    together = (both.shift / both.weight)[at_left_centre]
    alone = (left.shift / left.weight)[at_left_centre]
    torch.testing.assert_close(together, alone, atol=3.0, rtol=0.1)


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_layers_stay_within_their_bounds(name: str) -> None:
    linear = photograph(name, 128, 160).repeat(3, 1, 1, 1)
    layers = render_drops(linear, None, ["light", "medium", "heavy"], seeded(5))
    assert layers.alpha.shape == (3, 1, 128, 160)
    assert layers.refraction.shape == layers.scene.shape == linear.shape
    for layer in (layers.alpha, layers.refraction, layers.scene):
        assert bool(torch.isfinite(layer).all())
        assert float(layer.min()) >= 0
    assert float(layers.alpha.max()) <= 1
    assert float(layers.scene.max()) <= 1


def coverage(severity: str, count: int) -> list[float]:
    scenes = torch.full((count, 3, 96, 128), 0.3)
    alpha = render_drops(scenes, None, [severity] * count, seeded(0)).alpha
    return (alpha > 0.3).float().mean(dim=(1, 2, 3)).tolist()


def test_cover_grows_with_severity_and_lies_in_the_range_of_real_collections() -> None:
    shares = {severity: torch.tensor(coverage(severity, 24)) for severity in DAY_COVERAGES}
    means = [float(share.mean()) for share in shares.values()]
    assert means[0] < 0.6 * means[1] < 0.6 * 0.8 * means[2]
    assert 0.01 < means[0] < 0.08
    assert 0.15 < means[2] < 0.45
    assert float(torch.cat(list(shares.values())).max()) < 0.7


def test_severity_lowers_psnr() -> None:
    linear = photograph("coffee", 128, 192)

    def median_psnr(severity: str) -> float:
        layers = render_drops(linear.expand(16, -1, -1, -1), None, [severity] * 16, seeded(0))
        rainy = composite_drops(layers.scene, layers.refraction, layers.alpha).clamp(0, 1)
        errors = (linear_to_srgb(rainy) - linear_to_srgb(linear)).square().mean(dim=(1, 2, 3))
        return float(-10 * torch.log10(errors.median()))

    light, medium, heavy = (median_psnr(severity) for severity in DAY_COVERAGES)
    assert light > medium + 2 > heavy + 4
    assert 12 < heavy < 21
    assert 23 < light < 35


@pytest.mark.parametrize("style", list(GlassStyle))
def test_sizes_scale_with_the_height_of_the_picture(style: GlassStyle) -> None:
    """The same seed gives the same pane at twice the resolution."""
    optics = torch.tensor([list(vars(CLEAR).values())])
    alphas = []
    for height in (128, 256):
        drops = spread_drops(style, "medium", 1.0, False, RandomSampler(seeded(3)))
        glass = rasterise_drops(drops, torch.zeros(len(drops.x), dtype=torch.long), optics, 1, height, height)
        alphas.append(1 - torch.exp(glass.clearness))
    difference = (functional.avg_pool2d(alphas[1], 2) - alphas[0]).abs()
    assert float(difference.mean()) < 0.02
    assert float(alphas[0].mean()) > 0.01


def test_the_whole_rendering_scales_with_the_height_of_the_picture() -> None:
    small, large = (photograph("astronaut", height, height) for height in (128, 256))
    at_128 = render_drops(small, None, ["heavy"], seeded(8))
    at_256 = render_drops(large, None, ["heavy"], seeded(8))
    for name, tolerance in (("alpha", 0.03), ("refraction", 0.05), ("scene", 0.03)):
        coarse, fine = getattr(at_128, name), functional.avg_pool2d(getattr(at_256, name), 2)
        seen = (at_128.alpha > 0.3) if name == "refraction" else torch.ones_like(at_128.alpha, dtype=torch.bool)
        error = (coarse - fine).abs().mean(dim=1, keepdim=True)[seen].mean()
        assert float(error) < tolerance, name


def same(first: DropLayers, second: DropLayers) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("alpha", "refraction", "scene"))


def test_the_generator_alone_decides() -> None:
    linear = photograph("chelsea", 64, 96)
    assert same(render_drops(linear, None, ["medium"], seeded(4)), render_drops(linear, None, ["medium"], seeded(4)))
    assert not same(
        render_drops(linear, None, ["medium"], seeded(4)), render_drops(linear, None, ["medium"], seeded(5))
    )


def test_each_picture_of_a_batch_has_its_own_drops() -> None:
    linear = photograph("chelsea", 64, 96).repeat(2, 1, 1, 1)
    layers = render_drops(linear, None, ["heavy", "heavy"], seeded(4))
    assert float((layers.alpha[0] - layers.alpha[1]).abs().mean()) > 0.02


def test_drops_near_a_lamp_are_brighter_than_drops_in_the_dark() -> None:
    linear, lamps = torch.full((1, 3, 96, 192), 0.002), torch.zeros(1, 3, 96, 192)
    lamps[..., 46:50, 22:26] = 20.0
    linear = torch.maximum(linear, lamps).clamp(max=1)
    near, far = [], []
    for seed in range(8):
        layers = render_drops(linear, lamps, ["heavy"], seeded(seed))
        light = luminance(layers.refraction * layers.alpha)
        near.append(light[..., :48].sum() / layers.alpha[..., :48].sum())
        far.append(light[..., 144:].sum() / layers.alpha[..., 144:].sum())
    assert float(torch.stack(near).median()) > 2 * float(torch.stack(far).median())


def test_a_scene_in_the_dark_stays_dark() -> None:
    dark = torch.full((1, 3, 64, 96), 0.003)
    layers = render_drops(dark, torch.zeros_like(dark), ["heavy"], seeded(2))
    assert float(composite_drops(layers.scene, layers.refraction, layers.alpha).max()) < 0.02


def test_by_day_drops_take_light_from_the_sky_even_before_a_dark_scene() -> None:
    dark = torch.full((1, 3, 64, 96), 0.003)
    brightest = [float(render_drops(dark, None, ["heavy"], seeded(seed)).refraction.max()) for seed in range(6)]
    assert max(brightest) > 0.05


def test_lamps_beyond_white_sparkle_in_drops() -> None:
    scene = day_to_night(photograph("rocket", 128, 192), seeded(3))
    clipped = NightScene(scene.linear, scene.lamps.clamp(max=1))
    bright = render_drops(scene.linear, scene.lamps, ["heavy"], seeded(6)).refraction.max()
    dull = render_drops(clipped.linear, clipped.lamps, ["heavy"], seeded(6)).refraction.max()
    assert float(bright) > float(dull)


@pytest.mark.parametrize(("height", "width"), [(37, 53), (16, 16), (1, 1), (8, 200)])
def test_odd_and_tiny_pictures(height: int, width: int) -> None:
    linear = photograph("coffee", height, width)
    for seed in range(6):
        day = render_drops(linear, None, ["heavy"], seeded(seed))
        night = render_drops(linear, 20 * linear, ["heavy"], seeded(seed))
        for layers in (day, night):
            assert layers.alpha.shape == (1, 1, height, width)
            assert bool(torch.isfinite(layers.refraction).all() and torch.isfinite(layers.scene).all())
