"""Names that settings of the reweighting had in files of earlier versions: settings.yaml, training states."""

from collections.abc import Mapping
from typing import Any

NAMES = {
    "heard": "af_types",
    "doubt": "significance",
    "balanced": "tbs_horizon",
    "inertia": "weight_momentum",
    "probed": "probe_weights",
}
"""Former name -> name."""

VALUES = {
    "af_types": {"fed": "upweighted"},
    "probe_weights": {"average": "ema", "present": "current"},
}
"""Name -> former value -> value."""


def translate(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under today's names and values.

    Raises:
        ValueError: one setting is given under both names.
    """
    translated: dict[str, Any] = {}
    for key, value in settings.items():
        name = NAMES.get(key, key)
        if name in translated or (name != key and name in settings):
            former = next(old for old, new in NAMES.items() if new == name)
            raise ValueError(f"{former} is the former name of {name}; give {name} alone")
        translated[name] = VALUES.get(name, {}).get(value, value) if isinstance(value, str) else value
    return translated
