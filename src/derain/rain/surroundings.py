"""The light that falls on what is in the air: daylight around each place, and lamps by night."""

import torch
import torch.nn.functional as F
from torch import Tensor

from derain.rain.blur import gaussian_blur

_BLACK = 1e-3
"""Light below this level has no hue to keep."""


def daylight(scene: Tensor) -> tuple[Tensor, Tensor]:
    """Light around each place (B, 3, H, W), and of the sky (B, 3, 1, 1), paler than the brightest part in view."""
    surroundings = gaussian_blur(scene, scene.shape[-2] / 8)
    coarse = F.interpolate(surroundings, (16, 16), mode="area").flatten(2)
    brightest = coarse.sum(dim=1).topk(8).indices
    sky = coarse.gather(2, brightest[:, None].expand(-1, 3, -1)).mean(dim=2)
    sky = torch.lerp(sky, sky.mean(dim=1, keepdim=True), 0.6)
    # A drop sees the sky even where the camera does not.
    level = sky.mean(dim=1, keepdim=True).clamp(min=1e-3)
    return surroundings, (sky * level.clamp(min=0.3) / level).clamp(max=1)[..., None, None]


def brightened(light: Tensor, least: Tensor) -> Tensor:
    """Light (B, 3, 1, 1) of a mean over its colours of at least `least`, hue kept; black has none and becomes grey."""
    light = light + (_BLACK - light.mean(dim=1, keepdim=True)).clamp(min=0)
    level = light.mean(dim=1, keepdim=True)
    return light * torch.maximum(level, least) / level


def lamp_light(illumination: Tensor, reach: float) -> Tensor:
    """How bright lamps make a thing in the air, (1, 3, H, W): E / (max over colours of E + reach), which keeps the hue.

    Lamps differ by orders of magnitude; so that faint ones light their rain too, the brightest saturate.
    """
    return illumination / (illumination.amax(dim=1, keepdim=True) + reach)
