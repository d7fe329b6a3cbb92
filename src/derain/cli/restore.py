"""`derain restore`: photographs, folders and patterns in, restored files out."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from derain.cli.console import (
    INTERRUPTED,
    SOME_FAILED,
    USAGE,
    FileProgress,
    report_failures,
    report_left_out,
    say,
    usage_errors,
)

if TYPE_CHECKING:
    from derain.infer.files import Outcome


def restore(
    inputs: Annotated[
        list[str], typer.Argument(metavar="PHOTO|FOLDER|GLOB", help="Photographs, whole folders, quoted patterns.")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="Folder for the results (or a file name for a single photograph); this or --in-place must be given.",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Name of shipped weights, or path of a checkpoint.")] = "tiny",
    compare: Annotated[
        bool, typer.Option("--compare", help="Also write before/after pictures to OUT/compare.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Make results of the same photographs anew; other files in OUT stay as they are."
        ),
    ] = False,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place",
            help="Instead of -o: overwrite the originals with the results; there is no way back, and running it again "
            "restores twice.",
        ),
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(
            min=192,
            help="Edge of the tiles for large pictures in pixels, 1280 for tiny by default; smaller needs less memory.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], typer.Option(help="Arithmetic; auto takes bf16 where it is native.")
    ] = "auto",
    pixel_limit: Annotated[
        int,
        typer.Option(min=1, help="Refuse pictures with more pixels than this."),
    ] = 150_000_000,
) -> None:
    """Take the rain out of photographs: give -o for the results, or --in-place to overwrite the originals.

    Folders keep their structure below OUT. Results that are there already are skipped, so an interrupted run is
    continued by running it again (not with --in-place). A file in OUT that was not made from the same photograph is
    left alone, and the photograph is listed as failed. What cannot be restored is listed at the end; the rest is done
    all the same.
    """
    from derain.infer.files import Status, restore_files
    from derain.infer.plan import plan_in_place, plan_jobs
    from derain.infer.restore import load

    if (out is None) == (not in_place) or (in_place and compare):
        typer.echo("derain: give an output folder with -o, or --in-place alone to overwrite the originals", err=True)
        raise typer.Exit(USAGE)
    with usage_errors():
        plan = plan_in_place(inputs) if out is None else plan_jobs(inputs, out, compare)
        restorer = load(model, device, precision, tile)

    outcomes: list[Outcome] = []
    try:
        with FileProgress(len(plan.jobs)) as progress:
            for outcome in restore_files(restorer, plan.jobs, overwrite or in_place, pixel_limit, progress.within):
                outcomes.append(outcome)
                worked = outcome.seconds if outcome.status is Status.RESTORED else None
                progress.advance(str(outcome.job.source), outcome.status.value, worked)
    except KeyboardInterrupt:
        left = len(plan.jobs) - len(outcomes)
        say(f"{_summary(outcomes)}; stopped with {left} to go{_how_to_go_on(outcomes, in_place)}")
        raise typer.Exit(INTERRUPTED) from None

    has_results = any(outcome.status is not Status.FAILED for outcome in outcomes)
    say(_summary(outcomes) + (f"; results in {out}" if out is not None and has_results else ""))
    flattened = sum(outcome.loses_depth for outcome in outcomes)
    if flattened:
        say(f"{flattened} of 16 bits written with 8, as the format of the result holds no more; PNG and TIFF keep 16")
    report_left_out([str(path) for path in plan.left_out])
    report_failures([(str(entry.path), entry.problem) for entry in plan.problems], "path", "cannot be read")
    failures = [(str(outcome.job.source), outcome.reason) for outcome in outcomes if outcome.status is Status.FAILED]
    report_failures(failures, "photograph")
    if failures or plan.problems:
        raise typer.Exit(SOME_FAILED)


def _how_to_go_on(outcomes: "list[Outcome]", in_place: bool) -> str:
    if not in_place:
        return ": run the same again to go on"
    done = [str(outcome.job.source) for outcome in outcomes if outcome.status == "restored"]
    if not done:
        return ""
    return "\n".join(["; these are overwritten, and would be restored a second time by the same command:", *done])


def _summary(outcomes: "list[Outcome]") -> str:
    counts = {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in ("restored", "compared", "skipped", "failed")
    }
    megapixels = sum(outcome.megapixels for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes if outcome.megapixels)
    speed = f" ({seconds / megapixels:.2f} s per megapixel)" if megapixels else ""
    text = f"{counts['restored']} restored{speed}"
    if counts["compared"]:
        text += f", {counts['compared']} compared"
    if counts["skipped"]:
        text += f", {counts['skipped']} done before"
    if counts["failed"]:
        text += f", {counts['failed']} failed"
    return text
