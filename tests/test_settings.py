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


class Listed(Outer):
    sides: tuple[int, ...] = ()
    """A list."""


class Placed(Outer):
    place: Path
    """A setting without a default."""


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
    with pytest.raises(SettingsError, match=r"recipe.yaml: no such file; give the path of a YAML file$"):
        load_settings(Outer, recipe)
    with pytest.raises(SettingsError, match=r"cannot be read \(Is a directory\); give the path"):
        load_settings(Outer, tmp_path)
    recipe.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(SettingsError, match="this is not a text file"):
        load_settings(Outer, recipe)
    with pytest.raises(SettingsError, match=r"recipy.yaml: no such file; did you mean .*recipe.yaml\?"):
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


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_recipe_builds_on_others_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "root.yaml", "steps: 1\nname: root\noptimizer: {lr: 1.0, decay: 0.5}\nsides: [1, 2, 3]\n")
    write(tmp_path / "deep" / "middle.yaml", "base: ../root.yaml\nname: middle\noptimizer: {lr: 2.0}\n")
    leaf = write(tmp_path / "deep" / "er" / "leaf.yaml", "optimizer: {lr: 3.0}\nbase: ../middle.yaml\nsides: [4]\n")
    monkeypatch.chdir(tmp_path / "deep")
    got = load_settings(Listed, leaf, ["steps=9"])
    assert got == Listed(steps=9, name="middle", optimizer=Inner(lr=3.0, decay=0.5), sides=(4,))
    assert load_settings(Listed, Path("er/leaf.yaml")).steps == 1
    assert load_settings(Listed, Path("middle.yaml")).sides == (1, 2, 3)
    write(leaf, "base: ../middle.yaml\noptimizer: {decay: null}\n")
    assert load_settings(Listed, leaf).optimizer == Inner(lr=2.0, decay=None)


def test_a_wrong_key_is_told_with_the_file_it_stands_in(tmp_path: Path) -> None:
    root = write(tmp_path / "root.yaml", "optimizer: {lr: 1.0, decay: 0.5}\nsides: [1, 2, x]\n")
    leaf = write(tmp_path / "leaf.yaml", "base: root.yaml\noptimizer: {decay: 0.1}\nstepps: 3\n")

    def told(*overrides: str) -> str:
        with pytest.raises(SettingsError) as caught:
            load_settings(Listed, leaf, overrides)
        return str(caught.value)

    message = told("optimizer.lr=high")
    assert f"{leaf}: stepps: no such setting; did you mean 'steps'?" in message
    assert f"{root}: sides.2: " in message
    assert "--set: optimizer.lr: " in message
    write(leaf, "base: root.yaml\noptimizer: {decay: big}\nsides: [1]\n")
    assert told().startswith(f"{leaf}: optimizer.decay: ")
    write(leaf, "base: root.yaml\noptimizer: 3\nsides: [1]\n")
    assert told().startswith(f"{leaf}: optimizer: ")
    write(leaf, "base: root.yaml\noptimizer: {}\nsides: [1]\n")
    write(root, "optimizer: {lr: 1.0, decai: 0.5}\n")
    assert told() == f"{root}: optimizer.decai: no such setting; did you mean 'decay'?"


def test_a_key_that_no_file_has_is_told_with_the_recipe(tmp_path: Path) -> None:
    write(tmp_path / "root.yaml", "optimizer: {lr: 1.0}\n")
    leaf = write(tmp_path / "leaf.yaml", "base: root.yaml\n")
    with pytest.raises(SettingsError, match=f"^{leaf}: place: Field required"):
        load_settings(Placed, leaf)


def test_bases_that_lead_nowhere_or_round_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "first.yaml", "base: sub/second.yaml\n")
    second = write(tmp_path / "sub" / "second.yaml", "base: ../third.yaml\n")
    third = write(tmp_path / "third.yaml", "base: ./first.yaml\n")
    with pytest.raises(SettingsError, match=r"^.*third.yaml: base: ./first.yaml builds on this file in turn \(.*first"):
        load_settings(Outer, first)
    with pytest.raises(SettingsError, match="builds on this file in turn"):
        load_settings(Outer, write(tmp_path / "self.yaml", "base: self.yaml\n"))
    third.unlink()
    with pytest.raises(SettingsError, match=f"third.yaml: no such file, which {second} has as its base; "):
        load_settings(Outer, first)
    for wrong in ("", "3", "[first.yaml]"):
        with pytest.raises(SettingsError, match="base: wanted the path of another file, relative to this one, got"):
            load_settings(Outer, write(tmp_path / "wrong.yaml", f"base: {wrong}\n"))
    write(third, "- 1\n")
    with pytest.raises(SettingsError, match=r"third.yaml: wanted a mapping"):
        load_settings(Outer, first)


def test_a_base_is_refused_outside_a_file(tmp_path: Path) -> None:
    leaf = write(tmp_path / "leaf.yaml", "name: leaf\n")
    with pytest.raises(SettingsError, match=r"'base=root.yaml': base belongs in a file of settings.*'base: root.yaml'"):
        load_settings(Outer, leaf, ["base=root.yaml"])


@pytest.mark.parametrize("given", ["4", "x"])
def test_a_value_where_a_list_was_wanted_is_shown_as_one(given: str) -> None:
    with pytest.raises(SettingsError, match=rf"--set: sides: wanted a list, such as \[{given}\], got "):
        load_settings(Listed, None, [f"sides={given}"])
    with pytest.raises(SettingsError, match=r"sides: wanted a list, such as \[A, B\], got None"):
        load_settings(Listed, None, ["sides=null"])


def test_what_is_no_yaml_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("steps: 3\nsides: [1, 2\nname: x\n")
    for path, overrides in ((None, ["sides=[1, 2"]), (tmp_path / "recipe.yaml", [])):
        with pytest.raises(SettingsError, match=r"not valid YAML .*line \d, column \d") as caught:
            load_settings(Listed, path, overrides)
        assert "\n" not in str(caught.value)
