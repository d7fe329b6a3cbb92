"""Which weights file a user means, and what to say when it is none that can be loaded."""

from pathlib import Path

from derain.errors import CheckpointError
from derain.models.checkpoints import find_checkpoint, shipped_weights
from derain.models.zoo import MODELS


def find_weights(name_or_path: str | Path) -> Path:
    """A shipped model's file by its name, or the given weights file.

    Raises:
        CheckpointError: there is none, or it is a training state or a run's folder; the message names the weights
            beside it.
    """
    path = Path(name_or_path)
    shipped = shipped_weights()
    if str(name_or_path) in MODELS and str(name_or_path) not in shipped and not path.exists():
        raise CheckpointError(
            f"{name_or_path} has no shipped weights; train it, or give a file (shipped: {', '.join(shipped)})"
        )
    best = path.with_name("best.safetensors")
    if path.name == "last.pt" and best.is_file():
        raise CheckpointError(f"{path}: the state that --resume goes on from, no weights; use {best}")
    for best in (path / "checkpoints" / "best.safetensors", path / "best.safetensors"):
        if str(name_or_path) not in shipped and best.is_file():
            raise CheckpointError(f"{path}: a folder; its weights are {best}")
    return find_checkpoint(name_or_path)
