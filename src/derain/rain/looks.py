"""Looks of rain in public benchmarks, for a minority of the day streaks.

Those sets add a rain layer S to an sRGB-encoded picture B, by addition O = B + S (Yang et al., CVPR 2017), by screen
blend O = 1 - (1 - B)(1 - S) (motion-blurred noise, as image editors make it), and under a veil
O = (1 - V)(B + S) + V A (Li et al., CVPR 2019, equation 3). A network that has only seen rain in linear light would
meet all of them as strangers.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor

from derain.rain.random_sampler import RandomSampler
from derain.rain.streaks import FRAME_HEIGHT, StreakStyle


class Look(StrEnum):
    """The families of benchmark rain."""

    THIN = "thin"
    """Thin streaks of one direction, added: light rain."""
    DENSE = "dense"
    """Streaks in several directions over the whole picture, added: heavy rain."""
    NOISE = "noise"
    """Motion-blurred noise in screen blend."""
    VEILED = "veiled"
    """Dense streaks, added, under a uniform veil."""


@dataclass(frozen=True)
class NoiseStyle:
    """Motion-blurred noise; sizes in pixels of a frame 512 pixels high."""

    share: float
    """Part of the noise that survives the threshold, 0 to 1."""
    grain: float
    """Size of a grain."""
    length: float
    """Length of the motion."""
    angle_deg: float
    """Direction of fall: 0 is straight down, positive drifts to the right on the way down."""
    strength: float
    """The brightest percentile of the layer is scaled to this."""


@dataclass(frozen=True)
class LookPlan:
    """What one picture is to get; all values in the sRGB-encoded domain."""

    styles: tuple[StreakStyle, ...] = ()
    noise: NoiseStyle | None = None
    screen: bool = False
    """Screen blend; else the rain is added."""
    veil: float = 0.0
    """Weight of the airlight, the same everywhere."""
    airlight: float = 0.0
    """Grey value of the airlight."""


def plan_thin(sampler: RandomSampler, amount: float) -> LookPlan:
    """One layer of thin streaks; amount 0 (light) to 1 (heavy)."""
    style = StreakStyle(
        density=sampler.log_uniform(500, 1500) * (1 + 2 * amount),
        angle_deg=sampler.uniform(-35, 35),
        angle_spread_deg=sampler.uniform(0.2, 2.5),
        length=sampler.log_uniform(18, 75),
        width=sampler.log_uniform(1.0, 3.0),
        strength=sampler.uniform(0.10, 0.27) * (1 + 0.7 * amount),
        length_spread=sampler.uniform(0.1, 0.5),
        strength_spread=sampler.uniform(0.2, 0.6),
    )
    return LookPlan(styles=(style,))


def plan_dense(sampler: RandomSampler, amount: float) -> LookPlan:
    """Two to five layers of streaks, each with its own direction and size."""
    layers = 2 + sampler.choice([0.3, 0.3, 0.25, 0.15])
    mean_angle = sampler.uniform(-25, 25)
    styles = tuple(
        StreakStyle(
            density=sampler.log_uniform(500, 2500) * (0.5 + amount) / math.sqrt(layers / 2),
            angle_deg=mean_angle + sampler.uniform(-35, 35),
            angle_spread_deg=sampler.uniform(0.2, 3),
            length=sampler.log_uniform(25, 130),
            width=sampler.log_uniform(1.2, 4.5),
            strength=sampler.uniform(0.10, 0.32) * (0.6 + 0.7 * amount),
            length_spread=sampler.uniform(0.1, 0.5),
            strength_spread=sampler.uniform(0.2, 0.6),
        )
        for _ in range(layers)
    )
    return LookPlan(styles=styles)


def plan_noise(sampler: RandomSampler, amount: float) -> LookPlan:
    """Thresholded noise, blurred along one direction, in screen blend."""
    noise = NoiseStyle(
        share=sampler.log_uniform(0.004, 0.02) * (1 + 3 * amount),
        grain=sampler.log_uniform(1.0, 2.8),
        length=sampler.log_uniform(12, 60),
        angle_deg=sampler.uniform(-45, 45),
        strength=sampler.uniform(0.2, 0.4) * (0.8 + 0.6 * amount),
    )
    return LookPlan(noise=noise, screen=True)


def plan_veiled(sampler: RandomSampler, amount: float) -> LookPlan:
    """Dense streaks under a veil."""
    return LookPlan(
        styles=plan_dense(sampler, amount).styles,
        veil=sampler.uniform(0.08, 0.25) + 0.25 * amount,
        airlight=sampler.uniform(0.55, 0.95),
    )


_PLANS = {Look.THIN: plan_thin, Look.DENSE: plan_dense, Look.NOISE: plan_noise, Look.VEILED: plan_veiled}
_WEIGHTS = {Look.THIN: 0.3, Look.DENSE: 0.3, Look.NOISE: 0.3, Look.VEILED: 0.1}


def plan_look(sampler: RandomSampler, amount: float) -> LookPlan:
    """Choose a family and its parameters; amount 0 (light) to 1 (heavy)."""
    look = list(_WEIGHTS)[sampler.choice(list(_WEIGHTS.values()))]
    return _PLANS[look](sampler, amount)


def motion_blur_kernel(length: float, angle_deg: float, device: torch.device | str = "cpu") -> Tensor:
    """A line through the centre, antialiased, sum 1, (K, K) with K odd; length in pixels."""
    radius = max(1, math.ceil(length / 2))
    grid = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    sine, cosine = math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))
    along = grid[None, :] * sine + grid[:, None] * cosine
    across = grid[None, :] * cosine - grid[:, None] * sine
    line = (1 - across.abs()).clamp(min=0) * (length / 2 + 0.5 - along.abs()).clamp(0, 1)
    return line / line.sum()


def draw_noise(
    style: NoiseStyle, height: int, width: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """Motion-blurred noise, (1, 1, height, width) in [0, strength]; wraps around at the borders.

    The noise is drawn on a grid of grains whose count depends on the picture's shape only, so that a larger picture of
    the same shape shows the same rain, larger.
    """
    scale = height / FRAME_HEIGHT
    grains_high = max(1, round(FRAME_HEIGHT / style.grain))
    grains_wide = max(1, round(FRAME_HEIGHT / style.grain * width / height))
    grains = torch.rand(1, 1, grains_high, grains_wide, generator=generator, device=generator.device)
    lit = ((grains - (1 - style.share)) / style.share).clamp(min=0).to(device)
    shrinks = grains_high > height
    field = F.interpolate(lit, (height, width), mode="area" if shrinks else "bicubic").clamp(min=0)
    kernel = motion_blur_kernel(max(style.length * scale, 1.0), style.angle_deg, device)
    padded = torch.zeros(height, width, device=device)
    rows = (torch.arange(kernel.shape[0], device=device) - kernel.shape[0] // 2) % height
    columns = (torch.arange(kernel.shape[1], device=device) - kernel.shape[1] // 2) % width
    padded.index_put_((rows[:, None].expand_as(kernel), columns[None, :].expand_as(kernel)), kernel, accumulate=True)
    spectrum = torch.fft.rfft2(field[0, 0]) * torch.fft.rfft2(padded)
    rain = torch.fft.irfft2(spectrum, s=(height, width)).clamp(min=0)
    # The levels of an image editor: dark end to 0, bright end to the strength.
    low, high = torch.quantile(
        rain.flatten()[:: max(1, rain.numel() // 65536)], torch.tensor([0.3, 0.995], device=device)
    )
    levels: Tensor = (rain - low) / (high - low).clamp(min=1e-6)
    return (style.strength * levels.clamp(0, 1))[None, None]
