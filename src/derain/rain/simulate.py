"""From a clean photograph to a rainy one: the four types of rain, snow and haze, as one table of recipes.

Every recipe fills in the same layers, and one function, `compose`, makes the rainy picture of them; what a layer does
to the picture is therefore written down once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from derain.errors import ImageError
from derain.imaging.color import linear_to_srgb, srgb_to_linear
from derain.rain.compression import compress
from derain.rain.drops import render_drops
from derain.rain.haze import haze
from derain.rain.layers import RainLayers, compose, dry_layers
from derain.rain.night import add_sensor_noise, day_to_night, night_scene
from derain.rain.random_sampler import RandomSampler
from derain.rain.settings import RainSettings, Severity
from derain.rain.showers import falling_rain
from derain.rain.snow import snow
from derain.rain.weather import SimulatedType
from derain.types import RainType, Weather

__all__ = [
    "RECIPES",
    "SIMULATOR_VERSION",
    "RainLayers",
    "RainSettings",
    "RainyPair",
    "Severity",
    "compose",
    "simulate",
]

SIMULATOR_VERSION = 1
"""Raised whenever the same seed and settings give other pictures than before, of any type; names of rendered pairs hold
it, so that those of an earlier version are not taken for this one's."""


@dataclass(frozen=True)
class RainyPair:
    """Rainy pictures and what they should become."""

    rainy: Tensor
    """(B, 3, H, W) sRGB-encoded, [0, 1]."""
    target: Tensor
    """(B, 3, H, W) sRGB-encoded, [0, 1]; without noise."""
    layers: RainLayers
    """What the rainy pictures were composed of."""
    severities: tuple[Severity, ...]
    """How heavy the rain is in each picture."""


def simulate(
    clean: Tensor,
    rain_type: SimulatedType,
    generator: torch.Generator,
    settings: RainSettings = RainSettings(),  # noqa: B008 -- frozen
    is_night: bool = False,
) -> RainyPair:
    """Let it rain, or snow, or lay haze over it.

    Args:
        clean: (B, 3, H, W) sRGB-encoded photographs without rain, [0, 1].
        rain_type: a type of rain, or other weather.
        generator: it decides everything, each picture of the batch gets its own rain. A CPU generator gives the same
            rain wherever `clean` lies, up to rounding; one of the device of `clean` gives other rain, and is faster
            where pictures are large.
        settings: how often what happens.
        is_night: the photographs show night already. Otherwise the types of rain by night turn day into night first,
            and the target is that night; snow and haze take the photographs as they are.

    Returns:
        Tensors on the device of `clean`. Sizes of the rain scale with H.

    Raises:
        ImageError: `clean` has another shape or type.
    """
    if clean.ndim != 4 or clean.shape[1] != 3 or not clean.is_floating_point() or clean.numel() == 0:
        raise ImageError(
            f"wanted clean photographs as a float tensor (B, 3, H, W), got {clean.dtype} {tuple(clean.shape)}; "
            "convert them with derain.imaging.io.to_tensor"
        )
    clean = clean.float().clamp(0, 1)
    sampler = RandomSampler(generator)
    weights = [settings.light_weight, settings.medium_weight, settings.heavy_weight]
    severities = tuple(list(Severity)[sampler.choice(weights)] for _ in range(len(clean)))
    target, lamps = clean, None
    by_night = rain_type.is_night if isinstance(rain_type, RainType) else is_night
    if by_night:
        linear = srgb_to_linear(clean)
        night = night_scene(linear) if is_night else day_to_night(linear, generator)
        target = clean if is_night else linear_to_srgb(night.linear)
        lamps = night.lamps
    layers = RECIPES[rain_type](srgb_to_linear(target), lamps, severities, sampler, settings)
    composed = compose(layers)
    noise = _noise(composed, settings.night_noise if by_night else settings.day_noise, sampler, settings)
    quality = _jpeg_quality(len(clean), sampler, settings).to(clean.device)
    return RainyPair(
        rainy=compress((composed + noise).clamp(0, 1), quality),
        target=compress(target, quality),
        layers=replace(layers, noise=noise, jpeg_quality=quality),
        severities=severities,
    )


def drops(
    scene: Tensor, lamps: Tensor | None, severities: Sequence[Severity], sampler: RandomSampler, settings: RainSettings
) -> RainLayers:
    """Drops on the glass in front of the lens; now and then light rain falls behind them."""
    layers = dry_layers(scene)
    behind = [sampler.chance(settings.streaks_behind_drops) for _ in severities]
    if any(behind):
        gentle = [Severity.LIGHT] * len(severities)
        rain = falling_rain(scene, lamps, gentle, sampler, settings.model_copy(update={"look_share": 0.0}))
        wet = torch.tensor(behind, device=scene.device).view(-1, 1, 1, 1)
        layers = replace(rain, streaks=rain.streaks * wet, veil=rain.veil * wet, glow=rain.glow * wet)
    glass = render_drops(scene, lamps, severities, sampler.generator)
    return replace(layers, scene=glass.scene, drop_alpha=glass.alpha, refraction=glass.refraction)


Recipe = Callable[[Tensor, Tensor | None, Sequence[Severity], RandomSampler, RainSettings], RainLayers]
"""(scene, lamps, severities, sampler, settings) -> layers; scene and lamps (B, 3, H, W) linear, no lamps by day."""

RECIPES: dict[SimulatedType, Recipe] = {
    RainType.DRS: falling_rain,
    RainType.DRD: drops,
    RainType.NRS: falling_rain,
    RainType.NRD: drops,
    Weather.SNOW: snow,
    Weather.HAZE: haze,
}


def _noise(composed: Tensor, largest: float, sampler: RandomSampler, settings: RainSettings) -> Tensor:
    """Noise of the sensor, of a deviation up to `largest`, for a part of the pictures; in sRGB-encoded values."""
    noisy = [sampler.chance(settings.noise_share) for _ in range(len(composed))]
    if largest <= 0 or not any(noisy):
        return torch.zeros_like(composed)
    with_noise = linear_to_srgb(add_sensor_noise(srgb_to_linear(composed), sampler.generator, largest))
    chosen = torch.tensor(noisy, device=composed.device).view(-1, 1, 1, 1)
    return torch.where(chosen, with_noise - composed, torch.zeros_like(composed))


def _jpeg_quality(batch: int, sampler: RandomSampler, settings: RainSettings) -> Tensor:
    """(B,) 0 for the pictures that stay as they are."""
    qualities = sampler.uniforms(batch, settings.jpeg_quality_min, 97).round()
    return qualities * sampler.chances(batch, settings.jpeg_share)
