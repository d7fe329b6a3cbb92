"""Run by an interpreter that may only use the core: import derain, restore a picture, and say what was loaded.

    python tests/house/core_only.py

Any module of an optional package is refused as if it were not installed. Exit status 0 if all went well.
"""

import sys
import tempfile
import time
from importlib.abc import MetaPathFinder
from pathlib import Path

OPTIONAL = {
    "alembic",
    "httpx2",
    "huggingface_hub",
    "hypothesis",
    "imageio",
    "lightning_fabric",
    "lightning_utilities",
    "matplotlib",
    "mlflow",
    "mypy",
    "pooch",
    "pyarrow",
    "pytest",
    "requests",
    "scipy",
    "skimage",
    "sqlalchemy",
    "tensorboard",
    "torchmetrics",
    "torchvision",
    "wandb",
}


class Refusal(MetaPathFinder):
    """Optional packages are not there."""

    def find_spec(self, fullname, path=None, target=None):  # noqa: ARG002 - the finder protocol
        if fullname.partition(".")[0] in OPTIONAL:
            raise ModuleNotFoundError(f"{fullname} is no part of the core", name=fullname)
        return


def main() -> None:
    sys.meta_path.insert(0, Refusal())
    started = time.perf_counter()
    import derain

    seconds = time.perf_counter() - started
    assert "torch" not in sys.modules, "import derain must not load torch"
    assert seconds < 1, f"import derain took {seconds:.1f} s"

    import numpy as np
    import torch

    from derain.cli.main import app
    from derain.imaging.io import Picture, read_picture, write_picture
    from derain.models.checkpoints import CheckpointHeader, save_checkpoint
    from derain.models.zoo import build

    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        network = build("tiny")
        weights = Path(folder) / "tiny.safetensors"
        header = CheckpointHeader(model="tiny", settings=network.settings.model_dump(mode="json"))
        save_checkpoint(weights, network, header)
        rows, columns = np.mgrid[0:90, 0:120]
        pixels = np.stack([rows * 2, columns * 2, (rows + columns) % 256], axis=2).astype(np.uint8)

        restored = derain.load(weights)(pixels)
        assert restored.shape == pixels.shape
        assert restored.dtype == np.uint8
        assert (restored != pixels).any()

        photo, out = Path(folder) / "photo.png", Path(folder) / "out"
        write_picture(photo, Picture(pixels=pixels))
        app(["restore", str(photo), "-o", str(out), "--compare", "--model", str(weights)], standalone_mode=False)
        assert (read_picture(out / "photo.png").pixels == restored).all()

    for name in derain.__all__:
        getattr(derain, name)
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & (OPTIONAL | {"tifffile", "imagecodecs"}))
    assert not loaded, f"loaded although nothing needed them: {loaded}"
    print(f"core only: restored a picture; import derain took {1000 * seconds:.0f} ms")


if __name__ == "__main__":
    main()
