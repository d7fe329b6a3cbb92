"""The training methods by name."""

from difflib import get_close_matches

from derain.errors import SettingsError
from derain.train.methods.method import Prepare
from derain.train.methods.supervised import prepare_supervised

METHODS: dict[str, Prepare] = {
    "supervised": prepare_supervised,
}


def method_named(name: str) -> Prepare:
    """The preparation of a method.

    Raises:
        SettingsError: there is no such method.
    """
    if name not in METHODS:
        nearest = get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are: {', '.join(METHODS)}"
        raise SettingsError(f"method.name: no training method {name!r}; {hint}")
    return METHODS[name]
