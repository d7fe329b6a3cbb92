"""derain: take the rain out of photographs.

    import derain

    restorer = derain.load("tiny")  # or derain.from_pretrained("owner/name")
    restored = restorer(image)  # an array, a PIL image or a tensor; the same comes back

The names below are loaded when they are first used, so that `import derain` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from derain.data.pairs import Pair
    from derain.infer.published import from_pretrained, push_to_hub, save_pretrained
    from derain.infer.restore import Restorer, load
    from derain.types import RainType

__version__ = "0.1.0"

__all__ = [
    "Pair",
    "RainType",
    "Restorer",
    "__version__",
    "from_pretrained",
    "load",
    "push_to_hub",
    "save_pretrained",
]

_HOMES = {
    "Pair": "derain.data.pairs",
    "RainType": "derain.types",
    "Restorer": "derain.infer.restore",
    "from_pretrained": "derain.infer.published",
    "load": "derain.infer.restore",
    "push_to_hub": "derain.infer.published",
    "save_pretrained": "derain.infer.published",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'derain' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
