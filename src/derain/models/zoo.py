"""Every network that can be chosen by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from derain.errors import SettingsError
from derain.models.routed import RoutedNetwork
from derain.models.unirain import UniRain, UniRainSettings
from derain.models.unirain_tiny import UniRainTiny, UniRainTinySettings
from derain.settings import Settings, build_settings


@dataclass(frozen=True)
class Entry:
    """A network by name: how it is built, its settings, and where it comes from."""

    build: Callable[[Any], RoutedNetwork]
    settings: Settings
    size_multiple: int
    source: str


MODELS: Mapping[str, Entry] = {
    "full": Entry(UniRain, UniRainSettings(), UniRain.size_multiple, "UniRain, CVPR 2026: the paper's network"),
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
        UniRain.size_multiple,
        "UniRain, narrower and shallower",
    ),
    "tiny": Entry(
        UniRainTiny, UniRainTinySettings(), UniRainTiny.size_multiple, "UniRain's mixtures at half resolution, for CPUs"
    ),
}


def build(name: str, settings: Settings | Mapping[str, Any] | None = None) -> RoutedNetwork:
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
    return entry.build(settings)
