"""Who may import whom, and when: read from the sources themselves."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

import derain

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "derain"
SOURCES = sorted(PACKAGE.rglob("*.py"))
IDS = [path.relative_to(PACKAGE).as_posix() for path in SOURCES]

GROUND = {"types", "errors", "settings", "duration", "files", "__init__"}
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
    "infer": GROUND | {"imaging", "models"},
    # A pair is scored for training and for benchmarks alike.
    "evaluate.scoring": GROUND | {"imaging"},
    "train": GROUND | {"imaging", "rain", "data", "models", "objectives", "evaluate.scoring"},
    "distill": GROUND | {"imaging", "rain", "data", "models", "infer"},
    "evaluate": GROUND | {"imaging", "data", "infer", "evaluate.scoring"},
    "cli": GROUND | {"imaging", "rain", "data", "models", "objectives", "infer", "train", "distill", "evaluate"},
    "__main__": {"cli"},
    # The public names are gathered here, and imported when they are asked for.
    "__init__": {"types", "data", "infer"},
}
"""Room -> rooms that its files may import; every room may import itself. Some files have a row of their own."""

LAZY_IN_CORE = {"tifffile", "imagecodecs"}
"""Core packages that most pictures do not need."""


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return room_named(".".join(["derain", *relative.with_suffix("").parts]))


def room_named(module: str) -> str:
    """The room of a dotted name: that of the file where it has a row of its own, else of its folder."""
    parts = module.split(".")[1:3]
    return ".".join(parts) if ".".join(parts) in MAY_IMPORT else (parts or ["__init__"])[0]


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


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_a_room_imports_only_what_it_may(path):
    room = room_of(path)
    assert room in MAY_IMPORT, f"give the new room {room} its row in MAY_IMPORT and in docs/architecture.md"
    ours = {name for name in imports_of(ast.parse(path.read_text())) if name.split(".")[0] == "derain"}
    rooms = {room_named(name) for name in ours}
    rooms = {"__init__" if name == "__version__" else name for name in rooms}
    assert rooms <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_optional_packages_are_imported_where_they_are_needed(path):
    at_import = {name.split(".")[0] for name in imports_of(ast.parse(path.read_text()), only_at_import=True)}
    optional = extras()
    if room_of(path) == "train":  # the training room may ask for its own extra; nothing else imports it at import time
        optional -= {"lightning_fabric", "matplotlib", "pyarrow", "tensorboard"}
    if path.relative_to(PACKAGE).as_posix() == "models/hub.py":  # it derives from a class of the package
        optional -= {"huggingface_hub", "httpx2"}
    assert not at_import & (optional | LAZY_IN_CORE)


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_training_is_imported_by_the_train_command_alone(path):
    at_import = imports_of(ast.parse(path.read_text()), only_at_import=True)
    if room_of(path) != "train":
        assert not any(name.startswith("derain.train") for name in at_import)


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_a_file_stays_small_and_says_what_it_is(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400, "cut it where it does two things"
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "open with a docstring"


def test_the_rules_see_a_breach():
    tree = ast.parse("import torch\ndef f():\n    from derain.cli import main\n    import skimage.data\n")
    assert imports_of(tree) == {"torch", "derain.cli", "skimage.data"}
    assert imports_of(tree, only_at_import=True) == {"torch"}
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
    for room in {room_of(path) for path in SOURCES} - {"__init__", "__main__"}:
        assert f"`{room}`" in text or f"{room}/" in text, room
