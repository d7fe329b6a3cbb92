"""What a built wheel holds, and that the package works from it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


def test_a_wheel_holds_weights_and_configurations_that_are_found_by_name(tmp_path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    inside = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(inside)
    recipes = {path.relative_to(inside / "derain" / "recipes") for path in (inside / "derain" / "recipes").rglob("*.*")}
    assert recipes == {path.relative_to(ROOT / "recipes") for path in (ROOT / "recipes").rglob("*.*")}
    assert all(path.suffix == ".yaml" for path in recipes)
    code = (
        "from pathlib import Path\nimport derain\n"
        "from derain.models.find import shipped_weights\n"
        "from derain.train.configurations import find_configuration\n"
        "print(find_configuration(Path('tiny')))\nprint(shipped_weights()['tiny'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(inside)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"{inside}/derain/recipes/tiny.yaml", f"{inside}/derain/weights/tiny.safetensors"]
