"""Weights on disk: safetensors whose header says everything needed to use them.

A checkpoint names its network, the network's settings, the version that wrote it, what it was trained on and how well
it did. Loading needs no flags and never runs pickle: foreign .pth files are read with torch's `weights_only` loader.
"""

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from derain import __version__
from derain.errors import CheckpointError, SettingsError
from derain.models.network import RestorationNetwork
from derain.models.zoo import MODELS, build
from derain.settings import Settings

FOREIGN_SUFFIXES = (".pth", ".pt")
"""Endings of weights that other programs write with torch."""

PUBLISHED_WEIGHTS = "model.safetensors"
"""Name of the weights file in a published folder, as the hub knows it."""

WEIGHTS_IN_FOLDER = (PUBLISHED_WEIGHTS, "checkpoints/best.safetensors", "best.safetensors")
"""Where in a folder its weights may lie: a published folder, a run, a run's checkpoints."""

_HEADER_KEY = "derain"


class CheckpointHeader(Settings):
    """What a weights file says about itself."""

    model: str
    """Name of the network, a key of `derain.models.zoo.MODELS`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The network's settings, as plain values."""
    version: str = __version__
    """Version of derain that wrote the file."""
    data_digest: str = ""
    """Digest of the training data, so that weights can be told apart by what they saw."""
    step: int = 0
    """Optimiser steps taken."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Figures on the validation set, such as psnr.drs."""
    licence: str = ""
    """Terms under which the weights may be used."""
    notes: str = ""
    """Anything else a user should know: recipe, commit, data sources."""


def save_checkpoint(
    path: Path, network: nn.Module, header: CheckpointHeader, dtype: Literal["float32", "float16"] = "float32"
) -> None:
    """Write weights and header atomically; float16 halves the file and costs no visible quality.

    Raises:
        CheckpointError: the file cannot be written, or a weight is not finite.
    """
    target = getattr(torch, dtype)
    tensors: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        tensor = value.detach().to("cpu")
        tensor = tensor.to(target) if tensor.is_floating_point() else tensor
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: weight {name} is not finite in {dtype}; nothing was written")
        tensors[name] = tensor.contiguous().clone()
    _write(Path(path), tensors, header)


def read_header(path: Path) -> CheckpointHeader:
    """The header alone, without reading the weights.

    Raises:
        CheckpointError: the file is missing, truncated, or was not written by `save_checkpoint`.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such weights file; give a .safetensors file or one of: {', '.join(shipped_weights())}"
        )
    if path.suffix.lower() in FOREIGN_SUFFIXES:
        raise CheckpointError(
            f"{path}: foreign weights; read them with derain.models.checkpoints.load_foreign(path, model) "
            "and keep them as .safetensors with save_checkpoint"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); it may be truncated or foreign: copy or download it again"
        ) from error
    text = metadata.get(_HEADER_KEY)
    if text is None:
        raise CheckpointError(f"{path}: a safetensors file without derain's header; it holds another program's weights")
    try:
        return CheckpointHeader.model_validate(json.loads(text))
    except (ValidationError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: its header cannot be read ({error}); a newer derain may be needed") from error


def load_checkpoint(path: Path) -> tuple[RestorationNetwork, CheckpointHeader]:
    """The network in evaluation mode with its weights in float32, and the header.

    Raises:
        CheckpointError: the file is missing, truncated, foreign, or does not fit the network that it names.
    """
    path = Path(path)
    header = read_header(path)
    if header.model not in MODELS:
        raise CheckpointError(
            f"{path}: holds a model called {header.model!r}, this version knows {', '.join(MODELS)}; "
            f"it was written by derain {header.version}"
        )
    try:
        network = build(header.model, header.settings)
    except (SettingsError, ValueError) as error:
        raise CheckpointError(f"{path}: its settings do not fit this version of derain: {error}") from error
    _fill(network, _read_tensors(path), path)
    return network.eval(), header


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of the names, shapes and values of a network's weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        tensor = value.detach().to("cpu").contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_foreign(path: Path, model: str) -> RestorationNetwork:
    """The named network with the weights of a .pth file that some other program wrote.

    Only tensors and plain containers are accepted; pickled code is refused, never run. A state under the usual keys
    (`params`, `state_dict`, `model`) and the `module.` prefix of data-parallel training are understood.

    Raises:
        CheckpointError: the file is missing or unreadable, holds more than tensors, or does not fit the network.
    """
    path = Path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such weights file") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError) as error:
        raise CheckpointError(
            f"{path}: refused: not a whole file of plain tensors ({str(error).splitlines()[0]}); "
            "pickled code is never run, convert the file to safetensors where it came from"
        ) from error
    for key in ("params", "state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: wanted a mapping of names to tensors, got a {type(state).__name__}")
    network = build(model)
    _fill(network, {str(name).removeprefix("module."): value for name, value in state.items()}, path)
    return network.eval()


def shipped_weights() -> dict[str, Path]:
    """The weights that come with the package, by model name."""
    folder = Path(str(resources.files("derain"))) / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The weights file that is meant: a shipped model by its name, a file, or the one in a folder.

    A shipped model's name comes before a file or folder that is called the same, which the text `./tiny` means (as a
    `Path`, which drops `./`, give it absolute). Of a run's folder these are its best weights; of a published folder
    (see `derain.models.publication`) its only ones.

    Raises:
        CheckpointError: neither a shipped model's name, nor an existing file, nor a folder with weights.
    """
    shipped = shipped_weights()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    path = Path(name_or_path)
    if path.is_dir():
        places = [path / place for place in WEIGHTS_IN_FOLDER]
        for place in places:
            if place.is_file():
                return place
        raise CheckpointError(f"{path}: a folder without weights; looked for {', '.join(map(str, places))}")
    if not path.is_file():
        known = ", ".join(shipped) or "none"
        raise CheckpointError(f"{name_or_path}: no such file, nor a shipped model (shipped: {known})")
    return path


def with_header(source: Path, target: Path, header: CheckpointHeader) -> None:
    """Write the weights of `source` to `target`, value for value as they are stored, under another header.

    Raises:
        CheckpointError: the source cannot be read to its end, or the target cannot be written.
    """
    _write(Path(target), _read_tensors(Path(source)), header)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read to its end ({error}); copy or download it again") from error


def _write(path: Path, tensors: dict[str, Tensor], header: CheckpointHeader) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, metadata={_HEADER_KEY: header.model_dump_json()})
        partial.chmod(0o644)  # the writer makes it private, which a shared or installed file must not be
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be written ({error}); check the folder and the free space") from error
    finally:
        partial.unlink(missing_ok=True)


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    wanted = network.state_dict()
    missing = sorted(wanted.keys() - tensors.keys())
    foreign = sorted(tensors.keys() - wanted.keys())
    misshapen = [n for n in wanted.keys() & tensors.keys() if wanted[n].shape != tensors[n].shape]
    problems = []
    if missing:
        problems.append(f"{len(missing)} weights are missing, such as {missing[0]}")
    if foreign:
        problems.append(f"{len(foreign)} are not of this network, such as {foreign[0]}")
    if misshapen:
        name = min(misshapen)
        problems.append(f"{name} should be {tuple(wanted[name].shape)} and is {tuple(tensors[name].shape)}")
    if problems:
        raise CheckpointError(f"{path}: does not fit the network {type(network).__name__}: {'; '.join(problems)}")
    network.load_state_dict(dict(tensors))
