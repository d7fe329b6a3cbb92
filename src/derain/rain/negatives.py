"""Synthetic negatives: rain and pairs that are wrong on purpose, to try judges of pairs on.

`NEGATIVES` is the table. Three of its rows make rain that breaks physics (Garg & Nayar, "Vision and rain", IJCV 2007: a
streak shows the light of its surroundings and hides what is behind it; a drop on glass refracts the scene); the others
take good rain and spoil the pair around it, in the ways that collections of pairs are spoiled. Sizes scale with the
height of the picture; values are sRGB-encoded.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from derain.errors import ImageError
from derain.rain.blur import gaussian_blur
from derain.rain.compression import compress
from derain.rain.random_sampler import RandomSampler
from derain.rain.streaks import FRAME_HEIGHT, StreakStyle, draw_streaks


@dataclass(frozen=True)
class GoodPair:
    """What a synthetic negative is made from."""

    rainy: Tensor
    """(1, 3, H, W) in [0, 1]: a picture with good rain."""
    target: Tensor
    """(1, 3, H, W): the same without rain."""
    other: Tensor
    """(1, 3, h, w): another scene, of any size."""

    def __post_init__(self) -> None:
        for name, image in (("rainy", self.rainy), ("target", self.target), ("other", self.other)):
            if image.ndim != 4 or image.shape[:2] != (1, 3) or not image.is_floating_point() or image.numel() == 0:
                raise ImageError(
                    f"wanted {name} as a float image (1, 3, H, W), got {image.dtype} {tuple(image.shape)}; "
                    "convert it with derain.imaging.io.to_tensor"
                )
        if self.rainy.shape != self.target.shape:
            raise ImageError(
                f"wanted a rainy picture and a target of one size, got {tuple(self.rainy.shape)} and "
                f"{tuple(self.target.shape)}; crop or resize one of them"
            )


@dataclass(frozen=True)
class SyntheticNegative:
    """A pair that is not to be trusted; both (1, 3, H, W) in [0, 1]."""

    rainy: Tensor
    target: Tensor


# --- Rain that breaks physics ---------------------------------------------------------------------------------------


def grey_lines(good: GoodPair, generator: torch.Generator) -> SyntheticNegative:
    """Lines of one grey, one direction, one length and one width, added whatever the light behind them."""
    sampler = RandomSampler(generator)
    grey = sampler.uniform(0.15, 0.45)
    style = StreakStyle(
        density=sampler.log_uniform(400, 2500),
        angle_deg=sampler.uniform(-40, 40),
        angle_spread_deg=0.0,
        length=sampler.log_uniform(20, 90),
        width=sampler.log_uniform(1.2, 3.5),
        strength=1.0,
        length_spread=0.0,
        width_spread=0.0,
        strength_spread=0.0,
        taper=0.02,
    )
    lines = _drawn(style, good.target, generator).clamp(max=1)
    return SyntheticNegative((good.target + grey * lines).clamp(0, 1), good.target)


def round_blobs(good: GoodPair, generator: torch.Generator) -> SyntheticNegative:
    """Discs of one colour and nearly one size, half transparent: no refraction, no rim, no light of the scene."""
    sampler = RandomSampler(generator)
    height, width = good.target.shape[-2:]
    radius = sampler.log_uniform(0.012, 0.05) * height
    count = max(6, round(sampler.uniform(0.04, 0.15) * height * width / (math.pi * radius**2)))
    x = sampler.uniforms(count, 0, width).view(-1, 1, 1)
    y = sampler.uniforms(count, 0, height).view(-1, 1, 1)
    radii = (radius * sampler.uniforms(count, 0.85, 1.15)).view(-1, 1, 1)
    softness = sampler.uniform(0.5, 2.5)
    columns, rows = torch.arange(width) + 0.5, (torch.arange(height) + 0.5).view(-1, 1)
    cover = torch.zeros(height, width)
    for index in range(count):
        distance = torch.hypot(columns - x[index], rows - y[index])
        cover = torch.maximum(cover, ((radii[index] - distance) / softness + 0.5).clamp(0, 1))
    alpha = cover.to(good.target.device) * sampler.uniform(0.35, 0.8)
    colour = good.target.new_tensor([sampler.uniform(0.6, 0.95)] * 3).view(1, 3, 1, 1)
    return SyntheticNegative(torch.lerp(good.target, colour.expand_as(good.target), alpha), good.target)


def repeated_pattern(good: GoodPair, generator: torch.Generator) -> SyntheticNegative:
    """One tile of streaks, itself varied, laid side by side over the whole picture, in screen blend."""
    sampler = RandomSampler(generator)
    height, width = good.target.shape[-2:]
    side = max(16, round(sampler.uniform(0.14, 0.34) * height))
    style = StreakStyle(
        density=sampler.log_uniform(800, 3500) * (side / height),
        angle_deg=sampler.uniform(-30, 30),
        angle_spread_deg=sampler.uniform(1, 4),
        length=sampler.log_uniform(20, 60) * height / side,
        width=sampler.log_uniform(1.0, 2.5) * height / side,
        strength=sampler.uniform(0.2, 0.4),
    )
    tile = draw_streaks([[style]], side, side, generator).clamp(max=1)
    rain = tile.repeat(1, 1, -(-height // side), -(-width // side))[..., :height, :width].to(good.target.device)
    return SyntheticNegative(1 - (1 - good.target) * (1 - rain), good.target)


# --- Good rain in a spoiled pair ------------------------------------------------------------------------------------


def misaligned_target(good: GoodPair, generator: torch.Generator) -> SyntheticNegative:
    """The target shifted by up to a fiftieth of the height, turned by up to 1.5 degrees and scaled by up to 2 %."""
    sampler = RandomSampler(generator)
    height = good.target.shape[-2]
    direction, distance = sampler.uniform(0, 2 * math.pi), sampler.log_uniform(0.006, 0.02) * height
    turn = sampler.uniform(-1.5, 1.5) if sampler.chance(0.5) else 0.0
    scale = sampler.uniform(0.98, 1.02) if sampler.chance(0.5) else 1.0
    shift = (distance * math.cos(direction), distance * math.sin(direction))
    return SyntheticNegative(good.rainy, moved(good.target, shift, turn, scale))


def wrong_target(good: GoodPair, generator: torch.Generator) -> SyntheticNegative:  # noqa: ARG001 -- the table's signature
    """Another scene as the target."""
    size = good.rainy.shape[-2:]
    other = F.interpolate(good.other, size, mode="bicubic", antialias=True, align_corners=False)
    return SyntheticNegative(good.rainy, other.clamp(0, 1))


def target_still_rainy(good: GoodPair, generator: torch.Generator) -> SyntheticNegative:
    """A target that keeps a good part of the rain, as a weak derainer leaves it."""
    return SyntheticNegative(
        good.rainy, torch.lerp(good.target, good.rainy, RandomSampler(generator).uniform(0.4, 0.85))
    )


def smoothed_target(good: GoodPair, generator: torch.Generator) -> SyntheticNegative:
    """A target whose texture went with the rain."""
    sigma = RandomSampler(generator).log_uniform(0.0025, 0.008) * good.target.shape[-2]
    return SyntheticNegative(good.rainy, gaussian_blur(good.target, max(sigma, 0.8)))


def colour_shifted_target(good: GoodPair, generator: torch.Generator) -> SyntheticNegative:
    """A target in another white balance."""
    sampler = RandomSampler(generator)
    order = torch.randperm(3, generator=generator, device=generator.device).tolist()
    gains = torch.tensor([sampler.uniform(0.75, 0.9), sampler.uniform(0.95, 1.05), sampler.uniform(1.1, 1.25)])[order]
    return SyntheticNegative(good.rainy, (good.target * gains.to(good.target.device).view(1, 3, 1, 1)).clamp(0, 1))


def heavy_compression(good: GoodPair, generator: torch.Generator) -> SyntheticNegative:
    """JPEG of quality 6 to 20 on the rainy picture, and on every second target too."""
    sampler = RandomSampler(generator)
    quality = torch.tensor([sampler.uniform(6, 20)]).round()
    target = compress(good.target, quality) if sampler.chance(0.5) else good.target
    return SyntheticNegative(compress(good.rainy, quality), target)


def blurred_background(good: GoodPair, generator: torch.Generator) -> SyntheticNegative:
    """Good rain over a picture that is out of focus: what the rain changed is added to the blurred target."""
    sigma = RandomSampler(generator).log_uniform(0.005, 0.014) * good.target.shape[-2]
    target = gaussian_blur(good.target, max(sigma, 1.2))
    return SyntheticNegative((target + good.rainy - good.target).clamp(0, 1), target)


MakeNegative = Callable[[GoodPair, torch.Generator], SyntheticNegative]
"""A way to be wrong."""

NEGATIVES: dict[str, MakeNegative] = {
    "grey_lines": grey_lines,
    "round_blobs": round_blobs,
    "repeated_pattern": repeated_pattern,
    "misaligned_target": misaligned_target,
    "wrong_target": wrong_target,
    "target_still_rainy": target_still_rainy,
    "smoothed_target": smoothed_target,
    "colour_shifted_target": colour_shifted_target,
    "heavy_compression": heavy_compression,
    "blurred_background": blurred_background,
}
"""Every way to be wrong, by name."""

SEEN_WITHOUT_TARGET = ("grey_lines", "round_blobs", "repeated_pattern", "heavy_compression", "blurred_background")
"""Those whose rainy picture is wrong in itself; of the others only the pair is."""


def make_negative(name: str, good: GoodPair, generator: torch.Generator) -> SyntheticNegative:
    """The synthetic negative of this name.

    Raises:
        ImageError: there is no such kind.
    """
    if name not in NEGATIVES:
        raise ImageError(f"wanted a kind of synthetic negative, one of {', '.join(NEGATIVES)}; got {name!r}")
    return NEGATIVES[name](good, generator)


def moved(image: Tensor, shift: tuple[float, float], turn_deg: float, scale: float) -> Tensor:
    """An image (1, 3, H, W) moved right and down by `shift` pixels, turned and scaled about its centre."""
    height, width = image.shape[-2:]
    angle = math.radians(turn_deg)
    rows = (torch.arange(height, device=image.device) + 0.5 - height / 2 - shift[1]).view(-1, 1)
    columns = torch.arange(width, device=image.device) + 0.5 - width / 2 - shift[0]
    from_x = (math.cos(angle) * columns + math.sin(angle) * rows) / scale
    from_y = (math.cos(angle) * rows - math.sin(angle) * columns) / scale
    grid = torch.stack([from_x * (2 / width), from_y * (2 / height)], dim=-1)[None]
    seen = F.grid_sample(image, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return seen.clamp(0, 1)


def _drawn(style: StreakStyle, like: Tensor, generator: torch.Generator) -> Tensor:
    """Streaks of one style over a picture of the size of `like`, (1, 1, H, W)."""
    thinnest = replace(style, width=max(style.width, FRAME_HEIGHT / like.shape[-2]))  # no thinner than a pixel
    return draw_streaks([[thinnest]], like.shape[-2], like.shape[-1], generator, device=like.device)
