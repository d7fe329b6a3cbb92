"""Weights on disk: safetensors whose header says everything needed to use them.

A checkpoint names its network, the network's settings, the version that wrote it, what it was trained on and how well
it did. Loading needs no flags and never runs pickle. The content of a file decides what it is, not its ending. A state
dict that torch saved of one of our networks loads, too, if the network has its usual settings.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from derain import __version__
from derain.errors import CheckpointError, SettingsError
from derain.files import atomic_write
from derain.models.network import RestorationNetwork
from derain.models.state_dicts import read_state_dict, recognise, without_prefixes
from derain.models.zoo import MODELS, build
from derain.settings import Settings

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
    """Digest of the training data, so that weights trained on different data can be distinguished."""
    step: int = 0
    """Optimiser steps taken."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Figures on the validation set, such as psnr.drs."""
    licence: str = ""
    """Terms under which the weights may be used."""
    notes: str = ""
    """Anything else a user should know: training configuration, commit, data sources."""


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
    """What the file says of itself; of a bare state dict of one of our networks, what its tensors tell.

    Raises:
        CheckpointError: the file is missing, truncated, or holds another program's weights; the message says whose.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    if (written_in := format_of(path)) is None:
        raise CheckpointError(
            f"{path}: no weights; wanted a safetensors file or a state dict that torch saved; "
            "if it was one, copy or download it again"
        )
    if written_in == "torch":
        return _header_of(read_state_dict(path), path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); it may be truncated: copy or download it again"
        ) from error
    text = metadata.get(_HEADER_KEY)
    if text is None:
        return _header_of(read_tensors(path), path)
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
    _fill(network, read_tensors(path), path)
    return network.eval(), header


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of the names, shapes and values of a network's weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        tensor = value.detach().to("cpu").contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def with_header(source: Path, target: Path, header: CheckpointHeader) -> None:
    """Write the weights of `source` to `target`, value for value as they are stored, under another header.

    Raises:
        CheckpointError: the source cannot be read to its end, or the target cannot be written.
    """
    _write(Path(target), read_tensors(Path(source)), header)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The weights of a file by name, as they are stored.

    Raises:
        CheckpointError: the file cannot be read to its end.
    """
    if format_of(path) == "torch":
        return read_state_dict(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
            return tensors if _HEADER_KEY in (file.metadata() or {}) else without_prefixes(tensors)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read to its end ({error}); copy or download it again") from error


def format_of(path: Path) -> Literal["safetensors", "torch"] | None:
    """What format of weights a file is in, by its first bytes; None if in neither."""
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        return "safetensors"
    return "torch" if start.startswith((b"PK\x03\x04", b"\x80\x02")) else None  # a zip archive, or a pickle of old


def _header_of(tensors: Mapping[str, Tensor], path: Path) -> CheckpointHeader:
    """The header that a state dict without one would have, if it is of one of our networks with its usual settings.

    Raises:
        CheckpointError: it is another network's, or has other settings.
    """
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    shares = {}
    for name, entry in MODELS.items():
        with torch.device("meta"):
            own = {key: value.shape for key, value in build(name).state_dict().items()}
        if shapes == own:
            return CheckpointHeader(model=name, settings=entry.settings.model_dump(mode="json"), version="unknown")
        shares[name] = len(own.keys() & shapes.keys()) / max(1, len(shapes))
    nearest = max(shares, key=lambda name: shares[name])
    if shares[nearest] > 0.7:
        raise CheckpointError(
            f"{path}: a state dict of {MODELS[nearest].network.__name__} (such as model {nearest!r}) with other "
            "settings than the usual ones, which it does not state; give the .safetensors checkpoint that derain wrote"
        )
    known = recognise(shapes)
    ours = f"derain runs its own networks ({', '.join(MODELS)}; derain info NAME)"
    if known is not None:
        raise CheckpointError(
            f"{path}: weights of {known.name}; {ours}, not this one: "
            f"open them with the program of its authors (github.com/{known.home})"
        )
    raise CheckpointError(
        f"{path}: another program's weights, {len(shapes)} tensors such as {min(shapes, default='none')}, of a "
        f"network that is not known by their names; {ours}"
    )


def _write(path: Path, tensors: dict[str, Tensor], header: CheckpointHeader) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            save_file(tensors, part, metadata={_HEADER_KEY: header.model_dump_json()})
            part.chmod(0o644)  # the writer makes it private, which a shared or installed file must not be
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be written ({error}); check the folder and the free space") from error


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
