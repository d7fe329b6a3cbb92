"""`derain train`: parse, fill settings, train, print_line how it ended; `derain train plot`: draw how runs went."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from derain.cli.console import print_line, usage_errors
from derain.errors import MissingExtraError

CONFIGURATION = "CONFIGURATION"
"""The command that trains; nobody types its name."""


class _ConfigurationOrCommand(TyperGroup):
    """A group whose command needs no name: `derain train tiny` beside `derain train plot RUN`."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of a training run, unless a command is named or help on all of them is asked for."""
        # `**extra` is click's: the signature that it calls and documents has it, and what it holds is passed on as is.
        named = {name for name in self.commands if name != CONFIGURATION}
        if args and (args[0] in named or args == ["--help"]):
            return super().make_context(info_name, args, parent=parent, **extra)
        return self.commands[CONFIGURATION].make_context(info_name, args, parent=parent, **extra)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Help on training, and below it the named commands."""
        command = self.commands[CONFIGURATION]
        TyperGroup(
            name=self.name,
            help=command.help,
            params=command.params,
            commands={name: named for name, named in self.commands.items() if name != CONFIGURATION},
            # The command that is called here stands in the usage as its arguments do.
            subcommand_metavar="| COMMAND [ARGS]...",
            rich_markup_mode=self.rich_markup_mode,
        ).format_help(ctx, formatter)


app = typer.Typer(cls=_ConfigurationOrCommand, help="Train a network; `train plot` draws the course of runs.")


@app.command(CONFIGURATION)
def train(
    configuration: Annotated[
        Path,
        typer.Argument(help="Training configuration: a YAML file, or the name of a shipped one: tiny, small, weather."),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting, such as optimizer.lr=1e-3; may be repeated."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder that `run` names.")] = False,
) -> None:
    """Train a network as a training configuration says; Ctrl-C stops the run so that --resume can continue it."""
    from rich.console import Console

    with usage_errors():
        try:
            from derain.train.loop import start_training
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in ("lightning_fabric", "tensorboard"):
                raise
            raise MissingExtraError("training", "train") from error
        from derain.train.configurations import find_configuration
        from derain.train.devices import is_leader
        from derain.train.methods.registry import load_configuration, method_named

        console = Console()
        settings = load_configuration(find_configuration(configuration), overrides or ())
        training = start_training(settings, method_named(settings.method.name), console, resume)
    outcome = training.train()
    # All processes of a run end alike, and the leader prints for them. What started the others takes any status but 0
    # for a crash, and would kill the leader while it is still at work.
    if not is_leader():
        return
    if outcome.is_finished:
        print_line(f"finished at step {outcome.step}; weights: {outcome.folder.best}")
    elif outcome.signal_number is not None:
        print_line(f"stopped at step {outcome.step}, nothing is lost; resume with the same command and --resume")
        raise typer.Exit(128 + outcome.signal_number)


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of one run, or of several to compare.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FOLDER",
            help="Where the pictures go; unless given, plots/ in the run's folder, or of several runs here.",
        ),
    ] = None,
) -> None:
    """Draw loss, gain in PSNR and weights by type from the logs of runs, as PNG."""
    with usage_errors():
        try:
            from derain.train.plot import draw
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != "matplotlib":
                raise
            raise MissingExtraError("drawing how a run went", "train") from error
        drawn = draw(runs, out or (runs[0] / "plots" if len(runs) == 1 else Path("plots")))
    for path in drawn.written:
        print_line(f"wrote {path}")
    for reason in drawn.left_out:
        print_line(f"left out {reason}")
