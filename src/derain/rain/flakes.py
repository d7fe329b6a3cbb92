"""Flakes of snow, drawn one by one into the pixels they touch.

A flake is a disc with an uneven outline, blurred where it is out of focus and drawn out along its way while the shutter
was open. Both spread it over more pixels and make it more transparent. Sizes are given for a frame 512 pixels high and
scale with the height of the picture drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from derain.rain.patches import Patches, patches_around
from derain.rain.random_sampler import RandomSampler
from derain.rain.streaks import FRAME_HEIGHT

_PIXEL = 0.4  # the pixel's own footprint, which keeps small flakes from flickering
_SHARPEST = 0.55  # width of the edge of a flake in focus, in radii: flakes are fluffy
_DEPTH_SOFTNESS = 0.6
"""Span of depth before a layer over which its flakes fade. The depth is made up: a sharp cut would show its horizon as
a level line in the open, at which the snow stops."""
_LEAST_VISIBLE = 0.35
"""Opacity that flakes keep behind what seems nearer: part of a layer falls before it, and it may be open air."""


@dataclass(frozen=True)
class FlakeStyle:
    """One layer of flakes that look alike. Lengths in pixels of a frame 512 pixels high."""

    density: float
    """Flakes per million pixels of that frame."""
    radius: float
    """Median radius."""
    defocus: float
    """Radius of the circle that the camera spreads a point of this layer to."""
    fall: float
    """Length of the way during the exposure."""
    angle_deg: float
    """Mean direction of that way: 0 is straight down, positive drifts to the right on the way down."""
    angle_spread_deg: float
    """Standard deviation of the direction between flakes."""
    opacity: float
    """Opacity of the middle of a flake at rest and in focus."""
    distance: float
    """How far off the layer falls, 0 (lens) to 1 (horizon): what stands nearer hides most of it."""
    radius_spread: float = 0.35
    """Standard deviation of the logarithm of the radius."""
    roughness: float = 0.13
    """Standard deviation of each harmonic of the outline, in radii."""

    def zoomed(self, zoom: float) -> "FlakeStyle":
        """The style seen through a longer (zoom > 1) or a shorter lens."""
        return replace(self, radius=self.radius * zoom, defocus=self.defocus * zoom, fall=self.fall * zoom)


@dataclass(frozen=True)
class FlakeLayer:
    """All flakes of one style."""

    alpha: Tensor
    """(1, 1, H, W) in [0, 1): share of the view that they hide."""
    brightness: Tensor
    """(1, 1, H, W) factor on the light they show, about 1; 1 where there are none."""


@dataclass(frozen=True)
class Flakes:
    """N flakes in pixels of the picture drawn; each field (N,), but for the outline's."""

    x: Tensor
    y: Tensor
    radius: Tensor
    """Of the flake with its defocus."""
    edge: Tensor
    """Width over which the outline fades, in radii."""
    half_fall: Tensor
    angle: Tensor
    """Radians."""
    opacity: Tensor
    brightness: Tensor
    cosine: Tensor
    """(N, 2) of the second and third harmonic of the outline, in radii."""
    sine: Tensor
    """(N, 2)."""


def draw_flakes(
    styles: Sequence[FlakeStyle], height: int, width: int, generator: torch.Generator, depth: Tensor
) -> list[FlakeLayer]:
    """Draw the layers of one picture.

    The same draws are made at any size, so that a larger picture of the same shape shows the same snow, larger. `depth`
    (1, 1, H, W), 0 near to 1 far, fades the flakes behind what it shows; its device is where they are drawn.
    """
    sampler = RandomSampler(generator)
    return [_rasterise(sample_flakes(style, height, width, sampler, depth), height, width) for style in styles]


