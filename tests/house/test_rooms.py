"""Who may import whom, and when: read from the sources themselves."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import derain

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "derain"
SOURCES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path for path in PACKAGE.rglob("*.py")
}
"""Module without `derain.` -> its file."""

GROUND = {"types", "errors", "settings", "duration", "files", "__init__"}
LEARNING = GROUND | {"backends", "imaging", "data", "models", "objectives", "evaluate.scoring"}
DISTILLING = GROUND | {"backends", "imaging", "rain", "data", "models", "infer"}
MAY_IMPORT = {
    "types": set(),
    "errors": set(),
    "duration": set(),
    "files": set(),
    "settings": {"errors"},
    "weights": set(),
    "imaging": GROUND,
    "rain": GROUND | {"imaging"},
    "data": GROUND | {"imaging"},
    "models": GROUND | {"imaging"},
    "objectives": GROUND | {"imaging"},
    "backends": GROUND | {"imaging"},
    "infer": GROUND | {"imaging", "models"},
    # A pair is scored for training and for benchmarks alike.
    "evaluate.scoring": GROUND | {"imaging"},
    # The loop and the methods meet in train/methods/method.py; neither knows the simulator, which the data bring along.
    "train": LEARNING | {"rain", "train.methods"},
    "train.methods": LEARNING | {"train"},
    "train.loop": LEARNING | {"train", "train.methods"},
    # From low to high; the files beside these rooms (settings, models, results, ...) have rows where others need them.
    "distill.settings": DISTILLING,
    "distill.measure": DISTILLING,
    "distill.describe": DISTILLING | {"distill.measure"},
    "distill.judges": DISTILLING | {"distill.measure", "distill.describe"},
    "distill.answers": DISTILLING | {"distill.describe", "distill.judges"},
    "distill.models": DISTILLING | {"distill.settings", "distill.describe", "distill.judges"},
    "distill.knowledge": DISTILLING | {"distill.settings", "distill.measure", "distill.describe", "distill.answers"},
    "distill.pipeline": DISTILLING
    | {"distill.settings", "distill.measure", "distill.describe", "distill.judges", "distill.answers"}
    | {"distill.models", "distill.knowledge"},
    "distill.results": DISTILLING | {"distill.judges", "distill.pipeline"},
    "distill.review": DISTILLING | {"distill.judges", "distill.knowledge", "distill.pipeline", "distill.results"},
    "distill.report": DISTILLING
    | {"distill.judges", "distill.knowledge", "distill.pipeline", "distill.results", "distill.review"},
    "distill": DISTILLING
    | {"distill.settings", "distill.measure", "distill.describe", "distill.judges", "distill.answers"}
    | {"distill.models", "distill.knowledge"},
    "evaluate": GROUND | {"backends", "imaging", "data", "infer", "evaluate.scoring"},
    "cli": GROUND
    | {"backends", "imaging", "rain", "data", "models", "objectives", "infer", "train", "distill", "evaluate"},
    "__main__": {"cli"},
    # The public names are gathered here, and imported when they are asked for.
    "__init__": {"types", "data", "infer"},
}
"""Room -> rooms that its files may import; every room may import itself. A room is named by the beginning of its
modules' names, and a module belongs to the longest that fits: `train.methods` has a row of its own beside `train`."""

LAZY_IN_CORE = {"tifffile", "imagecodecs", "pillow_heif"}
"""Core packages that most pictures do not need."""


def room_of(module: str) -> str:
    """The room that a module (without `derain.`) belongs to."""
    parts = module.removesuffix(".__init__").split(".")
    beginnings = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in beginnings if name in MAY_IMPORT), parts[0])


def may_import(room: str, other: str) -> bool:
    """Whether the table lets `room` import `other`; a room within another house is covered by that house's name."""
    house = other.partition(".")[0]
    return other in MAY_IMPORT[room] or (house in MAY_IMPORT[room] and house != room.partition(".")[0])


def imported_rooms(module: str, tree: ast.AST) -> set[str]:
    """Other rooms that a module imports."""
    names = {name.partition(".")[2] or "__init__" for name in imports_of(tree) if name.split(".")[0] == "derain"}
    return {room_of("__init__" if name == "__version__" else name) for name in names} - {room_of(module)}


