"""Drops on the glass in front of the lens, by day and by night, in linear light.

`render_drops` draws alpha and what is seen through the drops; `composite_drops` puts them over the scene.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from derain.imaging.color import luminance
from derain.rain.blur import gaussian_blur
from derain.rain.drop_optics import LENS_BLURS, Optics, rasterise_drops
from derain.rain.drop_shapes import (
    DAY_STYLE_WEIGHTS,
    NIGHT_STYLE_WEIGHTS,
    GlassStyle,
    join,
    move,
    spread_drops,
)
from derain.rain.night import local_illumination
from derain.rain.random_sampler import RandomSampler

_LENS_ROWS = 96
"""Height of the small copy of the scene that drops are sampled from."""

_BRIGHTEST_BOKEH = 4.0
"""Lamps behind glass in focus are clipped here before the blur, so that they do not swamp the scene."""


@dataclass(frozen=True)
class DropLayers:
    """What drops do to a scene; the picture is `composite_drops(scene, refraction, alpha)`. All linear light."""

    alpha: Tensor
    """(B, 1, H, W) in [0, 1]: share of the light that comes through a drop."""
    refraction: Tensor
    """(B, 3, H, W) what is seen through the drops; non-negative, beyond 1 where a drop catches a lamp."""
    scene: Tensor
    """(B, 3, H, W) the scene around the drops: blurred if the camera focuses on the glass, veiled if that is wet."""


def composite_drops(scene: Tensor, refraction: Tensor, alpha: Tensor) -> Tensor:
    """O = (1 - A) S + A R; scene S and refraction R (B, 3, H, W) in linear light, alpha A (B, 1, H, W)."""
    return torch.lerp(scene, refraction, alpha)


def render_drops(
    linear: Tensor, lamps: Tensor | None, severities: Sequence[str], generator: torch.Generator
) -> DropLayers:
    """Drops on glass before the scene `linear` (B, 3, H, W), in [0, 1]; each picture gets a pane of its own.

    `lamps` (B, 3, H, W) is the unclipped light of lamps for scenes by night, None by day. `severities` holds "light",
    "medium" or "heavy" for each picture. All sizes scale with H. The refraction may exceed 1 (see `DropLayers`).
    """
    batch, _, height, width = linear.shape
    is_night = lamps is not None
    sampler = RandomSampler(generator)
    styles = [_draw_style(is_night, sampler) for _ in range(batch)]
    groups = [
        spread_drops(style, severity, width / height, is_night, sampler)
        for style, severity in zip(styles, severities, strict=True)
    ]
    optics = torch.tensor([astuple(_draw_optics(style, is_night, sampler)) for style in styles], device=linear.device)
    picture = torch.cat(
        [torch.full((len(group.x),), index, device=linear.device) for index, group in enumerate(groups)]
    )
    glass = rasterise_drops(move(join(groups), linear.device), picture, optics, batch, height, width)

    radiance = linear if lamps is None else torch.maximum(linear, lamps)
    small = lens_copy(radiance)
    weight = glass.weight.clamp(min=1e-12)
    refraction = look_through(small, glass.shift / weight, glass.coarse / weight) * (glass.gain / weight)
    if lamps is None:
        refraction = refraction + glass.shine / weight * _sky_light(small, [sampler.uniform(0.25, 0.7) for _ in styles])
    else:  # no sky by night: what is scattered into a drop comes from the lamps around
        around = gaussian_blur(small, 0.15 * small.shape[-2]).clamp(max=1.0)
        around = functional.interpolate(around, (height, width), mode="bilinear", align_corners=False)
        near = local_illumination(lamps)
        refraction = refraction + glass.shine / weight * around + glass.sparkle / weight * near
    alpha = 1 - torch.exp(glass.clearness)
    scene = _through_wet_glass(linear, radiance, small, styles, sampler)
    film = _wet_film(batch, height, width, sampler, linear.device)
    if bool((film > 0).any()):
        smeared = gaussian_blur(radiance, 0.02 * height)
        both = 1 - (1 - alpha) * (1 - film)
        refraction = torch.lerp(smeared, refraction, alpha / both.clamp(min=1e-4))
        alpha = both
    return DropLayers(alpha=alpha, refraction=refraction, scene=scene)


def _draw_style(is_night: bool, sampler: RandomSampler) -> GlassStyle:
    weights = NIGHT_STYLE_WEIGHTS if is_night else DAY_STYLE_WEIGHTS
    return list(weights)[sampler.choice(list(weights.values()))]


def _draw_optics(style: GlassStyle, is_night: bool, sampler: RandomSampler) -> Optics:
    """Optics of one pane. Drops in focus have rims and spots, soft ones are milky."""
    soft = style in (GlassStyle.SOFT, GlassStyle.MIXED)
    return Optics(
        span=sampler.log_uniform(0.1, 0.5),
        brightness=sampler.uniform(0.85, 1.15),
        veil=sampler.uniform(0.02, 0.35) if soft and not sampler.chance(0.3) else sampler.uniform(0.0, 0.12),
        rim=sampler.uniform(0.2, 0.7) if sampler.chance(0.8) else 0.0,
        rim_width=sampler.uniform(0.12, 0.5),
        slope=sampler.uniform(0.0, 0.8),
        spot=sampler.uniform(0.2, 0.9) if sampler.chance(0.2 if soft else 0.7) else 0.0,
        spot_size=sampler.uniform(0.1, 0.22),
        spot_angle=float(sampler.normals(1, 0.0, 0.6)),
        crescent=sampler.uniform(0.05, 0.6) if sampler.chance(0.6) else 0.0,
        sparkle=sampler.uniform(0.2, 0.9) if is_night else 0.0,
    )


def lens_copy(radiance: Tensor) -> Tensor:
    """The scene at most `_LENS_ROWS` high, for all that needs only its coarse light."""
    height, width = radiance.shape[-2:]
    rows = min(_LENS_ROWS, height)
    return functional.interpolate(radiance, (rows, max(1, round(rows * width / height))), mode="area")


def look_through(small: Tensor, shift: Tensor, coarse: Tensor) -> Tensor:
    """The scene seen at each pixel moved by `shift` (B, 2, H, W) pixels, mirrored at the borders."""
    height, width = shift.shape[-2:]
    versions = torch.cat([gaussian_blur(small, blur * small.shape[-2]) for blur in LENS_BLURS], dim=1)
    row = torch.arange(height, device=shift.device) + 0.5
    column = torch.arange(width, device=shift.device) + 0.5
    grid = torch.stack(
        [(column + shift[:, 0]) * (2 / width) - 1, (row[:, None] + shift[:, 1]) * (2 / height) - 1], dim=-1
    )
    seen = functional.grid_sample(versions, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return torch.lerp(seen[:, :3], seen[:, 3:], coarse)


def _sky_light(small: Tensor, least: list[float]) -> Tensor:
    """(B, 3, 1, 1) light of the brightest twentieth of the scene, half desaturated, at least as bright as `least`."""
    blocks = functional.adaptive_avg_pool2d(small, (min(24, small.shape[-2]), min(32, small.shape[-1]))).flatten(2)
    bright = luminance(blocks[..., None]).flatten(1)
    brightest = bright.topk(max(1, bright.shape[1] // 20), dim=1).indices
    light = blocks.gather(2, brightest[:, None].expand(-1, 3, -1)).mean(dim=2)[..., None, None]
    grey = luminance(light)
    floor = torch.tensor(least, device=small.device).view(-1, 1, 1, 1)
    # too dark a picture hides the sky that lights its drops: a bright one of its hue is taken, or a grey one
    light = 0.5 * (light + grey) * (floor / grey.clamp(min=1e-2)).clamp(min=1.0)
    return torch.where(grey > 1e-2, light, floor).clamp(max=1.0)


def _through_wet_glass(
    linear: Tensor, radiance: Tensor, small: Tensor, styles: Sequence[GlassStyle], sampler: RandomSampler
) -> Tensor:
    """The scene between the drops: out of focus where the camera looks at the glass, and often slightly veiled."""
    height, width = linear.shape[-2:]
    scenes = []
    for index, style in enumerate(styles):
        scene = linear[index : index + 1]
        if style is GlassStyle.DROP_FOCUS:
            out_of_focus = radiance[index : index + 1].clamp(max=_BRIGHTEST_BOKEH)
            scene = gaussian_blur(out_of_focus, sampler.log_uniform(2, 8) / 512 * height)
        if sampler.chance(0.5):
            veil = gaussian_blur(small[index : index + 1], 0.3 * small.shape[-2])
            veil = functional.interpolate(veil, (height, width), mode="bilinear", align_corners=False)
            scene = torch.lerp(scene, veil, sampler.uniform(0.01, 0.06))
        scenes.append(scene)
    return torch.cat(scenes).clamp(max=1.0)


def _wet_film(batch: int, height: int, width: int, sampler: RandomSampler, device: torch.device) -> Tensor:
    """(B, 1, H, W) alpha of smeared water between the drops, on every fifth pane; else zero."""
    films = []
    for _ in range(batch):
        film = torch.zeros(1, 1, height, width, device=device)
        if sampler.chance(0.2):
            rows, columns = sampler.whole(3, 8), max(2, round(sampler.whole(3, 8) * width / height))
            noise = sampler.normals(rows * columns, 0.0, 1.0).view(1, 1, rows, columns).to(device)
            noise = functional.interpolate(noise, (height, width), mode="bicubic", align_corners=False)
            film = sampler.uniform(0.15, 0.5) * (noise - sampler.uniform(0.2, 1.0)).clamp(0, 1)
        films.append(film)
    return torch.cat(films)
