"""Which weights a user means: a shipped model, a file, a folder, or a repository on the hub."""

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from derain.errors import CheckpointError, MissingExtraError
from derain.models.zoo import MODELS

if TYPE_CHECKING:
    from derain.models.hub import HubModel

PUBLISHED_WEIGHTS = "model.safetensors"
"""Name of the weights file in a published folder, as the hub knows it."""

WEIGHTS_IN_FOLDER = (PUBLISHED_WEIGHTS, "checkpoints/best.safetensors", "best.safetensors")
"""Where in a folder its weights may lie: a published folder, a run, a run's checkpoints."""

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
"""Usual endings of weights files; the content of a file decides what it is."""


def shipped_weights() -> dict[str, Path]:
    """The weights that come with the package, by model name."""
    folder = Path(str(resources.files("derain"))) / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The weights file that is meant: a shipped model by its name, a file, the one in a folder, or one on the hub.

    A shipped model's name comes before a file or folder that is called the same, which the text `./tiny` means (as a
    `Path`, which drops `./`, give it absolute). Of a run's folder these are its best weights; of a published folder
    (see `derain.models.publication`) its only ones. A text of the form `owner/name` that is no path here is a
    repository on the hub, whose weights are fetched once and then come from the cache.

    Raises:
        CheckpointError: there are no such weights; the message says what was looked for.
    """
    shipped, path = shipped_weights(), Path(name_or_path)
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        if path.name == "last.pt" and (best := path.with_name("best.safetensors")).is_file():
            raise CheckpointError(f"{path}: the state that --resume continues from, not weights; use {best}")
        return path
    if str(name_or_path) in MODELS:
        raise CheckpointError(
            f"{name_or_path} has no shipped weights; train it, or give a file (shipped: {', '.join(shipped)})"
        )
    if is_repo_id(str(name_or_path)) and path.suffix.lower() not in WEIGHTS_SUFFIXES:
        return _on_hub(str(name_or_path))
    known = ", ".join(shipped) or "none"
    raise CheckpointError(f"{name_or_path}: no such file or folder, nor a shipped model (shipped: {known})")


def is_repo_id(text: str) -> bool:
    """Whether a text has the form `owner/name` of a repository, as the hub allows it."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text, re.ASCII) is not None


def hub_model() -> "type[HubModel]":
    """What reaches the hub.

    Raises:
        MissingExtraError: the extra `hub` is not installed.
    """
    try:
        from derain.models.hub import HubModel
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("huggingface_hub", "httpx2"):
            raise
        raise MissingExtraError("the model hub", "hub") from error
    return HubModel


def _in_folder(folder: Path) -> Path:
    places = [folder / place for place in WEIGHTS_IN_FOLDER]
    for place in places:
        if place.is_file():
            return place
    raise CheckpointError(f"{folder}: a folder without weights; looked for {', '.join(map(str, places))}")


def _on_hub(repo_id: str) -> Path:
    try:
        return hub_model().from_pretrained(repo_id).weights
    except MissingExtraError as error:
        raise CheckpointError(
            f"{repo_id}: no such file or folder; as a repository on the hub it is out of reach: {error}"
        ) from error
    except CheckpointError as error:
        raise CheckpointError(f"{repo_id}: no such file or folder, and on the hub: {error}") from error
