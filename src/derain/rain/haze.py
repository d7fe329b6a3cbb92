"""Haze: light scattered into the view by what hangs in the air, more of it the farther one looks.

Koschmieder (1924), in linear light: I = J t + A (1 - t), t = exp(-beta d), with the scene J, the airlight A, the
scattering beta and the distance d, which is made up (see `rain.depth`).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from derain.rain.depth import scene_depth
from derain.rain.layers import RainLayers, dry_layers
from derain.rain.night import glow, local_illumination
from derain.rain.random_sampler import RandomSampler
from derain.rain.settings import RainSettings, Severity
from derain.rain.surroundings import brightened, daylight, lamp_light

_FAR_TRANSMISSIONS = {Severity.LIGHT: (0.65, 0.88), Severity.MEDIUM: (0.4, 0.65), Severity.HEAVY: (0.15, 0.4)}
"""t at the farthest point, from ... to."""


def haze(
    scene: Tensor,
    lamps: Tensor | None,
    severities: Sequence[Severity],
    sampler: RandomSampler,
    settings: RainSettings,  # noqa: ARG001 -- every recipe is called alike
) -> RainLayers:
    """Haze before scenes (B, 3, H, W) in linear light; by night, where `lamps` are given, these colour it."""
    depth = scene_depth(scene, sampler)
    veils = []
    for index, severity in enumerate(severities):
        transmission = sampler.uniform(*_FAR_TRANSMISSIONS[severity])
        veils.append(haze_veil(depth[index : index + 1], transmission, sampler))
    veil = torch.cat(veils)
    if lamps is None:
        return replace(dry_layers(scene), veil=veil, airlight=day_airlight(scene, sampler))
    airlight = night_airlight(scene, lamps, sampler)
    strength = torch.tensor([sampler.uniform(0.3, 1.0) for _ in severities], device=scene.device).view(-1, 1, 1, 1)
    halo = glow(lamps, sampler.generator) * strength * veil.mean(dim=(1, 2, 3), keepdim=True)
    return replace(dry_layers(scene), veil=veil, airlight=airlight, glow=halo)


def transmission(depth: Tensor, scattering: Tensor | float) -> Tensor:
    """t = exp(-beta d): the share of the light that arrives; of any shape, `depth` not negative."""
    return torch.exp(-scattering * depth)


def haze_veil(depth: Tensor, far_transmission: float, sampler: RandomSampler) -> Tensor:
    """1 - t of one picture (1, 1, H, W), with beta such that t = `far_transmission` at d = 1, uneven by a sixth."""
    scattering = -torch.log(torch.tensor(far_transmission, device=depth.device))
    uneven = sampler.uniforms(3 * 5, 0.0, 1.0).view(1, 1, 3, 5).to(depth.device)
    uneven = F.interpolate(uneven, depth.shape[-2:], mode="bilinear", align_corners=False)
    return 1 - transmission(depth, scattering * (5 / 6 + uneven / 3))


def day_airlight(scene: Tensor, sampler: RandomSampler) -> Tensor:
    """(B, 3, 1, 1) colour of the haze by day: that of the sky in view, brighter or darker, warmer or cooler."""
    _, sky = daylight(scene)
    level = sky.mean(dim=1, keepdim=True)
    sky = torch.lerp(level, sky, 0.5)  # droplets scatter all colours alike
    least = sampler.uniforms(len(scene), 0.35, 0.75).to(scene.device).view(-1, 1, 1, 1)
    warmth = sampler.normals(len(scene), 0.0, 0.03).to(scene.device).view(-1, 1, 1, 1)
    gain = sampler.uniforms(len(scene), 0.85, 1.15).to(scene.device).view(-1, 1, 1, 1)
    tint = torch.cat([1 + warmth, torch.ones_like(warmth), 1 - warmth], dim=1)
    return (brightened(sky, least) * gain * tint).clamp(max=0.97)


def night_airlight(scene: Tensor, lamps: Tensor, sampler: RandomSampler) -> Tensor:
    """(B, 3, H, W) what haze scatters by night: a dim glow of the town, and the light of lamps near by."""
    illumination = local_illumination(lamps)
    count = len(scene)
    ambient = (0.015 * (sampler.uniforms(count, 0.0, 2.0)).exp()).to(scene.device).view(-1, 1, 1, 1)
    tint = torch.stack(
        [
            sampler.uniforms(count, 0.85, 1.25),
            torch.ones(count, device=sampler.generator.device),
            sampler.uniforms(count, 0.7, 1.2),
        ],
        dim=1,
    )
    gain = sampler.uniforms(count, 0.15, 0.7).to(scene.device).view(-1, 1, 1, 1)
    return (ambient * tint.to(scene.device)[..., None, None] + gain * lamp_light(illumination, 0.3)).clamp(max=1)
