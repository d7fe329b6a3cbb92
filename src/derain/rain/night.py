"""Scenes by night, in linear light: their lamps, the glow around these, day turned into night, and sensor noise.

Lamps are kept as unclipped light, up to `BRIGHTEST_LAMP` times the white of the picture, because drops and streaks near
a lamp show more of it than the clipped picture holds.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from derain.imaging.color import luminance
from derain.rain.blur import gaussian_blur
from derain.rain.night_lamps import BRIGHTEST_LAMP, lamp_colours, light_signs, pick_colour, place_lamps
from derain.rain.random_sampler import RandomSampler
from derain.rain.sky import sky_likelihood


@dataclass(frozen=True)
class NightScene:
    """A dry scene by night."""

    linear: Tensor
    """(B, 3, H, W) in [0, 1], free of added noise: the clean target."""
    lamps: Tensor
    """(B, 3, H, W) light of the sources, from 0 to `BRIGHTEST_LAMP`, not clipped at white; zero beside them."""


def local_illumination(lamps: Tensor) -> Tensor:
    """How much lamp light falls on rain at each place: E = G(.02 H) * L + 0.6 G(.06 H) * L + 0.3 G(.2 H) * L.

    Colour is kept. Each picture is divided by its maximum, so E lies in [0, 1]; it is zero where there are no lamps.
    """
    light = _blurred_sum(lamps, 128, ((1.0, 0.02), (0.6, 0.06), (0.3, 0.2)))
    return light / light.amax(dim=(1, 2, 3), keepdim=True).clamp(min=0.02)


def _blurred_sum(light: Tensor, most_rows: int, terms: tuple[tuple[float, float], ...]) -> Tensor:
    """Sum of weighted blurs of (B, 3, H, W), computed on a copy of at most so many rows.

    `terms` are pairs of a weight and a standard deviation in picture heights.
    """
    height, width = light.shape[-2:]
    rows = min(height, most_rows)
    small = functional.interpolate(light, (rows, max(1, round(rows * width / height))), mode="area")
    total = torch.stack([weight * gaussian_blur(small, sigma * rows) for weight, sigma in terms]).sum(dim=0)
    return functional.interpolate(total, (height, width), mode="bilinear", align_corners=False)


def glow(lamps: Tensor, generator: torch.Generator) -> Tensor:
    """Light scattered around lamps by rain in the air, to be added; (B, 3, H, W), non-negative.

    The kernel is a generalised Gaussian, h(r) = exp(-(r/A)^p), after Metari & Deschenes, "A new convolution kernel for
    atmospheric point spread function applied to computer vision" (2007): p = T/2 for optical thickness T in
    [0.7, 4], A from the standard deviation, 5 to 15 % of the height. Its total is 0.1 to 0.6. Drawn per picture.
    """
    batch, _, height, width = lamps.shape
    sampler = RandomSampler(generator)
    rows = min(height, 96)
    columns = max(1, round(rows * width / height))
    small = functional.interpolate(lamps, (rows, columns), mode="area")
    spread = []
    for index in range(batch):
        power = 0.5 * sampler.uniform(0.7, 4.0)
        kernel = _scatter_kernel(power, sampler.uniform(0.05, 0.15) * rows, rows, columns, lamps.device)
        share = sampler.uniform(0.1, 0.6)
        size = (2 * rows, 2 * columns)  # twice the picture, so that light does not wrap around
        spectrum = torch.fft.rfft2(small[index], s=size) * torch.fft.rfft2(kernel, s=size)
        spread.append(share * torch.fft.irfft2(spectrum, s=size)[:, rows : 2 * rows, columns : 2 * columns])
    veil = torch.stack(spread).clamp(min=0)
    return functional.interpolate(veil, (height, width), mode="bilinear", align_corners=False)


def _scatter_kernel(power: float, deviation: float, rows: int, columns: int, device: torch.device) -> Tensor:
    """(2 rows, 2 columns) generalised Gaussian of unit sum, centred on (rows, columns); deviation in its pixels."""
    scale = deviation * math.exp(0.5 * (math.lgamma(1 / power) - math.lgamma(3 / power)))
    y = torch.arange(2 * rows, dtype=torch.float32, device=device)[:, None] - rows
    x = torch.arange(2 * columns, dtype=torch.float32, device=device) - columns
    kernel = torch.exp(-((torch.hypot(x, y) / scale) ** power))
    return kernel / kernel.sum()


def night_scene(linear: Tensor) -> NightScene:
    """A photograph (B, 3, H, W) that was taken by night, with an unclipped estimate of its lamps.

    Lamps are what is nearly clipped. The smaller such a spot is, the more it is likely to exceed white: a lit wall is
    kept as it is, a street lamp is raised to up to `BRIGHTEST_LAMP`. The lost hue is taken from the halo around it.
    """
    height = linear.shape[-2]
    brightest = linear.amax(dim=1, keepdim=True)
    clipped = ((brightest - 0.6) / 0.4).clamp(0, 1)
    clipped = clipped * clipped * (3 - 2 * clipped)
    crowd = gaussian_blur(clipped, 0.03 * height)
    excess = (BRIGHTEST_LAMP - 1) * clipped.square() * (1 - crowd / 0.5).clamp(0, 1).square()
    halo = gaussian_blur(linear * (1 - clipped), 0.015 * height)
    hue = halo / halo.amax(dim=1, keepdim=True).clamp(min=1e-4)
    hue = torch.where(halo.amax(dim=1, keepdim=True) > 1e-3, 0.3 + 0.7 * hue, torch.ones_like(hue))
    lamps = linear * clipped + excess * hue * linear / brightest.clamp(min=1e-4)
    return NightScene(linear=linear.clamp(0, 1), lamps=lamps.clamp(0, BRIGHTEST_LAMP))


def day_to_night(linear: Tensor, generator: torch.Generator) -> NightScene:
    """A night as this day photograph (B, 3, H, W) might show it: dim blue ambient light, pools of lamp light, lamps.

    After the idea of Punnappurath et al., "Day-to-night image synthesis for training nighttime neural ISPs" (2022):
    B = S (ambient + sum of pools) exposure + lamps, with the sky S darkened first. Mean luminance is 0.02 to 0.15.
    """
    sampler = RandomSampler(generator)
    return _stack([_night_of(linear[index : index + 1], sampler) for index in range(len(linear))])


def _stack(scenes: list[NightScene]) -> NightScene:
    return NightScene(torch.cat([scene.linear for scene in scenes]), torch.cat([scene.lamps for scene in scenes]))


def _night_of(day: Tensor, sampler: RandomSampler) -> NightScene:
    """One picture (1, 3, H, W) turned into night."""
    _, _, height, width = day.shape
    device = day.device
    day = day.clamp(0, 1)
    sky = sky_likelihood(day)
    surface = day * (1 - (1 - sampler.uniform(0.02, 0.1)) * sky)
    # what is white by day need not be the brightest thing by night
    surface = surface * (1 - 0.5 * luminance(surface))
    blue = sampler.uniform(0.0, 1.0)
    ambient = torch.tensor([1 - 0.3 * blue, 1 - 0.12 * blue, 1 + 0.25 * blue], device=device).view(1, 3, 1, 1)
    lamps = (place_lamps(day, sampler) + light_signs(day, sky, sampler)).clamp(max=BRIGHTEST_LAMP)
    light = (
        sampler.log_uniform(0.02, 0.12) * ambient
        + _pools(height, width, sampler, device)
        + sampler.uniform(0.5, 4.0) * local_illumination(lamps)
    )
    lit = surface * light * _vignette(height, width, sampler.uniform(0.1, 0.5), device)
    lit = _expose(lit, sampler.log_uniform(0.025, 0.16), sampler.uniform(0.1, 0.7))
    lit = _roll_off(_fade_colours(lit, sampler.uniform(0.7, 1.1)))
    beside = 1 - lamps.amax(dim=1, keepdim=True).clamp(0, 1)
    halo = _blurred_sum(lamps, 256, ((0.25, 0.005), (0.12, 0.015), (0.06, 0.06)))
    linear = torch.maximum(lit * beside, lamps) + sampler.log_uniform(0.4, 2.5) * halo
    return NightScene(linear=linear.clamp(0, 1), lamps=lamps)


def _expose(linear: Tensor, mean: float, contrast: float) -> Tensor:
    """Steepen the tones, L' = L^(1 + contrast) in luminance with colours kept, and bring their mean to `mean`."""
    grey = luminance(linear)
    steeper = linear * (grey / grey.mean().clamp(min=1e-5)).clamp(1e-3, 8.0) ** contrast
    return steeper * (mean / luminance(steeper).mean().clamp(min=1e-5))


