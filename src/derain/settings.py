"""Settings: frozen typed models, filled from YAML and `--set a.b=c`.

A settings class derives from `Settings` and lives beside the code that reads it. Unknown keys are refused and the
nearest known key is named, so that a mistyped option can never be silently ignored.

A file can build on another one: its key `base` names that file, relative to itself. The base's values come first (its
own base's before them), then the file's, then `--set`: mappings are merged key by key, everything else is replaced.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Layer:
    """Values from one place, which errors name."""

    source: str
    values: Mapping[str, Any]


def load_settings(model: type[S], path: Path | None = None, overrides: Sequence[str] = ()) -> S:
    """Fill `model` from a YAML file (if given) and what it builds on, then from overrides such as `optimizer.lr=1e-3`.

    Raises:
        SettingsError: a file is missing or is not a YAML mapping, the bases go round in a circle, or a key or value is
            refused; the message names the file, or `--set`, where the key stands.
    """
    layers = _read_layers(path) if path is not None else []
    values: dict[str, Any] = {}
    for layer in layers:
        values = _merged(values, layer.values)
    set_values: dict[str, Any] = {}
    for override in overrides:
        _apply_override(values, override)
        _apply_override(set_values, override)
    return _fill(model, values, str(path) if path is not None else "settings", [*layers, _Layer("--set", set_values)])


def build_settings(model: type[S], values: Mapping[str, Any], source: str = "settings") -> S:
    """Validate plain values into `model`; the error names each refused key, what came, and the nearest known key."""
    return _fill(model, values, source, [])


def differences(before: Settings, now: Settings) -> dict[str, tuple[Any, Any]]:
    """What two settings differ in: `a.b.0.c` -> (before, now) as JSON values, None where one has no such key."""
    one, other = flat(before.model_dump(mode="json")), flat(now.model_dump(mode="json"))
    keys = sorted({*one, *other})
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as `a.b.0.c` -> value."""
    if isinstance(values, dict):
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list):
        items = [(str(index), value) for index, value in enumerate(values)]
    else:
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in items:
        found.update(flat(value, f"{prefix}.{key}" if prefix else key))
    return found


def _fill(model: type[S], values: Mapping[str, Any], source: str, layers: Sequence[_Layer]) -> S:
    """Validate; each refused key is told with the layer it stands in, or with `source` where it stands in none."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        by_source: dict[str, list[str]] = {}
        for detail in error.errors():
            by_source.setdefault(_source_of(detail["loc"], layers, source), []).append(_explain(model, detail))
        raise SettingsError("; ".join(f"{name}: {'; '.join(lines)}" for name, lines in by_source.items())) from error


def _source_of(key: Sequence[str | int], layers: Sequence[_Layer], otherwise: str) -> str:
    """The layer that holds most of the key; of several the last, whose value counts."""
    found, deepest = otherwise, 0
    for layer in layers:
        depth = _depth(layer.values, key)
        if depth >= max(deepest, 1):
            found, deepest = layer.source, depth
    return found


def _depth(values: Any, key: Sequence[str | int]) -> int:
    """How many parts of the key lead somewhere."""
    for depth, part in enumerate(key):
        is_there = (
            part in values if isinstance(values, dict) else isinstance(values, list) and part in range(len(values))
        )
        if not is_there:
            return depth
        values = values[part]
    return len(key)


def _read_layers(path: Path) -> list[_Layer]:
    """The file and all that it builds on, the last base first."""
    layers: list[_Layer] = []
    seen: list[Path] = []
    named_by: Path | None = None
    while True:
        seen.append(path.resolve())
        values = _read_yaml(path, named_by)
        base = values.pop("base", _NO_BASE)
        layers.insert(0, _Layer(str(path), values))
        if base is _NO_BASE:
            return layers
        if not isinstance(base, str) or not base:
            raise SettingsError(f"{path}: base: wanted the path of another file, relative to this one, got {base!r}")
        named_by, path = path, path.parent / base
        if path.resolve() in seen:
            circle = [*reversed([layer.source for layer in layers]), str(path)]
            raise SettingsError(
                f"{named_by}: base: {base} builds on this file in turn ({' -> '.join(circle)}); remove one of them"
            )


_NO_BASE = object()


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings of both key by key; everything else of `above` replaces what `below` has."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, dict):
            lower = merged.get(key)
            merged[key] = _merged(lower if isinstance(lower, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def _read_yaml(path: Path, named_by: Path | None) -> dict[str, Any]:
    if not path.exists():
        nearest = get_close_matches(path.name, [other.name for other in path.parent.glob("*.yaml")], n=1)
        hint = f"did you mean {path.with_name(nearest[0])}?" if nearest else "give the path of a YAML file"
        wanted_by = f", which {named_by} has as its base" if named_by is not None else ""
        raise SettingsError(f"{path}: no such file{wanted_by}; {hint}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: this is not a text file in UTF-8; give the path of a YAML file") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); give the path of a YAML file") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML ({_yaml_fault(error)}); correct the line it names") from error
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
    if parts == ["base"]:
        raise SettingsError(
            f"--set {override!r}: base belongs in a file of settings, which it is relative to; "
            f"write a file with the line 'base: {text}' and give that file instead"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(
            f"--set {override!r}: the value is not valid YAML ({_yaml_fault(error)}); "
            "put quotes around text that holds brackets, braces or colons, and close what is opened"
        ) from error
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


def _yaml_fault(error: yaml.YAMLError) -> str:
    """What the parser did not like, and where, in one line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    mark = error.problem_mark
    return f"{error.problem or error.context}, line {mark.line + 1}, column {mark.column + 1}"


def _explain(model: type[Settings], detail: Any) -> str:
    path = [str(part) for part in detail["loc"]]
    name = ".".join(path)
    if detail["type"] in ("list_type", "tuple_type"):
        given = detail["input"]
        example = given if isinstance(given, str | int | float) and str(given).strip() else "A, B"
        return f"{name}: wanted a list, such as [{example}], got {given!r}"
    if detail["type"] != "extra_forbidden":
        return f"{name}: {detail['msg']}, got {detail['input']!r}"
    known = _known_keys(model, path[:-1])
    nearest = get_close_matches(path[-1], known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known here: {', '.join(sorted(known)) or 'none'}"
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
