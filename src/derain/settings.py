"""Settings: frozen typed models, filled from YAML and `--set a.b=c`.

A settings class derives from `Settings` and lives beside the code that reads it. Unknown keys are refused and the
nearest known key is named, so that a mistyped option can never be silently ignored.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from derain.errors import SettingsError


class Settings(BaseModel):
    """Base of every settings model: immutable, typed, no unknown keys; field docstrings become descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


S = TypeVar("S", bound=Settings)


def load_settings(model: type[S], path: Path | None = None, overrides: Sequence[str] = ()) -> S:
    """Fill `model` from a YAML file (if given), then from overrides such as `optimizer.lr=1e-3`.

    Raises:
        SettingsError: the file is missing or is not a YAML mapping, or a key or value is refused.
    """
    values = _read_yaml(path) if path is not None else {}
    for override in overrides:
        _apply_override(values, override)
    return build_settings(model, values, source=str(path) if path is not None else "settings")


def build_settings(model: type[S], values: Mapping[str, Any], source: str = "settings") -> S:
    """Validate plain values into `model`; the error names each refused key, what came, and the nearest known key."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(model, detail) for detail in error.errors()]
        raise SettingsError(f"{source}: " + "; ".join(lines)) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.exists():
        nearest = get_close_matches(path.name, [other.name for other in path.parent.glob("*.yaml")], n=1)
        hint = f"did you mean {path.with_name(nearest[0])}?" if nearest else "give the path of a YAML file"
        raise SettingsError(f"{path}: no such recipe; {hint}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: this is not a text file in UTF-8; give the path of a YAML recipe") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); give the path of a YAML recipe") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML ({error}); correct the line it names") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: wanted a mapping of settings, got a {type(values).__name__}")
    return values


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise SettingsError(f"--set {override!r}: wanted key=value, such as --set optimizer.lr=1e-3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {override!r}: the value is not valid YAML ({error})") from error
    if isinstance(value, str):  # YAML 1.1 reads 1e-3, without a dot, as text
        with suppress(ValueError):
            value = float(value)
    node = values
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise SettingsError(f"--set {override!r}: {part!r} is a value, it has no settings below it")
        node = child
    node[parts[-1]] = value


def _explain(model: type[Settings], detail: Any) -> str:
    path = [str(part) for part in detail["loc"]]
    name = ".".join(path)
    if detail["type"] != "extra_forbidden":
        return f"{name}: {detail['msg']}, got {detail['input']!r}"
    known = _known_keys(model, path[:-1])
    nearest = get_close_matches(path[-1], known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known here: {', '.join(sorted(known))}"
    return f"{name}: no such setting; {hint}"


def _known_keys(model: type[Settings], path: Sequence[str]) -> list[str]:
    """The field names of the settings model that lies at `path` below `model`."""
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            continue  # a list index or a union's tag
        candidates = [field.annotation, *get_args(field.annotation)]
        candidates += [inner for candidate in candidates for inner in get_args(candidate)]
        inner_models = [c for c in candidates if isinstance(c, type) and issubclass(c, Settings)]
        if not inner_models:
            return []
        model = inner_models[0]
    return list(model.model_fields)
