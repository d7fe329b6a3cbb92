"""What stands outside the package still fits it: every name that benchmarks and examples import of it exists."""

import ast
import importlib
import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("examples/*.py"), *ROOT.glob("recipes/*.py")])


def missing_names(tree: ast.AST) -> list[str]:
    """Names imported from our package that it does not have."""
    missing = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "derain":
            module = importlib.import_module(node.module)
            missing += [f"{node.module}.{alias.name}" for alias in node.names if not has(module, alias.name)]
    return missing


def has(module, name: str) -> bool:
    is_package = hasattr(module, "__path__")
    return hasattr(module, name) or (is_package and importlib.util.find_spec(f"{module.__name__}.{name}") is not None)


def test_the_rule_sees_a_breach():
    assert missing_names(ast.parse("from derain.types import RainType, Hail")) == ["derain.types.Hail"]


def test_scripts_import_names_that_exist():
    assert SCRIPTS
    found = {path.name: missing_names(ast.parse(path.read_text())) for path in SCRIPTS}
    assert {name: missing for name, missing in found.items() if missing} == {}


def test_no_file_holds_the_marks_of_an_unfinished_merge():
    kinds = (".md", ".py", ".toml", ".yaml", ".js", ".css", ".html")
    folders = ("src", "docs", "tests", "benchmarks", "examples", "recipes")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    paths += ROOT.glob("*.md")
    marks = tuple(mark * 7 + " " for mark in "<>")
    assert [path for path in paths if any(line.startswith(marks) for line in path.read_text().splitlines())] == []
