"""`derain evaluate`: how well a model does on pairs, as a table by rain type."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from derain.cli.console import (
    INTERRUPTED,
    SOME_FAILED,
    FileProgress,
    print_line,
    report_failures,
    report_left_out,
    usage_errors,
)
from derain.errors import DatasetError


def evaluate(
    pairs_at: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST|FOLDER",
            help="A manifest (CSV, Parquet), or a folder of pairs.",
        ),
    ],
    protocol: Annotated[
        Literal["rgb", "y", "unirain"],
        typer.Option(help="How PSNR and SSIM are taken: on RGB, on luma Y, or PSNR on RGB and SSIM on Y."),
    ] = "unirain",
    model: Annotated[
        str, typer.Option(help="A shipped model, a weights file, the folder of a run, or owner/name on the hub.")
    ] = "tiny",
    split: Annotated[str | None, typer.Option(help="Only this split of the manifest: train, val, test, probe.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write a row per picture to this .csv or .json.")
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(min=192, help="Edge of the tiles for large pictures, in pixels; 1280 for tiny by default."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], typer.Option(help="Arithmetic; auto takes bf16 where it is native.")
    ] = "auto",
) -> None:
    """Measure a model on pairs: input, output and gain in PSNR and SSIM, by rain type.

    The table is Markdown. Pairs without a clean picture are left out and counted; pairs that cannot be measured are
    listed at the end.
    """
    from derain.data.layouts import read_paired_folder
    from derain.data.pairs import read_manifest
    from derain.evaluate.benchmark import Failure, Score, benchmark
    from derain.evaluate.report import check_rows_path, markdown_table, write_scores
    from derain.imaging.metrics import Protocol
    from derain.infer.restore import load

    with usage_errors():
        if out is not None:
            check_rows_path(out)
        if split is not None and pairs_at.is_dir():
            raise DatasetError(
                f"{pairs_at}: a folder has no splits, only a manifest has; "
                f"use {pairs_at / 'manifest.csv'} if it is there, or leave --split out"
            )
        left_out: list[Path] = []
        if pairs_at.is_dir():
            pairs, left_out = read_paired_folder(pairs_at)
        else:
            pairs = read_manifest(pairs_at, split)
        restorer = load(model, device, precision, tile)
    if pairs_at.is_dir() and (pairs_at / "manifest.csv").is_file():
        print_line(
            f"{pairs_at / 'manifest.csv'} is not read, for a folder was given; "
            "give the manifest itself to use its types, splits and sources"
        )
    report_left_out([str(path) for path in left_out], "neither rainy nor clean by their names")
    measurable = [pair for pair in pairs if pair.clean is not None]
    if len(measurable) < len(pairs):
        print_line(f"{len(pairs) - len(measurable)} of {len(pairs)} pairs have no clean picture and are left out")

    chosen = Protocol(protocol)
    scores: list[Score] = []
    failures: list[Failure] = []
    try:
        with FileProgress(len(measurable), quiet_lines=True) as progress:
            for result in benchmark(restorer, measurable, chosen):
                if isinstance(result, Score):
                    scores.append(result)
                    progress.advance(result.id, f"{result.output_psnr - result.input_psnr:+.2f} dB", result.seconds)
                else:
                    failures.append(result)
                    progress.advance(result.id, "failed")
    except KeyboardInterrupt:
        print_line(f"stopped after {len(scores)} of {len(measurable)} pairs; nothing was written")
        raise typer.Exit(INTERRUPTED) from None

    if scores:
        print_line(f"\nModel: {model}. {markdown_table(scores, chosen)}")
        if out is not None:
            write_scores(out, scores, chosen)
            print_line(f"\na row per picture is in {out}")
    report_failures([(failure.id, failure.reason) for failure in failures], "pair")
    if failures or not scores:
        raise typer.Exit(SOME_FAILED)
