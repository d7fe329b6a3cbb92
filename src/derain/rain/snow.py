"""Falling snow: flakes near and far, lit by what is around them, before a veil that grows with distance.

Unlike a streak of rain, a flake is nearly opaque and white: it hides what is behind it and shows the light that falls
on it, so that it is bright before a dark wall and grey before a bright sky.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from derain.rain.depth import scene_depth
from derain.rain.flakes import FlakeLayer, FlakeStyle, draw_flakes
from derain.rain.haze import day_airlight, haze_veil, night_airlight
from derain.rain.layers import RainLayers, dry_layers
from derain.rain.night import local_illumination
from derain.rain.random_sampler import RandomSampler
from derain.rain.settings import AMOUNTS, RainSettings, Severity
from derain.rain.surroundings import brightened, daylight, lamp_light

_VEIL_SHARE = 0.75
_FAR_TRANSMISSIONS = (0.95, 0.45)
"""Through the snow between here and the farthest point, in the lightest and in the heaviest fall."""
_FLASH_SHARE = 0.15
"""Part of the night pictures with a flash or headlights behind the camera: near flakes shine whatever the lamps."""


def snow(
    scene: Tensor, lamps: Tensor | None, severities: Sequence[Severity], sampler: RandomSampler, settings: RainSettings
) -> RainLayers:
    """Snow before scenes (B, 3, H, W) in linear light; by night, where `lamps` are given, these light it.

    Far flakes lie in the veil, which dims and pales them as it does the scene; all of them are composed, far to near,
    into the layer that `compose` lays over the veiled scene.
    """
    depth = scene_depth(scene, sampler)
    airlight = day_airlight(scene, sampler) if lamps is None else night_airlight(scene, lamps, sampler)
    alphas, lights, veils = [], [], []
    for index, severity in enumerate(severities):
        here = slice(index, index + 1)
        amount = sampler.uniform(*AMOUNTS[severity])
        least, most = _FAR_TRANSMISSIONS
        far = least + (most - least) * amount * sampler.uniform(0.5, 1.0) if sampler.chance(_VEIL_SHARE) else 1.0
        veils.append(haze_veil(depth[here], far, sampler))
        styles = _styles(sampler, amount, sampler.log_uniform(settings.zoom_min, settings.zoom_max))
        layers = draw_flakes(styles, scene.shape[-2], scene.shape[-1], sampler.generator, depth[here])
        light = _day_light(scene[here], sampler) if lamps is None else _night_light(scene[here], lamps[here], sampler)
        alpha, colour = _stack(layers, styles, light, airlight[here], far)
        alphas.append(alpha)
        lights.append(colour)
    return replace(
        dry_layers(scene),
        veil=torch.cat(veils),
        airlight=airlight,
        drop_alpha=torch.cat(alphas),
        refraction=torch.cat(lights),
    )


def _stack(
    layers: Sequence[FlakeLayer], styles: Sequence[FlakeStyle], light: Tensor, airlight: Tensor, far: float
) -> tuple[Tensor, Tensor]:
    """Alpha (1, 1, H, W) of all layers together, far to near, and their mean light (1, 3, H, W).

    With layers l behind one another, light is premultiplied, P' = (1 - a_l) P + a_l C_l, and divided by alpha at last.
    """
    alpha = torch.zeros_like(layers[0].alpha)
    premultiplied = torch.zeros_like(light)
    for layer, style in zip(layers, styles, strict=True):
        seen = torch.lerp(airlight.expand_as(light), light * layer.brightness, far**style.distance)
        premultiplied = torch.lerp(premultiplied, seen, layer.alpha)
        alpha = torch.lerp(alpha, torch.ones_like(alpha), layer.alpha)
    return alpha, premultiplied / alpha.clamp(min=1e-6)


def _day_light(scene: Tensor, sampler: RandomSampler) -> Tensor:
    """(1, 3, H, W) light of flakes by day: mostly that of the sky, which they scatter white."""
    surroundings, sky = daylight(scene)
    sky = brightened(sky, torch.tensor(sampler.uniform(0.6, 0.95), device=sky.device))
    light = torch.lerp(surroundings, sky.expand_as(surroundings), sampler.uniform(0.75, 0.97))
    light = torch.lerp(light.mean(dim=1, keepdim=True).expand_as(light), light, 0.5)
    return light * sampler.uniform(0.95, 1.25)


def _night_light(scene: Tensor, lamps: Tensor, sampler: RandomSampler) -> Tensor:
    """(1, 3, H, W) light of flakes by night: bright near lamps, dim elsewhere."""
    lit = lamp_light(local_illumination(lamps), reach=sampler.log_uniform(0.05, 0.4)) * sampler.uniform(0.5, 1.2)
    surroundings, _ = daylight(scene)
    flash = sampler.uniform(0.2, 0.6) if sampler.chance(_FLASH_SHARE) else sampler.log_uniform(0.02, 0.12)
    return lit + surroundings * sampler.uniform(0.5, 1.5) + flash


def _styles(sampler: RandomSampler, amount: float, zoom: float) -> tuple[FlakeStyle, ...]:
    """Far to near layers of one snowfall: one wind, one exposure, one focus."""
    wind = max(-70.0, min(70.0, float(sampler.normals(1, 0.0, 25.0))))
    spread = sampler.uniform(6.0, 25.0)  # flakes tumble, each on its own way
    fall = sampler.log_uniform(0.25, 2.2)  # a long exposure, or a storm
    crowd = (0.25 + 1.3 * amount) * sampler.log_uniform(0.7, 1.4) / zoom
    far = FlakeStyle(
        density=sampler.log_uniform(6000, 20000) * crowd,
        radius=sampler.uniform(0.45, 0.8),
        defocus=sampler.uniform(0.0, 0.4),
        fall=2.0 * fall,
        angle_deg=wind,
        angle_spread_deg=spread,
        opacity=sampler.uniform(0.5, 0.9),
        distance=sampler.uniform(0.5, 0.8),
    )
    middle = replace(
        far,
        density=sampler.log_uniform(1400, 5000) * crowd,
        radius=sampler.uniform(0.9, 1.8),
        fall=4.5 * fall,
        opacity=sampler.uniform(0.8, 1.0),
        distance=sampler.uniform(0.2, 0.45),
    )
    near = replace(
        middle,
        density=sampler.log_uniform(140, 560) * crowd,
        radius=sampler.uniform(2.0, 4.0),
        defocus=sampler.log_uniform(0.4, 3.0),
        fall=10.0 * fall,
        distance=sampler.uniform(0.05, 0.15),
    )
    lens = replace(
        near,
        density=sampler.log_uniform(8, 45) * crowd,
        radius=sampler.uniform(4.5, 9.0),
        defocus=sampler.log_uniform(4.0, 12.0),
        fall=22.0 * fall,
        distance=0.0,
    )
    chosen = ((far, middle), (far, middle, near), (middle, near, lens), (far, middle, near, lens))
    return tuple(style.zoomed(zoom) for style in chosen[sampler.choice([0.15, 0.3, 0.15, 0.4])])
