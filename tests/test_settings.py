"""Settings: unknown keys are refused by name, values are typed, overrides win."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from derain.errors import SettingsError
from derain.settings import Settings, load_settings


class Inner(Settings):
    lr: float = 1e-3
    """Learning rate."""
    decay: float | None = None
    """Weight decay."""


class Outer(Settings):
    steps: int = 10
    """Steps."""
    optimizer: Inner = Inner()
    """The optimiser."""
    name: str = "run"
    """Name."""


def test_yaml_then_overrides(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("steps: 5\noptimizer:\n  lr: 0.1\n")
    got = load_settings(Outer, recipe, ["optimizer.decay=1e-2", "name=a=b"])
    assert got == Outer(steps=5, optimizer=Inner(lr=0.1, decay=0.01), name="a=b")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("step=3", "did you mean 'steps'"),
        ("optimizer.lrr=3", "did you mean 'lr'"),
        ("steps=many", "steps"),
        ("steps", "wanted key=value"),
        ("name.deep=1", "name"),
        ("a..b=1", "wanted key=value"),
        ("steps=[", "not valid YAML"),
    ],
)
def test_refusals_name_the_key(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(Outer, None, [override])


def test_broken_recipes_are_named(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    with pytest.raises(SettingsError, match=r"recipe.yaml: no such recipe; give the path of a YAML file$"):
        load_settings(Outer, recipe)
    with pytest.raises(SettingsError, match=r"cannot be read \(Is a directory\); give the path"):
        load_settings(Outer, tmp_path)
    recipe.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(SettingsError, match="this is not a text file"):
        load_settings(Outer, recipe)
    with pytest.raises(SettingsError, match=r"recipy.yaml: no such recipe; did you mean .*recipe.yaml\?"):
        load_settings(Outer, tmp_path / "recipy.yaml")
    recipe.write_text("- 1\n")
    with pytest.raises(SettingsError, match="wanted a mapping"):
        load_settings(Outer, recipe)
    recipe.write_text("a: [")
    with pytest.raises(SettingsError, match="not valid YAML"):
        load_settings(Outer, recipe)
    recipe.write_text("")
    assert load_settings(Outer, recipe) == Outer()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Outer().steps = 3  # type: ignore[misc]
