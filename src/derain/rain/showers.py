"""Falling rain by day and by night: which streaks, what light they take, and the mist between them.

By day a streak hides what is behind it and shows the light of its surroundings (Garg & Nayar, "Vision and rain", IJCV
2007), under a veil that grows with distance (Li et al., CVPR 2019, equation 3). By night rain only adds light, where
lamps reach it.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from derain.rain.blur import gaussian_blur
from derain.rain.layers import RainLayers, dry_layers
from derain.rain.looks import draw_noise, plan_look
from derain.rain.night import glow, local_illumination
from derain.rain.random_sampler import RandomSampler
from derain.rain.settings import AMOUNTS, RainSettings, Severity
from derain.rain.streaks import StreakStyle, draw_streaks, zoomed
from derain.rain.surroundings import daylight, lamp_light

_THICKEST = 0.2  # mean optical thickness of the streaks over a picture


def falling_rain(
    scene: Tensor, lamps: Tensor | None, severities: Sequence[Severity], sampler: RandomSampler, settings: RainSettings
) -> RainLayers:
    """Streaks by day, or by night where lamps are given; scene and lamps (B, 3, H, W) linear."""
    if lamps is None:
        return day_streaks(scene, severities, sampler, settings)
    return night_streaks(scene, lamps, severities, sampler, settings)


def day_streaks(
    scene: Tensor, severities: Sequence[Severity], sampler: RandomSampler, settings: RainSettings
) -> RainLayers:
    """Rain in daylight: streaks lit by the surroundings, in up to three depths, and a veil that grows with distance."""
    batch, _, height, width = scene.shape
    device = scene.device
    layers = dry_layers(scene)
    surroundings, sky = daylight(scene)
    depth = _depth(batch, height, width, sampler, device)
    styles: list[tuple[StreakStyle, ...]] = []
    occlusion, encoded, veil, airlight, streak_light, noise_layers = [], [], [], [], [], {}
    for index, severity in enumerate(severities):
        amount = sampler.uniform(*AMOUNTS[severity])
        if sampler.chance(settings.look_share):
            look = plan_look(sampler, amount)
            styles.append(_zoom(look.styles, sampler, settings))
            if look.noise is not None:
                noise_layers[index] = draw_noise(look.noise, height, width, sampler.generator, device)
            occlusion.append(float(look.screen))
            encoded.append(True)
            veil.append(torch.full_like(depth[:1], look.veil))
            airlight.append(torch.full_like(sky[:1], look.airlight))
            streak_light.append(torch.ones_like(scene[:1]))
            continue
        styles.append(_zoom(_day_styles(sampler, amount), sampler, settings))
        occlusion.append(1.0)
        encoded.append(False)
        opaque = _veil_opacity(sampler, amount) if sampler.chance(settings.veil_share) else 0.0
        veil.append(_veil(depth[index : index + 1], opaque, sampler))
        airlight.append(sky[index : index + 1] * sampler.uniform(0.7, 1.0))
        # A drop is a lens with a field of view of 165 degrees: mostly it shows the bright sky.
        wide = torch.lerp(surroundings[index : index + 1], sky[index : index + 1], sampler.uniform(0.25, 0.9))
        streak_light.append((wide * sampler.uniform(0.75, 1.5) + 0.05).clamp(max=1.2))
    thickness = _thinned(draw_streaks(styles, height, width, sampler.generator, depth, device))
    is_encoded = torch.tensor(encoded, device=device).view(-1, 1, 1, 1)
    streaks = torch.where(is_encoded, thickness.clamp(max=1), 1 - torch.exp(-thickness))
    for index, noise_layer in noise_layers.items():
        streaks[index] = noise_layer[0]
    return replace(
        layers,
        streaks=streaks,
        streak_light=torch.cat(streak_light),
        occlusion=torch.tensor(occlusion, device=device).view(-1, 1, 1, 1),
        veil=torch.cat(veil),
        airlight=torch.cat(airlight),
        encoded=is_encoded,
    )


def night_streaks(
    scene: Tensor, lamps: Tensor, severities: Sequence[Severity], sampler: RandomSampler, settings: RainSettings
) -> RainLayers:
    """Rain at night: streaks shine where lamps reach them and are almost unseen elsewhere; lamps glow in the rain."""
    height, width = scene.shape[-2:]
    illumination = local_illumination(lamps)
    surroundings = gaussian_blur(scene, height / 10)
    halo = glow(lamps, sampler.generator)
    styles, light, glows = [], [], []
    for index, severity in enumerate(severities):
        amount = sampler.uniform(*AMOUNTS[severity])
        styles.append(_zoom(_night_styles(sampler, amount), sampler, settings))
        here = slice(index, index + 1)
        lit = lamp_light(illumination[here], reach=sampler.log_uniform(0.03, 0.4)) * sampler.log_uniform(0.3, 2.0)
        lit = lit + surroundings[here] * sampler.uniform(0.3, 2.0)
        # Street light from outside the frame reaches all rain alike, strongly in some collections.
        ambient = sampler.log_uniform(0.06, 0.3) if sampler.chance(0.25) else sampler.log_uniform(0.005, 0.05)
        tint = torch.tensor([sampler.uniform(0.85, 1.15) for _ in range(3)], device=scene.device).view(1, 3, 1, 1)
        light.append(lit + ambient * tint)
        glows.append(halo[here] * sampler.uniform(0.0, 0.2 + 0.6 * amount))
    thickness = _thinned(draw_streaks(styles, height, width, sampler.generator, device=scene.device))
    return replace(
        dry_layers(scene),
        streaks=1 - torch.exp(-thickness),
        streak_light=torch.cat(light),
        glow=torch.cat(glows),
    )


def _day_styles(sampler: RandomSampler, amount: float) -> tuple[StreakStyle, ...]:
    """Far, middle and near layers of one shower: one wind, one exposure, one focus."""
    # A short exposure freezes drops to dashes and leaves each brighter, a long one draws faint threads.
    exposure = sampler.log_uniform(0.28, 2.2)
    # Many faint streaks make a texture, few bright ones stand alone; both occur in rain of any strength.
    crowd = sampler.log_uniform(1.0, 12.0)
    wind = max(-45.0, min(45.0, float(sampler.normals(1, 0.0, 14.0))))
    density = crowd * (0.4 + 1.4 * amount)
    strength = exposure**-0.35 * crowd**-0.4 * sampler.log_uniform(0.75, 1.7) * (0.75 + 0.6 * amount)
    middle = StreakStyle(
        density=sampler.log_uniform(500, 2000) * density,
        angle_deg=wind,
        angle_spread_deg=sampler.uniform(1.0, 5.0),
        length=sampler.log_uniform(16, 50) * exposure,
        width=sampler.log_uniform(0.9, 2.2),
        strength=sampler.uniform(0.16, 0.36) * strength,
        oscillation=sampler.uniform(0.0, 0.5),
        distance=sampler.uniform(0.0, 0.35),
    )
    far = replace(
        middle,
        density=sampler.log_uniform(3000, 9000) * density,
        length=sampler.log_uniform(7, 18) * exposure,
        width=sampler.log_uniform(0.7, 1.3),
        strength=sampler.uniform(0.12, 0.26) * strength,
        distance=sampler.uniform(0.35, 0.7),
    )
    near = replace(
        middle,
        density=sampler.log_uniform(8, 90) * (0.4 + 1.4 * amount),
        length=sampler.log_uniform(45, 150) * exposure,
        width=sampler.log_uniform(2.2, 6.0),
        strength=sampler.uniform(0.2, 0.45) * exposure**-0.35,
        defocus=sampler.log_uniform(0.7, 4.0),
        distance=0.0,
    )
    return ((middle,), (middle, near), (far, middle), (far, middle, near))[sampler.choice([0.15, 0.1, 0.35, 0.4])]


def _night_styles(sampler: RandomSampler, amount: float) -> tuple[StreakStyle, ...]:
    """Layers of one shower at night: the exposure is long, and so are the streaks."""
    exposure = sampler.log_uniform(0.6, 2.5)
    crowd = sampler.log_uniform(0.6, 4.0)
    wind = max(-45.0, min(45.0, float(sampler.normals(1, 0.0, 14.0))))
    density = crowd * (0.4 + 1.5 * amount)
    strength = crowd**-0.35 * sampler.log_uniform(0.8, 1.75) * (0.6 + 0.9 * amount)
    middle = StreakStyle(
        density=sampler.log_uniform(300, 1300) * density,
        angle_deg=wind,
        angle_spread_deg=sampler.uniform(1.0, 4.0),
        length=sampler.log_uniform(35, 100) * exposure,
        width=sampler.log_uniform(1.0, 2.4),
        strength=sampler.uniform(0.15, 0.4) * strength,
        oscillation=sampler.uniform(0.0, 0.6),
    )
    far = replace(
        middle,
        density=sampler.log_uniform(1500, 5000) * density,
        length=sampler.log_uniform(15, 40) * exposure,
        width=sampler.log_uniform(0.8, 1.4),
        strength=sampler.uniform(0.1, 0.3) * strength,
    )
    near = replace(
        middle,
        density=sampler.log_uniform(6, 60) * (0.4 + 1.5 * amount),
        length=sampler.log_uniform(80, 220) * exposure,
        width=sampler.log_uniform(2.2, 6.0),
        strength=sampler.uniform(0.2, 0.5),
        defocus=sampler.log_uniform(0.7, 4.0),
    )
    return ((middle,), (middle, near), (far, middle, near))[sampler.choice([0.15, 0.25, 0.6])]


def _zoom(styles: tuple[StreakStyle, ...], sampler: RandomSampler, settings: RainSettings) -> tuple[StreakStyle, ...]:
    zoom = sampler.log_uniform(settings.zoom_min, settings.zoom_max)
    return tuple(zoomed(style, zoom) for style in styles)


def _thinned(thickness: Tensor) -> Tensor:
    """Bound the mean of each picture (B, 1, H, W): the scene shows through the heaviest rain."""
    mean = thickness.mean(dim=(1, 2, 3), keepdim=True)
    return thickness * (_THICKEST / mean.clamp(min=_THICKEST))


def _depth(batch: int, height: int, width: int, sampler: RandomSampler, device: torch.device) -> Tensor:
    """A guess at distance, 0 near to 1 far, (B, 1, H, W): far above, near below, uneven."""
    rows = (1 - (torch.arange(height, device=device) + 0.5) / height).view(1, 1, -1, 1)
    power = sampler.uniforms(batch, 0.6, 1.8).to(device).view(-1, 1, 1, 1)
    uneven = sampler.uniforms(batch * 24, 0.0, 1.0).to(device).view(batch, 1, 4, 6)
    uneven = F.interpolate(uneven, (height, width), mode="bicubic", align_corners=False)
    return (0.15 + 0.75 * rows**power + 0.4 * (uneven - 0.5)).clamp(0, 1)


def _veil_opacity(sampler: RandomSampler, amount: float) -> float:
    """1 - transmission at the far end."""
    return sampler.uniform(0.02, 0.07 + 0.27 * amount)


def _veil(depth: Tensor, opaque: float, sampler: RandomSampler) -> Tensor:
    """1 - T with T = exp(-beta d), beta such that T = 1 - opaque at d = 1; thicker and thinner in curtains."""
    if opaque <= 0:
        return torch.zeros_like(depth)
    curtains = sampler.uniforms(30, 0.0, 1.0).to(depth.device).view(1, 1, 3, 10)
    curtains = F.interpolate(curtains, depth.shape[-2:], mode="bicubic", align_corners=False)
    return 1 - (1 - opaque) ** (depth * (0.7 + 0.6 * curtains)).clamp(min=0)