def imports_of(tree: ast.AST, only_at_import: bool = False) -> set[str]:
    """Dotted names that a module imports; with `only_at_import`, those that importing it runs."""
    found: set[str] = set()
    pending = list(ast.iter_child_nodes(tree))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "derain" else {module}
        if only_at_import:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                continue
        pending.extend(ast.iter_child_nodes(node))
    return found


@cache
def extras() -> set[str]:
    """Import names of the packages that are no core dependency of ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    import_names = {
        "faiss-cpu": "faiss",
        "mlflow-skinny": "mlflow",
        "pip-tools": "piptools",
        "scikit-image": "skimage",
        "scikit-learn": "sklearn",
    }
    wanted = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    names = {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in wanted} - {"derain"}
    return {import_names.get(name, name.replace("-", "_")) for name in names}


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the package, parsed."""
    for module, path in sorted(SOURCES.items()):
        yield module, ast.parse(path.read_text())


def test_a_room_imports_only_what_it_may():
    breaches = {}
    for module, tree in trees():
        room = room_of(module)
        assert room in MAY_IMPORT, f"give the new room {room} its row in MAY_IMPORT and in docs/architecture.md"
        if forbidden := {name for name in imported_rooms(module, tree) if not may_import(room, name)}:
            breaches[module] = forbidden
    assert breaches == {}


def test_optional_packages_are_imported_where_they_are_needed():
    breaches = {}
    for module, tree in trees():
        optional = extras() | LAZY_IN_CORE
        if room_of(module).split(".")[0] == "train":  # may ask for its own extra; nothing imports it at import time
            optional -= {"lightning_fabric", "matplotlib", "pyarrow", "tensorboard"}
        if module == "models.hub":  # it derives from a class of the package
            optional -= {"huggingface_hub", "httpx2"}
        if found := {name.split(".")[0] for name in imports_of(tree, only_at_import=True)} & optional:
            breaches[module] = found
    assert breaches == {}


def test_training_is_imported_by_the_train_command_alone():
    breaches = {
        module
        for module, tree in trees()
        if not module.startswith("train")
        and any(name.startswith("derain.train") for name in imports_of(tree, only_at_import=True))
    }
    assert breaches == set()


def test_a_file_stays_small_and_says_what_it_is():
    lines = {module: len(path.read_text().splitlines()) for module, path in SOURCES.items()}
    assert {module: count for module, count in lines.items() if count > 400} == {}, "cut it where it does two things"
    assert [module for module, tree in trees() if tree.body and not ast.get_docstring(tree)] == []


def test_the_rules_see_a_breach():
    tree = ast.parse("import torch\ndef f():\n    from derain.cli import main\n    import skimage.data\n")
    assert imports_of(tree) == {"torch", "derain.cli", "skimage.data"}
    assert imports_of(tree, only_at_import=True) == {"torch"}
    assert imported_rooms("rain.drops", tree) == {"cli"}
    assert may_import("cli", "distill.judges")
    assert may_import("distill.report", "distill.review")
    assert not may_import("distill.review", "distill.report")
    assert not may_import("train.loop", "rain")
    assert room_of("evaluate.__init__") == room_of("evaluate.report") == "evaluate"
    assert {"skimage", "lightning_fabric", "torchmetrics"} <= extras()


def test_public_names_are_exactly_these():
    assert sorted(derain.__all__) == [
        "Pair",
        "RainType",
        "Restorer",
        "__version__",
        "from_pretrained",
        "load",
        "push_to_hub",
        "save_pretrained",
    ]
    for name in derain.__all__:
        assert getattr(derain, name) is not None
    assert dir(derain) == sorted(derain.__all__)
    with pytest.raises(AttributeError, match="restore_everything"):
        _ = derain.restore_everything


def test_the_package_and_the_project_state_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == derain.__version__


def test_the_architecture_names_every_room():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = {room_of(module) for module in SOURCES} - {"__init__", "__main__"}
    assert [room for room in sorted(rooms) if f"`{room}`" not in text and f"{room}/" not in text] == []
