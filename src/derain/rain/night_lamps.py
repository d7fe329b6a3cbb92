"""Lamps for a scene that had none: their colours, sizes, brightness and where they are likely to stand."""

import torch
from torch import Tensor
from torch.nn import functional

from derain.imaging.color import luminance
from derain.rain.blur import gaussian_blur
from derain.rain.patches import patches_around
from derain.rain.random_sampler import RandomSampler

BRIGHTEST_LAMP = 20.0
"""Light of a lamp, in whites of the picture."""

Colour = tuple[float, float, float]
_Lamp = tuple[float, float, float, Colour]

_WARM = ((1.0, 0.5, 0.16), (1.0, 0.62, 0.3), (1.0, 0.72, 0.42), (1.0, 0.4, 0.08))
_NEUTRAL = ((1.0, 0.93, 0.85), (0.95, 1.0, 0.95))
_COOL = ((0.75, 0.88, 1.0), (0.7, 1.0, 0.95))
_SIGNAL = ((1.0, 0.08, 0.04), (0.1, 1.0, 0.45), (1.0, 0.35, 0.05), (0.15, 0.3, 1.0), (0.8, 0.1, 0.9))


def lamp_colours(sampler: RandomSampler) -> tuple[Colour, ...]:
    """Colours of one kind of lamp; most streets are lit warm."""
    return (_WARM, _NEUTRAL, _COOL)[sampler.choice([0.6, 0.22, 0.18])]


def pick_colour(colours: tuple[Colour, ...], sampler: RandomSampler) -> Colour:
    return colours[sampler.whole(0, len(colours) - 1)]


def place_lamps(day: Tensor, sampler: RandomSampler) -> Tensor:
    """(1, 3, H, W) small lamps: single ones, street lamps in a row, and the lights of a vehicle."""
    height, width = day.shape[-2:]
    device = day.device
    spots = _plausible_spots(day, sampler.whole(1, 6) if sampler.chance(0.8) else sampler.whole(6, 30), sampler)
    main = lamp_colours(sampler)
    lamps = [
        (x, y, 1.0, pick_colour(main if sampler.chance(0.7) else lamp_colours(sampler), sampler)) for x, y in spots
    ]
    if sampler.chance(0.4):
        lamps += _street_row(width / height, pick_colour(main, sampler), sampler)
    if sampler.chance(0.35):
        lamps += _vehicle(width / height, sampler)
    count = len(lamps)
    place = torch.tensor([lamp[:3] for lamp in lamps], device=device) * height
    size = sampler.log_normals(count, 0.004, 0.6, 0.0012, 0.02).to(device)
    size = (size * place[:, 2]).clamp(min=0.5)
    peak = sampler.log_normals(count, 5.0, 0.9, 0.8, BRIGHTEST_LAMP).to(device)
    colour = torch.tensor([lamp[3] for lamp in lamps], device=device) * peak[:, None]
    canvas = torch.zeros(height * width + 1, 3, device=device)
    picture = torch.zeros(count, dtype=torch.long, device=device)
    for patch in patches_around(picture, place[:, 0], place[:, 1], 2.0 * size + 1, 1, height, width):
        distance = torch.hypot(patch.x, patch.y) / size[patch.item][:, None, None]
        disc = ((1.8 - distance) / 1.3).clamp(0, 1).square()
        canvas.index_add_(0, patch.pixel.flatten(), (disc[..., None] * colour[patch.item][:, None, None]).flatten(0, 2))
    return canvas[:-1].T.reshape(1, 3, height, width).clamp(max=BRIGHTEST_LAMP)


def _plausible_spots(day: Tensor, count: int, sampler: RandomSampler) -> list[tuple[float, float]]:
    """(x, y) in picture heights, where the day picture has bright spots or in its upper half."""
    height, width = day.shape[-2:]
    rows = 32
    columns = max(2, round(rows * width / height))
    light = luminance(functional.interpolate(day, (rows, columns), mode="area"))
    spots = (light - gaussian_blur(light, 2.0)).clamp(min=0) / 0.1
    heights = torch.linspace(0, 1, rows, device=day.device).view(1, 1, -1, 1)
    upper = torch.exp(-0.5 * ((heights - 0.3) / 0.17) ** 2)
    likelihood = ((0.1 + spots) * (0.03 + upper)).flatten().to(sampler.generator.device)
    cell = torch.multinomial(likelihood, count, replacement=True, generator=sampler.generator)
    x = (cell % columns + sampler.uniforms(count, 0, 1)) / columns * width / height
    y = (torch.div(cell, columns, rounding_mode="floor") + sampler.uniforms(count, 0, 1)) / rows
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _street_row(aspect: float, colour: Colour, sampler: RandomSampler) -> list[_Lamp]:
    """Street lamps that come nearer from the vanishing point of a road: x, y, relative size and colour of each."""
    x, y = sampler.uniform(0.3, 0.7) * aspect, sampler.uniform(0.4, 0.55)
    end_x, end_y = sampler.uniform(-0.2, 1.2) * aspect, sampler.uniform(-0.2, 0.2)
    count = sampler.whole(3, 7)
    nearness = [1 / (1 + sampler.uniform(0.7, 1.0) * step) for step in range(count)]
    return [(x + (end_x - x) * near, y + (end_y - y) * near, 0.3 + 1.5 * near, colour) for near in nearness]


def _vehicle(aspect: float, sampler: RandomSampler) -> list[_Lamp]:
    """Two tail lights or two headlights in the middle of the picture."""
    x, y, gap = sampler.uniform(0.2, 0.8) * aspect, sampler.uniform(0.5, 0.8), sampler.uniform(0.03, 0.12)
    colour = _SIGNAL[0] if sampler.chance(0.5) else pick_colour(_NEUTRAL, sampler)
    return [(x, y, 1.3, colour), (x + gap, y + sampler.uniform(-0.004, 0.004), 1.3, colour)]


def light_signs(day: Tensor, sky: Tensor, sampler: RandomSampler) -> Tensor:
    """(1, 3, H, W) light of windows and signs: some of the spots that stand out brightly, in half of the pictures."""
    if sampler.chance(0.5):
        return torch.zeros_like(day)
    height, width = day.shape[-2:]
    noise = sampler.normals(6 * 9, 0.0, 1.0).view(1, 1, 6, 9).to(day.device)
    gate = functional.interpolate(noise, (height, width), mode="bilinear", align_corners=False)
    light = luminance(day)
    spots = light * (1 - sky) - gaussian_blur(light, 0.04 * height)
    colour = torch.tensor(pick_colour(lamp_colours(sampler), sampler), device=day.device).view(1, 3, 1, 1)
    strength = ((spots - 0.2) / 0.3).clamp(0, 1) * ((gate - 0.3) / 0.3).clamp(0, 1)
    return sampler.log_uniform(0.5, 3.0) * strength * day * colour
