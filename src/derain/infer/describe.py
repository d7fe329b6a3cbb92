"""What is known of a model or a photograph, as plain records for a command to print."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from derain.imaging.io import IMAGE_SUFFIXES, read_picture
from derain.infer.restore import Restorer
from derain.models.checkpoints import CheckpointHeader, format_of, load_checkpoint
from derain.models.complexity import measure
from derain.models.find import WEIGHTS_SUFFIXES, find_checkpoint, is_repo_id, shipped_weights
from derain.models.network import RestorationNetwork
from derain.models.zoo import MODELS, build

MEASURED_AT = 256
"""Multiply-accumulates are counted on a square picture of this side, as papers do."""


@dataclass(frozen=True)
class ModelFacts:
    """A network's size and cost, and what its checkpoint says of it."""

    name: str
    source: str
    """What network it is, and which paper it follows."""
    weights: Path | None
    """The checkpoint, None for a network of which no weights are shipped."""
    card: Path | None
    """The model card beside the weights."""
    parameters: int
    macs: int
    """Of the network as it is trained, at MEASURED_AT x MEASURED_AT pixels."""
    inference_macs: int
    """Of the form that restoration runs; fewer where mixtures are folded."""
    size_multiple: int
    settings: Mapping[str, Any]
    header: CheckpointHeader | None


@dataclass(frozen=True)
class MixtureGates:
    """How one mixture weighs its experts for a photograph; an expert that is not run has weight 0."""

    mixture: str
    weights: tuple[float, ...]


@dataclass(frozen=True)
class PhotoFacts:
    """What a photograph file holds."""

    path: Path
    width: int
    height: int
    bit_depth: int
    is_grey: bool
    has_alpha: bool
    exif_bytes: int
    icc_bytes: int
    file_bytes: int
    routing: tuple[MixtureGates, ...] | None
    """One entry per mixture of experts of the model; None if no model was asked."""
    warnings: tuple[str, ...] = ()
    """What is irregular in the file, and what of it a restored one does not keep."""


def names_model(name_or_path: str) -> bool:
    """Whether this means a model rather than a photograph: by name, a weights file, a folder, or one on the hub."""
    path = Path(name_or_path)
    if name_or_path in MODELS or path.is_dir() or path.suffix.lower() in WEIGHTS_SUFFIXES:
        return True
    if path.exists():
        return path.is_file() and format_of(path) is not None
    return is_repo_id(name_or_path) and path.suffix.lower() not in IMAGE_SUFFIXES


def describe_model(name_or_path: str) -> ModelFacts:
    """The facts of a checkpoint, or of a network that is known by name and has no shipped weights.

    Raises:
        CheckpointError: the checkpoint is missing, truncated, foreign, or does not fit.
    """
    if name_or_path in MODELS and name_or_path not in shipped_weights() and not Path(name_or_path).exists():
        return _facts(name_or_path, build(name_or_path), None, None)
    path = find_checkpoint(name_or_path)
    network, header = load_checkpoint(path)
    return _facts(header.model, network, path, header)


def describe_photo(path: Path, restorer: Restorer | None = None) -> PhotoFacts:
    """The facts of a photograph, with the routing that `restorer` chooses for it.

    Raises:
        ImageError: it cannot be read.
    """
    picture = read_picture(path)
    routing: tuple[MixtureGates, ...] | None = None
    if restorer is not None:
        chosen = restorer.gates(picture.pixels)
        routing = tuple(
            MixtureGates(name, tuple(float(weight) for weight in gates[0]))
            for name, gates in zip(restorer.mixture_names, chosen, strict=True)
        )
    return PhotoFacts(
        path=path,
        width=picture.width,
        height=picture.height,
        bit_depth=picture.bit_depth,
        is_grey=picture.is_grey,
        has_alpha=picture.alpha is not None,
        exif_bytes=len(picture.exif or b""),
        icc_bytes=len(picture.icc or b""),
        file_bytes=path.stat().st_size,
        routing=routing,
        warnings=picture.warnings,
    )


def _facts(name: str, network: RestorationNetwork, path: Path | None, header: CheckpointHeader | None) -> ModelFacts:
    complexity = measure(network, MEASURED_AT, MEASURED_AT)
    card = path.with_suffix(".md") if path is not None else None
    return ModelFacts(
        name=name,
        source=MODELS[name].source,
        weights=path,
        card=card if card is not None and card.is_file() else None,
        parameters=complexity.parameters,
        macs=complexity.macs,
        inference_macs=measure(network.for_inference(), MEASURED_AT, MEASURED_AT).macs,
        size_multiple=network.size_multiple,
        settings=network.settings.model_dump(),
        header=header,
    )
