"""How drops bend, dim and gather light: every drop drawn into the pixels it touches.

A drop is a small, strong lens. It shows the whole scene upside down, left-right inverted and many times smaller (after
Roser & Geiger, "Video-based raindrop detection for improved image registration", 2009). Instead of tracing rays we use
the mapping they give for a spherical cap, with q the offset from the drop's centre c in radii r:

    X = c - k q r (1 + 1.5 |q|^2)
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from derain.rain.drop_shapes import HARMONICS, Drops
from derain.rain.patches import Patches, patches_around

_MERGE = 0.25  # width, in radii, over which the two circles of a drop flow into one another
LENS_BLURS = (0.008, 0.07)
"""Blur, in picture heights, of the two versions of the scene seen in large sharp and in small or soft drops."""


@dataclass(frozen=True)
class Optics:
    """How one pane of drops handles light; the same for all of its drops."""

    span: float
    """How far the view through a drop reaches from its centre before the rim bends it further, in picture heights."""
    brightness: float
    """Transmission of the drops."""
    veil: float
    """Share of the light of the sky scattered into every drop: what makes drops milky."""
    rim: float
    """Darkening of the rim, where light is totally reflected."""
    rim_width: float
    """In radii."""
    slope: float
    """Brightening towards the drop's lower end, which looks at the sky above the frame."""
    spot: float
    """Strength of the mirror image of the brightest light."""
    spot_size: float
    """In radii."""
    spot_angle: float
    """Where the spot sits; 0 is the drop's upper end."""
    crescent: float
    """Strength of the bright arc where light is gathered, opposite to the spot."""
    sparkle: float
    """Light of near lamps that spreads over a whole drop, at night."""


@dataclass(frozen=True)
class Glass:
    """Sums over all drops at each pixel, to be turned into layers."""

    clearness: Tensor
    """(B, 1, H, W) logarithm of what light passes beside all drops."""
    weight: Tensor
    """(B, 1, H, W) sum of the drops' weights in what is seen."""
    shift: Tensor
    """(B, 2, H, W) weighted sum of where the drops look to, right and down, in pixels."""
    coarse: Tensor
    """(B, 1, H, W) weighted sum of the share taken from the coarse copy of the scene."""
    gain: Tensor
    """(B, 1, H, W) weighted sum of the factor on the light from the scene."""
    shine: Tensor
    """(B, 1, H, W) weighted sum of the light of the sky that is added."""
    sparkle: Tensor
    """(B, 1, H, W) weighted sum of the light of near lamps that is added."""


def rasterise_drops(drops: Drops, picture: Tensor, optics: Tensor, batch: int, height: int, width: int) -> Glass:
    """Draw every drop into the patch of pixels it touches and sum up.

    `picture` (n,) says in which of the batch's pictures a drop lies; `optics` (batch, 11) holds the fields of one
    `Optics` a row.
    """
    canvas = torch.zeros(batch * height * width + 1, 8, device=drops.x.device)
    reach = drops.reach * height + 1.0
    for patches in patches_around(picture, drops.x * height, drops.y * height, reach, batch, height, width):
        values = _draw(drops, optics[picture[patches.item]], patches, height)
        canvas.index_add_(0, patches.pixel.flatten(), values.flatten(0, 2))
    layers = canvas[:-1].view(batch, height, width, 8).permute(0, 3, 1, 2)
    return Glass(*torch.split(layers, [1, 1, 2, 1, 1, 1, 1], dim=1))


