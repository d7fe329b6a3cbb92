"""The training methods by name, and training configurations read with the options of their method."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from derain.errors import SettingsError
from derain.settings import load_settings
from derain.train.methods.method import Method
from derain.train.methods.supervised import prepare_supervised
from derain.train.settings import TrainSettings

METHODS: dict[str, Method] = {
    "supervised": Method(prepare_supervised),
}


def method_named(name: str) -> Method:
    """The method of a name.

    Raises:
        SettingsError: there is no such method.
    """
    if name not in METHODS:
        nearest = get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are: {', '.join(METHODS)}"
        raise SettingsError(f"method.name: no training method {name!r}; {hint}")
    return METHODS[name]


def load_configuration(path: Path, overrides: Sequence[str] = ()) -> TrainSettings:
    """The settings in a file with changes such as `optimizer.lr=1e-3`, and a value for each option of their method.

    Raises:
        SettingsError: the file cannot be read, or a setting, the method or one of its options is refused.
    """
    settings = load_settings(TrainSettings, path, overrides)
    return method_named(settings.method.name).with_all_options(settings)
