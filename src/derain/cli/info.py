"""`derain info`: the facts of a model or a photograph."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from derain.cli.console import print_line, usage_errors
from derain.errors import CheckpointError

if TYPE_CHECKING:
    from derain.infer.describe import MixtureGates, ModelFacts, PhotoFacts


def info(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|PHOTO", help="A model (by name, weights file, folder or owner/name), or a photograph."
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="For a photograph: also show which experts this model chooses for it.")
    ] = None,
) -> None:
    """Print a model's size, cost, settings and figures; or what a photograph holds and how a model routes it."""
    from derain.infer.describe import describe_model, describe_photo, names_model
    from derain.infer.restore import load
    from derain.models.find import shipped_weights
    from derain.models.zoo import MODELS

    with usage_errors():
        if names_model(subject):
            _print_model(describe_model(subject))
        elif not Path(subject).exists() and not Path(subject).suffix and Path(subject).name == subject:
            shipped = ", ".join(shipped_weights())
            raise CheckpointError(
                f"{subject}: neither a file nor a model; networks: {', '.join(MODELS)} (shipped: {shipped})"
            )
        else:
            _print_photo(describe_photo(Path(subject), load(model) if model is not None else None))


def _print_model(facts: "ModelFacts") -> None:
    from derain.infer.describe import MEASURED_AT

    print_line(f"model       {facts.name}: {facts.source}")
    print_line(f"weights     {facts.weights or 'none shipped; train some, or give a checkpoint'}")
    print_line(f"parameters  {facts.parameters / 1e6:.3f} M")
    folded = f", folded {facts.inference_macs / 1e9:.3f} G" if facts.inference_macs != facts.macs else ""
    print_line(f"MACs        {facts.macs / 1e9:.3f} G at {MEASURED_AT}x{MEASURED_AT}{folded}")
    print_line(f"sizes       multiples of {facts.size_multiple} (other pictures are padded)")
    if facts.header is not None:
        print_line(f"version     {facts.header.version}, step {facts.header.step}")
        print_line(f"data        {facts.header.data_digest or 'not stated'}")
        print_line(f"licence     {facts.header.licence or 'not stated'}")
        if facts.header.notes:
            print_line(f"notes       {facts.header.notes}")
    if facts.card is not None:
        print_line(f"model card  {facts.card}")
    print_line("settings")
    for name, value in facts.settings.items():
        print_line(f"  {name}: {value}")
    if facts.header is not None and facts.header.metrics:
        print_line("metrics (on the validation set of training; protocol rgb, unless a name says otherwise)")
        for name, figure in facts.header.metrics.items():
            print_line(f"  {name}: {figure:.4g}")


def _print_photo(facts: "PhotoFacts") -> None:
    colours = "grey" if facts.is_grey else "colour"
    alpha = " with alpha" if facts.has_alpha else ""
    print_line(f"photo   {facts.path} ({facts.file_bytes / 1e6:.2f} MB)")
    print_line(f"size    {facts.width} x {facts.height}, {facts.width * facts.height / 1e6:.2f} megapixels")
    print_line(f"pixels  {facts.bit_depth} bits, {colours}{alpha}")
    print_line(f"EXIF    {f'{facts.exif_bytes} bytes' if facts.exif_bytes else 'none'}")
    print_line(f"ICC     {f'{facts.icc_bytes} bytes' if facts.icc_bytes else 'none'}")
    for warning in facts.warnings:
        print_line(f"warning {warning}")
    if facts.routing is not None and not facts.routing:
        print_line("routing none; the model has no mixtures of experts")
    elif facts.routing:
        print_line(
            "routing: softmax weight of each expert, * kept; "
            "hard mixtures keep the largest, without renormalising, the others show 0"
        )
        for mixture in facts.routing:
            print_line(f"  {mixture.mixture}: {_weights(mixture)}")


def _weights(layer: "MixtureGates") -> str:
    return "  ".join(f"{weight:.3f}{'*' if weight > 0 else ' '}" for weight in layer.weights)
