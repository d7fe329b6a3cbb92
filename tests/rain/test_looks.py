"""The looks of public benchmarks."""

import pytest
import torch
import torch.nn.functional as F

from derain.rain.looks import (
    LookPlan,
    NoiseStyle,
    draw_noise,
    motion_blur_kernel,
    plan_dense,
    plan_look,
    plan_noise,
    plan_thin,
    plan_veiled,
)
from derain.rain.random_sampler import RandomSampler
from references.orientation import dominant_angle_deg


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


NOISE = NoiseStyle(share=0.02, grain=2.0, length=40, angle_deg=20, strength=0.4)


@pytest.mark.parametrize("angle_deg", [0.0, 30.0, -45.0])
@pytest.mark.parametrize("length", [1.0, 9.0, 24.5])
def test_motion_blur_is_a_line_of_its_length_and_direction(angle_deg: float, length: float) -> None:
    kernel = motion_blur_kernel(length, angle_deg)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert kernel.shape[0] % 2 == 1
    torch.testing.assert_close(kernel, kernel.flip(0, 1))  # symmetric about its centre
    grid = torch.arange(len(kernel)) - len(kernel) // 2
    x = grid[None].expand_as(kernel).float()
    y = grid[:, None].expand_as(kernel).float()
    variance = (kernel * (x**2 + y**2)).sum()
    assert variance == pytest.approx(length**2 / 12, rel=0.15, abs=0.35)
    if length > 5:
        direction = 0.5 * torch.atan2(2 * (kernel * x * y).sum(), (kernel * (y**2 - x**2)).sum())
        assert torch.rad2deg(direction) == pytest.approx(angle_deg, abs=3)


def test_noise_equals_its_convolution_written_out() -> None:
    style = NoiseStyle(share=0.1, grain=512 / 48, length=100, angle_deg=15, strength=1.0)
    drawn = draw_noise(style, 48, 64, seeded())[0, 0]
    grains = torch.rand(1, 1, 48, 64, generator=seeded())
    lit = ((grains - 0.9) / 0.1).clamp(min=0)
    kernel = motion_blur_kernel(100 * 48 / 512, 15)
    radius = len(kernel) // 2
    blurred = F.conv2d(F.pad(lit, (radius,) * 4, mode="circular"), kernel.flip(0, 1)[None, None])[0, 0]
    low, high = torch.quantile(blurred, torch.tensor([0.3, 0.995]))
    torch.testing.assert_close(drawn, ((blurred - low) / (high - low)).clamp(0, 1), atol=1e-4, rtol=1e-3)


def test_noise_falls_in_the_direction_asked_for() -> None:
    field = draw_noise(NOISE, 256, 300, seeded())[0, 0]
    assert abs(dominant_angle_deg(field) - 20) <= 5
    assert field.min() == 0
    assert field.max() == pytest.approx(0.4)


def test_a_larger_picture_shows_the_same_noise_larger() -> None:
    style = NoiseStyle(share=0.05, grain=8.0, length=60, angle_deg=-10, strength=0.4)
    small, large = draw_noise(style, 192, 256, seeded()), draw_noise(style, 576, 768, seeded())
    both = torch.stack([F.avg_pool2d(large, 3).flatten(), small.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.97


@pytest.mark.parametrize("size", [(16, 16), (37, 53), (16, 90)])
def test_noise_at_small_and_odd_sizes(size: tuple[int, int]) -> None:
    field = draw_noise(NOISE, *size, seeded())
    assert field.shape == (1, 1, *size)
    assert torch.isfinite(field).all()
    assert field.max() > 0


def test_each_look_has_what_its_benchmark_has() -> None:
    sampler = RandomSampler(seeded())
    for _ in range(20):
        thin, dense = plan_thin(sampler, 0.5), plan_dense(sampler, 0.5)
        noise, veiled = plan_noise(sampler, 0.5), plan_veiled(sampler, 0.5)
        assert len(thin.styles) == 1
        assert thin.styles[0].angle_spread_deg < 3
        assert 2 <= len(dense.styles) <= 5
        assert len({style.angle_deg for style in dense.styles}) == len(dense.styles)
        assert noise.noise is not None
        assert noise.screen
        assert not noise.styles
        assert veiled.veil > 0
        assert veiled.airlight > 0.5
        assert {thin.screen, dense.screen, veiled.screen} == {False}


def test_all_looks_are_drawn() -> None:
    sampler = RandomSampler(seeded())
    plans = [plan_look(sampler, 0.5) for _ in range(60)]

    def kind(plan: LookPlan) -> str:
        if plan.noise is not None:
            return "noise"
        return "veiled" if plan.veil > 0 else ("thin" if len(plan.styles) == 1 else "dense")

    assert {kind(plan) for plan in plans} == {"noise", "veiled", "thin", "dense"}
