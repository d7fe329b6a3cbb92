"""Drawn streaks: against the slow obvious version, and their physics."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from derain.rain.streaks import (
    STEEPEST_ANGLE_DEG,
    Streaks,
    StreakStyle,
    draw_streaks,
    rasterise,
    sample_streaks,
    streak_profile,
    zoomed,
)
from references.orientation import dominant_angle_deg

SHOWER = StreakStyle(density=800, angle_deg=12, angle_spread_deg=1, length=60, width=3, strength=0.3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_streak(x: float, y: float, angle_deg: float, half_length: float = 12.0, sigma: float = 1.7) -> Streaks:
    def number(value: float) -> Tensor:
        return torch.tensor([value])

    return Streaks(
        picture=torch.tensor([0]),
        x=number(x),
        y=number(y),
        angle_deg=number(angle_deg),
        half_length=number(half_length),
        sigma=number(sigma),
        peak=number(0.8),
        oscillation=number(0.4),
        cycles=number(2.0),
        phase=number(0.5),
        taper=number(0.3),
    )


@pytest.mark.parametrize("angle_deg", [0.0, 20.0, -44.0, STEEPEST_ANGLE_DEG, -STEEPEST_ANGLE_DEG])
@pytest.mark.parametrize("place", [(20.3, 24.6), (1.0, 2.0), (38.7, 44.1)])
def test_a_streak_is_its_profile_at_every_pixel(angle_deg: float, place: tuple[float, float]) -> None:
    streak = one_streak(*place, angle_deg)
    drawn = rasterise(streak, 1, 48, 40)[0, 0]
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(40) + 0.5, indexing="ij")
    dx, dy = x - place[0], y - place[1]
    sine, cosine = math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))
    across = dx * cosine - dy * sine
    expected = streak_profile(dx * sine + dy * cosine, across, streak)
    core = across.abs() < 2.5 * 1.7
    assert expected[core].max() > 0.5
    torch.testing.assert_close(drawn[core], expected[core], atol=1e-5, rtol=1e-4)
    assert (drawn[~core] <= expected[~core] + 1e-5).all()  # cut off, never brighter


def test_streaks_add_up_and_stay_in_their_picture() -> None:
    first, second = one_streak(20, 20, 10), one_streak(22, 25, -30)
    joined = {name: torch.cat([value, vars(second)[name]]) for name, value in vars(first).items()}
    together = rasterise(Streaks(**joined), 1, 48, 40)
    torch.testing.assert_close(together, rasterise(first, 1, 48, 40) + rasterise(second, 1, 48, 40))
    apart = rasterise(Streaks(**{**joined, "picture": torch.tensor([0, 1])}), 2, 48, 40)
    torch.testing.assert_close(apart[1:], rasterise(second, 1, 48, 40))


@pytest.mark.parametrize("angle_deg", [-40.0, -15.0, 0.0, 25.0, 45.0])
def test_streaks_fall_in_the_direction_asked_for(angle_deg: float) -> None:
    style = StreakStyle(density=600, angle_deg=angle_deg, angle_spread_deg=1, length=80, width=4, strength=0.3)
    field = draw_streaks([[style]], 256, 320, seeded())[0, 0]
    assert abs(dominant_angle_deg(field) - angle_deg) <= 5


def test_a_larger_picture_shows_the_same_rain_larger() -> None:
    small = draw_streaks([[SHOWER]], 192, 256, seeded())
    large = draw_streaks([[SHOWER]], 576, 768, seeded())
    difference = (F.avg_pool2d(large, 3) - small).square().mean().sqrt()
    assert difference < 0.12 * small.std()


def test_thin_streaks_keep_their_light_when_the_picture_shrinks() -> None:
    style = StreakStyle(density=4000, angle_deg=5, angle_spread_deg=3, length=15, width=1.0, strength=0.1)
    means = [draw_streaks([[style]], height, height, seeded()).mean() for height in (96, 384)]
    assert means[0] == pytest.approx(float(means[1]), rel=0.1)


def test_defocus_spreads_the_light_and_lowers_the_peak() -> None:
    sharp = StreakStyle(density=20, angle_deg=0, angle_spread_deg=1, length=120, width=3, strength=0.4)
    soft = StreakStyle(density=20, angle_deg=0, angle_spread_deg=1, length=120, width=3, strength=0.4, defocus=5)
    fields = [draw_streaks([[style]], 512, 512, seeded(3)) for style in (sharp, soft)]
    assert fields[1].max() < 0.5 * fields[0].max()
    assert fields[1].sum() == pytest.approx(float(fields[0].sum()), rel=0.15)


def test_what_stands_nearer_hides_a_distant_layer() -> None:
    distant = StreakStyle(density=3000, angle_deg=0, angle_spread_deg=1, length=10, width=2, strength=0.3, distance=0.5)
    depth = torch.cat([torch.full((1, 1, 128, 128), 0.9), torch.full((1, 1, 128, 128), 0.1)], dim=-2)
    field = draw_streaks([[distant]], 256, 128, seeded(), depth)[0, 0]
    open_field = draw_streaks([[distant]], 256, 128, seeded())[0, 0]
    torch.testing.assert_close(field[:110], open_field[:110])
    assert field[150:].max() == 0
    assert open_field[150:].max() > 0.1


def test_zoom_makes_streaks_larger_and_fewer() -> None:
    near, far = (sample_streaks([[zoomed(SHOWER, zoom)]], 512, 512, seeded()) for zoom in (2.0, 1.0))
    assert near.half_length.mean() == pytest.approx(2 * float(far.half_length.mean()), rel=0.1)
    assert len(near.x) < 0.5 * len(far.x)


def test_a_picture_without_streaks_stays_empty_beside_one_with() -> None:
    field = draw_streaks([[], [SHOWER, SHOWER]], 37, 53, seeded())
    assert field.shape == (2, 1, 37, 53)
    assert field[0].max() == 0
    assert field[1].max() > 0
    assert draw_streaks([[]], 16, 16, seeded()).max() == 0


def test_the_widest_streaks_of_a_very_large_picture_are_drawn() -> None:
    style = StreakStyle(
        density=30, angle_deg=0, angle_spread_deg=1, length=80, width=6, strength=0.3, defocus=4, width_spread=0
    )
    height, width = 6144, 512

    def mean_strength(zoom: float) -> float:
        drawn = draw_streaks([[zoomed(style, zoom)]], height, width, torch.Generator().manual_seed(0))
        return float(drawn.mean())

    assert mean_strength(2.0) > 0.2 * mean_strength(1.0)
