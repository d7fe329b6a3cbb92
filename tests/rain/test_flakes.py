"""Flakes of snow against a slow version, and what defocus, motion, size and depth do to them."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from derain.rain.flakes import FlakeStyle, draw_flakes, sample_flakes
from derain.rain.random_sampler import RandomSampler

STYLE = FlakeStyle(
    density=60,
    radius=5.0,
    defocus=0.0,
    fall=0.0,
    angle_deg=0.0,
    angle_spread_deg=0.0,
    opacity=0.9,
    distance=0.0,
)
OPEN = torch.ones(1, 1, 128, 160)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def alpha_of(style: FlakeStyle, depth: Tensor = OPEN, seed: int = 0) -> Tensor:
    (layer,) = draw_flakes([style], depth.shape[2], depth.shape[3], seeded(seed), depth)
    return layer.alpha[0, 0]


def test_flakes_are_drawn_as_the_slow_version_draws_them() -> None:
    style = replace(STYLE, density=40, defocus=2.0, fall=14.0, angle_deg=30.0, angle_spread_deg=20.0)
    height, width = 40, 50
    depth = torch.ones(1, 1, height, width)
    flakes = sample_flakes(style, height, width, RandomSampler(seeded(3)), depth)
    passes = torch.ones(height, width)
    for n in range(len(flakes.x)):
        sine, cosine = math.sin(float(flakes.angle[n])), math.cos(float(flakes.angle[n]))
        for row in range(height):
            for column in range(width):
                dx, dy = column + 0.5 - float(flakes.x[n]), row + 0.5 - float(flakes.y[n])
                along, across = dx * sine + dy * cosine, dx * cosine - dy * sine
                reach = float(flakes.half_fall[n])
                along -= min(max(along, -reach), reach)
                distance = math.hypot(along, across) / float(flakes.radius[n])
                theta = math.atan2(across, along)
                outline = 1.0
                for index, harmonic in enumerate((2, 3)):
                    outline += float(flakes.cosine[n, index]) * math.cos(harmonic * theta)
                    outline += float(flakes.sine[n, index]) * math.sin(harmonic * theta)
                inside = min(max(0.5 - (distance - outline) / (2 * float(flakes.edge[n])), 0.0), 1.0)
                passes[row, column] *= 1 - min(float(flakes.opacity[n]) * inside**2 * (3 - 2 * inside), 0.995)
    torch.testing.assert_close(alpha_of(style, depth, seed=3), 1 - passes, atol=2e-3, rtol=0)


def test_a_larger_picture_shows_the_same_flakes_larger() -> None:
    style = replace(STYLE, radius=14.0, fall=20.0, angle_deg=20.0)
    small = alpha_of(style)
    large = alpha_of(style, torch.ones(1, 1, 384, 480))
    shrunk = torch.nn.functional.interpolate(large[None, None], (128, 160), mode="area")[0, 0]
    assert float((shrunk - small).abs().mean()) < 0.03 * float(small.mean()) + 0.004


def test_blur_spreads_a_flake_and_hides_less_of_what_is_behind() -> None:
    sharp = alpha_of(replace(STYLE, radius_spread=0, roughness=0))
    soft = alpha_of(replace(STYLE, radius_spread=0, roughness=0, defocus=10.0))
    moved = alpha_of(replace(STYLE, radius_spread=0, roughness=0, fall=40.0))
    for spread in (soft, moved):
        assert float(spread.max()) < 0.6 * float(sharp.max())
        assert float((spread > 0.02).sum()) > 1.5 * float((sharp > 0.02).sum())
        assert 0.5 < float(spread.sum() / sharp.sum()) < 1.5


def test_motion_lies_along_the_wind() -> None:
    slanted = alpha_of(replace(STYLE, density=300, radius=2.0, fall=60.0, angle_deg=45.0), torch.ones(1, 1, 512, 512))
    down_right = (slanted[:-8, :-8] * slanted[8:, 8:]).mean()
    down_left = (slanted[:-8, 8:] * slanted[8:, :-8]).mean()
    assert float(down_right) > 2 * float(down_left)


def test_what_stands_nearer_fades_flakes_but_hides_none_wholly() -> None:
    style = replace(STYLE, density=2000, radius=2.0, distance=0.8)
    opacity = [
        sample_flakes(style, 128, 160, RandomSampler(seeded()), torch.full((1, 1, 128, 160), depth)).opacity
        for depth in (0.05, 0.3, 0.5, 0.7, 0.8, 1.0)
    ]
    shares = [float((one / opacity[-1]).mean()) for one in opacity]
    assert shares[0] == pytest.approx(0.35)
    assert shares[-2:] == pytest.approx([1, 1])
    # No step of depth makes the snow stop.
    assert shares == sorted(shares)
    assert max(after - before for before, after in pairwise(shares)) < 0.35