def sample_flakes(style: FlakeStyle, height: int, width: int, sampler: RandomSampler, depth: Tensor) -> Flakes:
    """Place the flakes of one layer on the device of `depth`."""
    scale = height / FRAME_HEIGHT
    count = max(1, round(style.density * FRAME_HEIGHT * FRAME_HEIGHT * width / height / 1e6))
    device = depth.device
    place = sampler.uniforms(2 * count, 0.0, 1.0).view(2, count).to(device)
    normal = sampler.normals(4 * count, 0.0, 1.0).view(4, count).to(device).clamp(-2.5, 2.5)
    outline = style.roughness * sampler.normals(4 * count, 0.0, 1.0).view(count, 4).to(device).clamp(-2, 2)
    own = style.radius * scale * torch.exp(style.radius_spread * normal[0])
    blurred = torch.sqrt(own.square() + (style.defocus * scale) ** 2 + _PIXEL**2)
    half_fall = 0.5 * style.fall * scale * torch.exp(0.3 * normal[1])
    margin = 3 * (style.radius + style.defocus + style.fall) * scale
    x = place[0] * (width + 2 * margin) - margin
    y = place[1] * (height + 2 * margin) - margin
    hidden_by = depth[0, 0, y.long().clamp(0, height - 1), x.long().clamp(0, width - 1)]
    in_front = (1 + (hidden_by - style.distance) / _DEPTH_SOFTNESS).clamp(0, 1)
    visible = _LEAST_VISIBLE + (1 - _LEAST_VISIBLE) * in_front * in_front * (3 - 2 * in_front)
    # Blur keeps the light a flake takes in sum; its way takes the share of time that it spends at one place.
    peak = style.opacity * (own / blurred).square() * blurred / (blurred + half_fall)
    calm = ((own / blurred).clamp(max=1) ** 2)[:, None]  # out of focus, outlines are round
    return Flakes(
        x=x,
        y=y,
        radius=blurred,
        edge=(_SHARPEST + (1 - own / blurred)).clamp(max=1.0),
        half_fall=half_fall,
        angle=torch.deg2rad(style.angle_deg + style.angle_spread_deg * normal[2]),
        opacity=peak * visible,
        brightness=torch.exp(0.12 * normal[3]),
        cosine=outline[:, :2] * calm,
        sine=outline[:, 2:] * calm,
    )


def flake_profile(along: Tensor, across: Tensor, flakes: Flakes) -> Tensor:
    """Opacity at a place along and across a flake's way, in pixels from its middle.

    With q the offset from the nearest point of its way, in radii, and theta its direction, the outline lies at
    |q| = 1 + sum over n = 2, 3 of a_n cos(n theta) + b_n sin(n theta), and opacity falls over it by a smooth step.
    """
    q_along = (along - along.clamp(-flakes.half_fall, flakes.half_fall)) / flakes.radius
    q_across = across / flakes.radius
    distance = torch.sqrt(q_along.square() + q_across.square()).clamp(min=1e-3)
    u, v = q_along / distance, q_across / distance
    double_u, double_v = u * u - v * v, 2 * u * v
    triple_u, triple_v = double_u * u - double_v * v, double_u * v + double_v * u
    outline = 1 + flakes.cosine[..., 0] * double_u + flakes.sine[..., 0] * double_v
    outline = outline + flakes.cosine[..., 1] * triple_u + flakes.sine[..., 1] * triple_v
    inside = (0.5 - (distance - outline) / (2 * flakes.edge)).clamp(0, 1)
    return flakes.opacity * inside * inside * (3 - 2 * inside)


def _rasterise(flakes: Flakes, height: int, width: int) -> FlakeLayer:
    """The flakes of one layer hide one another in no order: alpha = 1 - product of (1 - a)."""
    canvas = torch.zeros(height * width + 1, 3, device=flakes.x.device)
    outline = 1 + flakes.cosine.abs().sum(dim=1) + flakes.sine.abs().sum(dim=1)
    reach = flakes.radius * (outline + flakes.edge) + flakes.half_fall + 0.5
    picture = torch.zeros(len(flakes.x), dtype=torch.long, device=flakes.x.device)
    for patches in patches_around(picture, flakes.x, flakes.y, reach, 1, height, width):
        alpha = _draw(flakes, patches).clamp(max=0.995)
        values = torch.stack(
            [torch.log1p(-alpha), alpha, alpha * flakes.brightness[patches.item][:, None, None]], dim=-1
        )
        canvas.index_add_(0, patches.pixel.flatten(), values.flatten(0, 2))
    clearness, weight, light = canvas[:-1].T.reshape(3, 1, 1, height, width)
    # A pixel shows the mean of its flakes; the small constant is for those without any.
    return FlakeLayer(alpha=1 - torch.exp(clearness), brightness=(light + 1e-4) / (weight + 1e-4))


def _draw(flakes: Flakes, patches: Patches) -> Tensor:
    """(n, P, P) opacity of the flakes of one group of patches."""
    fields = {name: value[patches.item][:, None, None] for name, value in vars(flakes).items()}
    chosen = Flakes(**fields)  # the outline's two fields become (n, 1, 1, 2)
    sine, cosine = torch.sin(chosen.angle), torch.cos(chosen.angle)
    along = patches.x * sine + patches.y * cosine
    across = patches.x * cosine - patches.y * sine
    return flake_profile(along, across, chosen)