def _pools(height: int, width: int, sampler: RandomSampler, device: torch.device) -> Tensor:
    """(1, 3, H, W) light of 3 to 7 large lamps outside or inside the frame, of mean 1; smooth, so drawn small."""
    rows = min(height, 48)
    columns = max(1, round(rows * width / height))
    aspect = width / height
    x = (torch.arange(columns, device=device) + 0.5) / columns * aspect
    y = ((torch.arange(rows, device=device) + 0.5) / rows)[:, None]
    total = torch.zeros(3, rows, columns, device=device)
    main = lamp_colours(sampler)
    for _ in range(sampler.whole(3, 7)):
        centre_x, centre_y = sampler.uniform(-0.1, aspect + 0.1), sampler.uniform(0.1, 1.0)
        size_x, size_y = sampler.log_uniform(0.08, 0.4) * aspect, sampler.log_uniform(0.08, 0.4)
        pool = torch.exp(-0.5 * (((x - centre_x) / size_x) ** 2 + ((y - centre_y) / size_y) ** 2))
        family = main if sampler.chance(0.65) else lamp_colours(sampler)
        total += (
            sampler.log_uniform(0.3, 2.0)
            * torch.tensor(pick_colour(family, sampler), device=device).view(3, 1, 1)
            * pool
        )
    total = total / total.mean().clamp(min=1e-4)
    return functional.interpolate(total[None], (height, width), mode="bilinear", align_corners=False)


