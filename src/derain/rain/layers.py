"""What lies between a scene and its rainy picture, and the one equation that puts it together."""

from dataclasses import dataclass

import torch
from torch import Tensor

from derain.imaging.color import linear_to_srgb
from derain.rain.compression import compress


@dataclass(frozen=True)
class RainLayers:
    """Everything between the scene and the rainy picture; `compose` puts them together again.

    With scene S, streaks a, their light C, occlusion k, veil V, airlight A, glow G, and alpha D and refraction R of the
    drops (or flakes), all in linear light (in sRGB-encoded values for the pictures where `encoded` is true):

        rained = (1 - k a) S + a C
        misty  = (1 - V) rained + V A + G
        rainy  = JPEG(sRGB((1 - D) misty + D R) + noise)        clipped to [0, 1] before sRGB and before JPEG

    The target is JPEG(sRGB(S)), except where `scene` is out of focus.
    """

    scene: Tensor
    """(B, 3, H, W) what lies behind the rain, linear: the target, out of focus where the camera focuses on drops."""
    streaks: Tensor
    """(B, 1, H, W) opacity of the streaks, 0 to 1; at night and in added looks the amount of their light."""
    streak_light: Tensor
    """(B, 3, H, W) the light of a streak that is fully there."""
    occlusion: Tensor
    """(B, 1, 1, 1) how much of the scene an opaque streak hides: 1 by day, 0 where rain only adds light."""
    veil: Tensor
    """(B, 1, H, W) weight of the airlight, 0 to 1."""
    airlight: Tensor
    """(B, 3, 1, 1) colour of the veil; in haze and snow by night (B, 3, H, W), brighter near lamps."""
    glow: Tensor
    """(B, 3, H, W) light of the lamps scattered by the rain, added."""
    drop_alpha: Tensor
    """(B, 1, H, W) weight of what lies before the veil, 0 to 1: drops on the glass, or flakes of snow."""
    refraction: Tensor
    """(B, 3, H, W) what is seen through the drops, or the light of the flakes, linear."""
    encoded: Tensor
    """(B, 1, 1, 1) bool: this picture is composed of sRGB-encoded values, as public benchmarks are."""
    noise: Tensor
    """(B, 3, H, W) noise of the sensor in sRGB-encoded values, what clipping left of it."""
    jpeg_quality: Tensor
    """(B,) quality of the compression, 0 for none."""


def compose(layers: RainLayers) -> Tensor:
    """The rainy picture, (B, 3, H, W) sRGB-encoded; the equation stands at `RainLayers`."""
    encoded = bool(layers.encoded.any())
    scene = torch.where(layers.encoded, linear_to_srgb(layers.scene), layers.scene) if encoded else layers.scene
    rained = scene * (1 - layers.occlusion * layers.streaks) + layers.streaks * layers.streak_light
    misty = torch.lerp(rained, layers.airlight.expand_as(rained), layers.veil) + layers.glow
    seen = torch.lerp(misty, layers.refraction, layers.drop_alpha).clamp(0, 1)
    rainy = linear_to_srgb(seen)
    if encoded:
        rainy = torch.where(layers.encoded, seen, rainy)
    return compress((rainy + layers.noise).clamp(0, 1), layers.jpeg_quality)


def dry_layers(scene: Tensor) -> RainLayers:
    """Layers that change nothing; `scene` (B, 3, H, W) linear."""
    plane, picture = torch.zeros_like(scene[:, :1]), torch.zeros_like(scene)
    number = plane[:, :, :1, :1]
    return RainLayers(
        scene=scene,
        streaks=plane,
        streak_light=picture,
        occlusion=number,
        veil=plane,
        airlight=picture[:, :, :1, :1],
        glow=picture,
        drop_alpha=plane,
        refraction=picture,
        encoded=number > 0,
        noise=picture,
        jpeg_quality=number[:, 0, 0, 0],
    )
