"""`derain restore`: photographs, folders and patterns in, restored files out."""

import os
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from derain.cli.console import (
    INTERRUPTED,
    SOME_FAILED,
    USAGE,
    FileProgress,
    print_line,
    report_failures,
    report_left_out,
    usage_errors,
)

if TYPE_CHECKING:
    from derain.infer.files import FileRun, Outcome
    from derain.infer.plan import Plan


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
    model: Annotated[
        str, typer.Option(help="A shipped model, a weights file, the folder of a run, or owner/name on the hub.")
    ] = "tiny",
    format: Annotated[
        Literal["jpg", "png", "webp", "tif", "bmp", "heic", "avif"] | None,
        typer.Option(help="Format of the results; unless given, that of each photograph."),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Quality of JPEG, WebP, HEIC and AVIF results; unless given, about that of the photograph.",
        ),
    ] = None,
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
    allow_damaged: Annotated[
        bool,
        typer.Option("--allow-damaged", help="Restore what can be decoded of photographs of which pixels are missing."),
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
    resumed by running it again (not with --in-place). A file in OUT that was not made from the same photograph, or with
    another model, precision or quality, is left alone, and the photograph is listed as failed. What cannot be read or
    restored is listed at the end; the rest is done all the same.
    """
    from derain.infer.files import FileRun
    from derain.infer.plan import plan_in_place, plan_jobs
    from derain.infer.restore import load

    if (out is None) == (not in_place) or (in_place and (compare or format)):
        typer.echo("derain: give an output folder with -o, or --in-place alone to overwrite the originals", err=True)
        raise typer.Exit(USAGE)
    with usage_errors():
        plan = plan_in_place(inputs) if out is None else plan_jobs(inputs, out, compare, format)
        restorer = load(model, device, precision, tile)
    run = FileRun(
        restorer,
        plan.jobs,
        overwrite=overwrite or in_place,
        quality=quality,
        allow_damaged=allow_damaged,
        pixel_limit=pixel_limit,
    )
    started = time.monotonic()
    try:
        _restore_all(run)
    except KeyboardInterrupt:
        summary = _summary(run.outcomes, time.monotonic() - started)
        print_line(f"{summary}; stopped with {len(run.not_done)} to go{_how_to_resume(run.outcomes, in_place)}")
        raise typer.Exit(INTERRUPTED) from None
    has_results = any(outcome.status != "failed" for outcome in run.outcomes)
    where = f"; results in {out}" if out is not None and has_results else ""
    print_line(_summary(run.outcomes, time.monotonic() - started) + where)
    _report(plan, run)


def _restore_all(run: "FileRun") -> None:
    """Do the work and show how far it is; also after Ctrl-C, what was finished is in `run.outcomes`."""
    from derain.infer.photos import pixel_count

    to_do = [job for job in run.jobs if run.overwrite or not os.path.exists(job.output)]  # noqa: PTH110 - never raises
    pixels = {job: pixel_count(job.source) for job in to_do}
    known = [count for count in pixels.values() if count]
    pixels = {job: count or sum(known) // max(1, len(known)) for job, count in pixels.items()}
    with closing(run), FileProgress(len(run.jobs), sum(pixels.values())) as progress:
        run.on_tile = lambda job, done, total: progress.within(pixels.get(job, 0) * done / total)
        for outcome in run:
            restored = outcome.status == "restored"
            progress.advance(
                str(outcome.job.source),
                outcome.status.value,
                seconds=outcome.seconds if restored else None,
                amount=pixels.get(outcome.job, 0),
                worked=restored,
                warnings=outcome.warnings,
            )


def _report(plan: "Plan", run: "FileRun") -> None:
    """List what was not restored, and exit with status 1 if there is any."""
    report_left_out([str(path) for path in plan.left_out])
    report_failures([(str(entry.path), entry.problem) for entry in plan.problems], "path", "cannot be read")
    failures = [(str(outcome.job.source), outcome.reason) for outcome in run.outcomes if outcome.status == "failed"]
    report_failures(failures, "photograph")
    if run.stopped_by:
        typer.echo(f"stopped, as the disk takes no more: {run.stopped_by}", err=True)
        report_failures([(str(job.source), "") for job in run.not_done], "photograph", "not done")
    if failures or plan.problems:
        raise typer.Exit(SOME_FAILED)


def _how_to_resume(outcomes: "list[Outcome]", in_place: bool) -> str:
    if not in_place:
        return ": run the same command again to resume"
    done = [str(outcome.job.source) for outcome in outcomes if outcome.status == "restored"]
    if not done:
        return ""
    return "\n".join(["; these are overwritten, and would be restored a second time by the same command:", *done])


def _summary(outcomes: "list[Outcome]", seconds: float) -> str:
    counts = {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in ("restored", "compared", "skipped", "failed")
    }
    megapixels = sum(outcome.megapixels for outcome in outcomes)
    speed = f" ({seconds / megapixels:.2f} s per megapixel)" if megapixels else ""
    text = f"{counts['restored']} restored{speed}"
    if counts["compared"]:
        text += f", {counts['compared']} compared"
    if counts["skipped"]:
        text += f", {counts['skipped']} done before"
    if counts["failed"]:
        text += f", {counts['failed']} failed"
    return text