def _vignette(height: int, width: int, strength: float, device: torch.device) -> Tensor:
    """(1, 1, H, W) darkening towards the corners, by up to `strength`."""
    x = (torch.arange(width, device=device) + 0.5) / width * 2 - 1
    y = ((torch.arange(height, device=device) + 0.5) / height * 2 - 1)[:, None]
    return (1 - strength * 0.5 * (x**2 + y**2))[None, None]


def _fade_colours(linear: Tensor, least: float) -> Tensor:
    """Take saturation from dark parts, down to the share `least` in the darkest."""
    grey = luminance(linear)
    share = least + (1 - least) * (grey / 0.1).clamp(0, 1)
    return torch.lerp(grey.expand_as(linear), linear, share)


def _roll_off(linear: Tensor) -> Tensor:
    """Bend lit surfaces towards 0.9, linear below 0.4, so that only lamps clip."""
    above = (linear - 0.4).clamp(min=0)
    return linear.clamp(max=0.4) + 0.5 * (1 - torch.exp(-above / 0.5))


def add_sensor_noise(linear: Tensor, generator: torch.Generator, max_sigma: float) -> Tensor:
    """Add shot and read noise, of strength drawn per picture from 0 to `max_sigma`.

    `max_sigma` bounds the standard deviation in the sRGB-encoded picture (0.03 is strong). In linear light it is
    sigma * sqrt(x + 0.05^2): the root is shot noise (Poisson), the constant read noise; encoding evens out the two.
    """
    sampler = RandomSampler(generator)
    sigma = (max_sigma * sampler.uniforms(len(linear), 0.0, 1.0)).to(linear.device).view(-1, 1, 1, 1)
    noise = torch.randn(linear.shape, generator=generator, device=generator.device).to(linear.device)
    return (linear + sigma * torch.sqrt(linear.clamp(min=0) + 0.0025) * noise).clamp(0, 1)
