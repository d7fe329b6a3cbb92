"""`derain train`: parse, fill settings, train, say how it ended."""

from pathlib import Path
from typing import Annotated

import typer

from derain.cli.console import usage_errors
from derain.errors import MissingExtraError
from derain.settings import load_settings


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML), such as recipes/tiny.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting, such as optimizer.lr=1e-3; may be repeated."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder that `run` names.")
    ] = False,
) -> None:
    """Train a network after a recipe; Ctrl-C stops it so that --resume can go on."""
    from rich.console import Console

    from derain.train.settings import TrainSettings

    with usage_errors():
        try:
            from derain.train.loop import start_training
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in ("lightning_fabric", "tensorboard"):
                raise
            raise MissingExtraError("training", "train") from error
        from derain.train.supervised import Supervised
        from derain.train.validation import fixed_validation

        console = Console()
        settings = load_settings(TrainSettings, recipe, overrides or ())
        training = start_training(settings, Supervised(settings.loss), fixed_validation(settings), console, resume)
    outcome = training.train()
    if outcome.is_finished:
        console.print(f"finished at step {outcome.step}; weights: {outcome.folder.best}", highlight=False)
    elif outcome.signal_number is not None:
        console.print(
            f"stopped at step {outcome.step}, nothing is lost; go on with the same command and --resume",
            highlight=False,
        )
        raise typer.Exit(128 + outcome.signal_number)
