"""`derain data check | show`: what is wrong with lists of pictures, and what is in them."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from derain.cli.console import INTERRUPTED, SOME_FAILED, say, usage_errors

if TYPE_CHECKING:
    from derain.data.audit import Fault, FaultFile
    from derain.data.check import FaultKind

FAULTS_SHOWN = 20
"""Faults that `check` prints; all of them go into the file of `-o`."""

data_app = typer.Typer(no_args_is_help=True, help="Look at lists of pictures: what is wrong, and what is in them.")


@data_app.command()
def check(
    lists: Annotated[
        list[Path],
        typer.Argument(metavar="MANIFEST...", help="Manifests of pairs (CSV, Parquet) or indexes of photographs."),
    ],
    crop: Annotated[int, typer.Option(min=1, help="Pixels that both sides of a picture must have.")] = 128,
    decode: Annotated[
        bool, typer.Option("--decode", help="Read each picture to its last byte, not only its header.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write all faults to this CSV file.")] = None,
) -> None:
    """Find everything that is wrong with lists of pictures, all at once.

    Looks for rows that cannot be used, double ids, pictures that are missing, unreadable or too small, pairs that
    differ in size or lack the clean partner, and warns of scenes that are in several splits. Exit status 1 when there
    are faults other than warnings.
    """
    from derain.data.audit import FaultFile

    with usage_errors():
        file = FaultFile(out) if out is not None else None
    try:
        counted, first, rows = _audit(lists, crop, decode, file)
    except KeyboardInterrupt:
        say("stopped" + ("" if out is None else f"; the faults found so far are in {out}"))
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if file is not None:
            file.close()

    say(f"{rows} rows in {len(lists)} list{'s' if len(lists) > 1 else ''}: {_by_kind(counted)}")
    if first:
        say("")
        for fault in first:
            say(f"{fault.list}, {fault.place}: {fault.kind}: {fault.reason}")
        if sum(counted.values()) > len(first):
            say(f"and {sum(counted.values()) - len(first)} more")
    if out is not None:
        say(f"\nall {sum(counted.values())} are in {out}")
    if any(not kind.is_warning for kind in counted):
        raise typer.Exit(SOME_FAILED)


def _audit(
    lists: list[Path], crop: int, decode: bool, file: "FaultFile | None"
) -> "tuple[Counter[FaultKind], list[Fault], int]":
    """The faults of all lists by kind, the first of them, and the number of rows looked at."""
    from rich.console import Console

    from derain.data.audit import Audit

    counted: Counter[FaultKind] = Counter()
    first: list[Fault] = []
    rows = 0
    console = Console(stderr=True)
    with console.status("") as status:
        for path in lists:
            audit = Audit(path, crop, decode)

            def tell(done: int, path: Path = path) -> None:
                status.update(f"{path}: {done} rows")

            with usage_errors():
                for fault in audit.faults(tell):
                    counted[fault.kind] += 1
                    if len(first) < FAULTS_SHOWN:
                        first.append(fault)
                    if file is not None:
                        file.write([fault])
            rows += audit.rows
    return counted, first, rows


def _by_kind(counted: "Counter[FaultKind]") -> str:
    parts = [f"{count} {kind}{' (warning)' if kind.is_warning else ''}" for kind, count in counted.most_common()]
    return ", ".join(parts) or "no faults"


@data_app.command()
def show(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...", help="Manifests of pairs, CSV or Parquet.")],
) -> None:
    """Count the rows of manifests by source, type and split."""
    from derain.data.pairs import SPLITS
    from derain.data.table import open_table

    with usage_errors():
        tables = [open_table(path) for path in manifests]
    counted: Counter[tuple[str, str, str]] = Counter()
    for table in tables:
        counted.update(table.counts())
    say(f"{sum(len(table) for table in tables)} rows\n")
    rows = [["source", "type", *SPLITS]]
    for source, name in sorted({(source, name) for source, name, _ in counted}):
        rows.append([source or "-", name or "-", *(str(counted[source, name, split]) for split in SPLITS)])
    sums = [sum(count for key, count in counted.items() if key[2] == split) for split in SPLITS]
    rows.append(["all", "", *map(str, sums)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        named = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        say("  ".join([*named, *numbers]).rstrip())