def _draw(drops: Drops, optics: Tensor, patches: Patches, height: int) -> Tensor:
    """(n, P, P, 8) summands of `Glass` for the drops of one group of patches; `optics` (n, 11) are theirs."""
    item = patches.item

    def each(values: Tensor) -> Tensor:
        return values[item][:, None, None]

    span, brightness, veil, rim, rim_width, slope, spot, spot_size, spot_angle, crescent, sparkle = (
        optics[:, index][:, None, None] for index in range(optics.shape[1])
    )
    radius = each(drops.radius) * height
    q_x, q_y = patches.x / radius, patches.y / radius
    squared = q_x.square() + q_y.square()

    edge = _outline(q_x, q_y, drops, item)
    defocus = (each(drops.defocus) * height).clamp(min=0.6)
    softness = defocus / radius
    inside = (0.5 - edge / (2 * softness)).clamp(0, 1)
    # a drop smaller than its circle of confusion is spread thin
    peak = each(drops.opacity) * (1 / softness).clamp(max=1).pow(1.5)
    alpha = (inside * inside * (3 - 2 * inside) * peak).clamp(max=0.999)

    magnification = (span * height / radius).clamp(5, 40)
    shift = -magnification * radius * (1 + 1.5 * squared.clamp(max=1.2))
    # blur of the view: a little of the drop's width, and what the camera's defocus adds, both magnified
    blur = (0.04 + 0.15 * softness + 0.5 / radius) * magnification * radius / height * (1 + 3 * squared)
    coarse = (torch.log(blur / LENS_BLURS[0]) / math.log(LENS_BLURS[1] / LENS_BLURS[0])).clamp(0, 1)

    sharpness = (1 - softness).clamp(min=0.15)
    depth = (1 + edge / (rim_width + 0.5 * softness)).clamp(0, 1)  # 0 inside, 1 at the edge
    gain = brightness * (1 - rim * sharpness * depth.square()) * (1 + slope * q_y.clamp(-1, 1))
    spread = spot_size.square() + softness.square()
    mirror = torch.exp(-((q_x - 0.5 * spot_angle.sin()).square() + (q_y + 0.5 * spot_angle.cos()).square()) / spread)
    towards = (q_y * spot_angle.cos() - q_x * spot_angle.sin()).clamp(min=0)
    arc = torch.exp(-((edge + 0.3) / (0.18 + 0.3 * softness)).square()) * towards.square()
    shine = veil + spot * spot_size.square() / spread * mirror + crescent * sharpness * arc
    ring = 0.8 + 0.4 * torch.exp(-((edge + 0.12) / 0.15).square())
    # where drops overlap, the one whose edge is farther away is seen: together they look like one merged drop
    depth_in_heights = (-edge).clamp(min=0) * radius / height
    weight = alpha * (0.05 + depth_in_heights / 0.03).pow(3)
    return torch.stack(
        [
            torch.log1p(-alpha),
            weight,
            weight * shift * q_x,
            weight * shift * q_y,
            weight * coarse,
            weight * gain,
            weight * shine,
            weight * sparkle * ring,
        ],
        dim=-1,
    )


def _outline(q_x: Tensor, q_y: Tensor, drops: Drops, item: Tensor) -> Tensor:
    """Distance from the outline in radii, negative inside, at offsets q (n, 1, P) and (n, P, 1) from the centre."""

    def each(values: Tensor) -> Tensor:
        return values[item][:, None, None]

    cosine, sine = each(drops.axis.cos()), each(drops.axis.sin())
    root = each(drops.stretch.sqrt())
    u = (cosine * q_x + sine * q_y) * root
    v = (cosine * q_y - sine * q_x) / root
    distance = torch.hypot(u, v).clamp(min=1e-3)
    edge = distance - 1
    direction_u, direction_v = u / distance, v / distance
    power_u, power_v = direction_u, direction_v
    amplitude_cosine = drops.amplitude * drops.phase.cos()
    amplitude_sine = drops.amplitude * drops.phase.sin()
    for index, _ in enumerate(HARMONICS):  # cos and sin of n times the angle, from those of n - 1 times
        power_u, power_v = power_u * direction_u - power_v * direction_v, power_u * direction_v + power_v * direction_u
        edge = edge - each(amplitude_cosine[:, index]) * power_u + each(amplitude_sine[:, index]) * power_v
    lobe = torch.hypot(u - each(drops.lobe_x), v - each(drops.lobe_y)) - each(drops.lobe_radius)
    blend = (_MERGE - (edge - lobe).abs()).clamp(min=0) / _MERGE
    return torch.minimum(edge, lobe) - 0.25 * _MERGE * blend.square()
