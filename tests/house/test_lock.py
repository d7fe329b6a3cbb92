"""The pinned versions: what they must hold, and what must never be among them."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.lock", "requirements-core.lock"]


def pins(name: str) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    pinned = dict(line.split("==") for line in lines if line)
    assert pinned, f"{name} pins nothing"
    return pinned


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~! ]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", LOCKS)
def test_torch_is_pinned_and_torchvision_is_absent(name):
    assert pins(name)["torch"] == "2.13.0"
    assert "torchvision" not in (ROOT / name).read_text().lower()


def test_no_source_or_requirement_asks_for_torchvision():
    assert "torchvision" not in (ROOT / "pyproject.toml").read_text().lower()
    for path in (ROOT / "src").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        imported += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        assert not [name for name in imported if name.split(".")[0] == "torchvision"], path


@pytest.mark.parametrize("name", LOCKS)
def test_locks_hold_versions_only(name):
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "--" not in "\n".join(line.split("#")[0] for line in text.splitlines())
    assert "+" not in "".join(pins(name).values()), "a local build tag would bind the lock to one registry"


def test_the_lock_covers_every_extra_and_the_core_lock_the_core():
    described = project()
    core = requirement_names(described["dependencies"])
    optional = described["optional-dependencies"]
    # Loggers of other makers are left to those who have them; the tests stand in for them.
    extras = set().union(*(requirement_names(names) for extra, names in optional.items() if extra != "loggers"))
    assert core | (extras - {"derain"}) <= pins("requirements.lock").keys()
    assert core <= pins("requirements-core.lock").keys()
    assert not (extras - core) & pins("requirements-core.lock").keys()


def test_both_locks_agree():
    whole = pins("requirements.lock")
    assert {name: version for name, version in pins("requirements-core.lock").items() if whole[name] != version} == {}
