"""Every network that can be chosen by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from derain.errors import SettingsError
from derain.models.baselines.unet import UNet, UNetSettings
from derain.models.network import RestorationNetwork
from derain.models.unirain import UniRain, UniRainSettings
from derain.models.unirain_tiny import UniRainTiny, UniRainTinySettings
from derain.settings import Settings, build_settings


@dataclass(frozen=True)
class Entry:
    """A network by name: its class, its settings, and where it comes from."""

    network: type[RestorationNetwork]
    settings: Settings
    source: str


MODELS: Mapping[str, Entry] = {
    "full": Entry(UniRain, UniRainSettings(), "UniRain, CVPR 2026: the paper's network"),
    "small": Entry(
        UniRain,
        UniRainSettings(
            width=24,
            encoder_blocks=(2, 2, 2, 4),
            decoder_blocks=(1, 2, 2),
            refinement_blocks=1,
            experts=(3, 3, 2, 1),
            expansion=2.0,
            wide_last_level=False,
        ),
        "UniRain, narrower and shallower",
    ),
    "tiny": Entry(UniRainTiny, UniRainTinySettings(), "UniRain's mixtures at half resolution, for CPUs"),
    "unet-tiny": Entry(UNet, UNetSettings(), "a plain U-Net without experts, at the cost of tiny: the baseline"),
}


def build(name: str, settings: Settings | Mapping[str, Any] | None = None) -> RestorationNetwork:
    """A network with random weights; `settings` (a model, or changes to the named defaults) replaces its settings.

    Raises:
        SettingsError: the name or a setting is not known.
    """
    if name not in MODELS:
        raise SettingsError(f"no model is called {name!r}; known: {', '.join(MODELS)}")
    entry = MODELS[name]
    if settings is None:
        settings = entry.settings
    elif not isinstance(settings, Settings):
        values = {**entry.settings.model_dump(), **settings}
        settings = build_settings(type(entry.settings), values, source=f"settings of model {name!r}")
    return entry.network(settings)
