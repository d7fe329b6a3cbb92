"""`derain ablate moe|reweighting`: parse, train the variants, judge them, print the table."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from derain.cli.console import INTERRUPTED, SOME_FAILED, print_line, usage_errors
from derain.errors import MissingExtraError, SettingsError


def ablate(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help="Folder of configurations, one per variant: moe or reweighting."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the runs and the table.")],
    recipes: Annotated[
        Path | None, typer.Option(help="Folder that the studies lie in; unless given, that of the shipped ones.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="VARIANTS", help="Take these variants only, such as uniform,full.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting of every variant, such as data.photos=INDEX.csv."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Budget of each run in steps; unless given, that of the configurations.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.001, help="Budget of each run in minutes, whatever steps it makes in them.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds; every variant is trained with each, such as 0,1,2.")] = "0",
    pictures: Annotated[int, typer.Option(min=1, help="Pictures of each type that the table is measured on.")] = 50,
    table_only: Annotated[
        bool, typer.Option("--table-only", help="Train nothing: judge the runs that are finished.")
    ] = False,
) -> None:
    """Train the variants of a training configuration on the same data, seeds and budget, and compare them.

    Ctrl-C stops the present run; the same command continues, and skips what is finished.
    """
    with usage_errors():
        try:
            from derain.train.ablation import Budget, Session, plan_trials, sole_use, train_apart, train_trials
            from derain.train.ablation_table import StudyTable, judge_trials, judging_pictures
            from derain.train.configurations import find_studies
            from derain.train.readiness import require_ready
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in ("lightning_fabric", "tensorboard"):
                raise
            raise MissingExtraError("training", "train") from error
        chosen = [name.strip() for name in (only or "").split(",") if name.strip()]
        trials = plan_trials(
            find_studies(recipes), study, out, chosen, overrides or (), _whole_numbers(seeds), Budget(steps, minutes)
        )
        shown = judging_pictures(trials[0].settings, pictures)
        # Refuses what an earlier session left otherwise, before anything is written.
        progress = [trial.progress() for trial in trials]
        if table_only and "finished" not in progress:
            raise SettingsError(
                f"{out}: --table-only judges runs that are finished, but none is; leave it out to train them"
            )
        if not table_only:
            require_ready(trials)
    session = Session((), None)
    with ExitStack() as stack:
        with usage_errors():
            inherited = stack.enter_context(sole_use(out))
            if not table_only:
                session = train_trials(trials, train_apart(inherited), print_line)
        if session.signal_number is not None:
            print_line("stopped, nothing is lost; resume with the same command")
            raise typer.Exit(128 + session.signal_number)
        try:
            results = judge_trials(trials, shown, print_line)
        except KeyboardInterrupt:
            print_line("stopped while judging; the same command judges again")
            raise typer.Exit(INTERRUPTED) from None
        missing = [trial.name for trial in trials if not trial.folder.final.exists()]
        table = StudyTable(study, pictures, results, missing)
        table.write(out)
    print_line("")
    print_line(table.markdown())
    print_line(f"written to {out / 'table.md'} and {out / 'table.json'}")
    if session.failed:
        raise typer.Exit(SOME_FAILED)


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise SettingsError(
            f"--seeds: wanted whole numbers with commas between them, such as 0,1, got {text}"
        ) from error
