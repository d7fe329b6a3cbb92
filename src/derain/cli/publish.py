"""`derain publish`: put weights with their model card into a folder, or on the hub."""

from pathlib import Path
from typing import Annotated

import typer

from derain.cli.console import print_line, usage_errors
from derain.errors import CheckpointError


def publish(
    weights: Annotated[
        str,
        typer.Argument(
            metavar="WEIGHTS", help="A shipped model, a weights file, the folder of a run, or owner/name on the hub."
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="REPO|FOLDER", help="owner/name on the hub, or a folder: one that exists, or a path such as ./name."
        ),
    ],
    card: Annotated[
        Path | None, typer.Option(help="Text for the model card (Markdown); else the .md file beside the weights.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            help="Terms of use, such as MIT, in place of those in the weights' header or stated in FOLDER before."
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository a private one.")] = False,
) -> None:
    """Publish weights: model.safetensors, config.json and a model card, to a folder or to the hub.

    The card is made from the weights' header and the text beside them. The hub needs the extra derain[hub] and a login
    (hf auth login).
    """
    from derain.infer.published import prepare_push, push
    from derain.models.find import is_repo_id
    from derain.models.publication import prepare

    is_folder = Path(target).is_dir() or not is_repo_id(target)
    with usage_errors():
        if is_folder and private:
            raise CheckpointError(f"{target}: a folder, for which --private does nothing; leave it out")
        if is_folder and not Path(target).is_dir() and Path(target).name == target:
            raise CheckpointError(
                f"{target}: wanted owner/name for the hub, or ./{target} for a new folder, got a single word"
            )
        if is_folder:
            publication = prepare(weights, card, licence, folder=Path(target))
            publication.check(Path(target))
        else:
            publication = prepare_push(weights, target, card, licence)
    if is_folder:
        publication.write(Path(target))
        print_line(f"written to {target}")
        if publication.keeps_licence:
            print_line(f"licence {publication.header.licence!r} kept, as it stood there; --licence states another")
        print_line(f"check README.md in it; then the folder can go to the hub: derain publish {target} owner/name")
    else:
        print_line(f"pushed: {push(publication, target, private=private or None)}")
