"""The command line: `derain restore | evaluate | simulate | data | train | ablate | distill | publish | info`."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from derain import __version__
from derain.cli.ablate import ablate
from derain.cli.console import SOME_FAILED, USAGE, allow_any_name, exit_with
from derain.cli.data import data_app
from derain.cli.distill import distill_app
from derain.cli.evaluate import evaluate
from derain.cli.info import info
from derain.cli.publish import publish
from derain.cli.restore import restore
from derain.cli.simulate import simulate
from derain.cli.train import app as train
from derain.errors import DerainError, SettingsError


class _Commands(TyperGroup):
    """Commands whose errors, ours or of the file system, are printed as one line instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise exit_with(error, USAGE) from error
        except DerainError as error:
            raise exit_with(error, SOME_FAILED) from error
        except BrokenPipeError:  # the reader of our output has closed it, which is no error
            raise
        except OSError as error:
            raise exit_with(error, SOME_FAILED) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Remove rain from photographs, and train and evaluate models that do."""
    allow_any_name()


app.command()(restore)
app.command()(evaluate)
app.command()(simulate)
app.add_typer(data_app, name="data")
app.add_typer(train, name="train")
app.command()(ablate)
app.add_typer(distill_app, name="distill")
app.command()(publish)
app.command()(info)
