"""`derain data check | show`: what is wrong with lists of pictures, and what is in them."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from derain.cli.console import INTERRUPTED, SOME_FAILED, USAGE, refuse, say, usage_errors
from derain.errors import DatasetError, DerainError

if TYPE_CHECKING:
    from derain.data.audit import Audit, Fault
    from derain.data.check import FaultKind
    from derain.data.faults import FaultFile

FAULTS_SHOWN = 20
"""Faults that `check` prints; all of them go into the file of `-o`."""

TYPES_SHOWN = 40
"""Names of types that `check` counts in what it prints."""

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
    differ in size or lack the clean partner or the type, and warns of scenes that are in several splits and of types
    that look like a slip. Exit status 1 when there are faults other than warnings, 2 when a list cannot be read.
    """
    from derain.data.audit import Audit
    from derain.data.faults import FaultFile

    audits = [Audit(path, crop, decode) for path in lists]
    with usage_errors():
        for audit in audits:
            audit.columns()  # a list that cannot be read is found before hours are spent on another
        file = FaultFile(out, lists) if out is not None else None
    found = _Found()
    failure: DerainError | None = None
    try:
        _look(audits, found, file)
    except DerainError as error:
        failure = error
    except KeyboardInterrupt:
        say("stopped" + ("" if out is None else f"; the faults found so far are in {out}"))
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if file is not None:
            file.close()

    _tell(audits, found)
    if out is not None:
        say(f"\nall {found.count} are in {out}")
    if failure is not None:
        raise refuse(failure, USAGE)
    if any(not kind.is_warning for kind in found.counted):
        raise typer.Exit(SOME_FAILED)


@dataclass
class _Found:
    """What is wrong in all lists so far."""

    counted: "Counter[FaultKind]" = field(default_factory=Counter)
    first: "list[Fault]" = field(default_factory=list)
    done: int = 0
    """Lists that were read to their end."""

    @property
    def count(self) -> int:
        return sum(self.counted.values())


def _look(audits: "list[Audit]", found: _Found, file: "FaultFile | None") -> None:
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        for audit in audits:

            def tell(done: int, path: Path = audit.path) -> None:
                status.update(f"{path}: {done} rows")

            for fault in audit.faults(tell):
                found.counted[fault.kind] += 1
                if len(found.first) < FAULTS_SHOWN:
                    found.first.append(fault)
                if file is not None:
                    file.write(fault)
            found.done += 1


def _tell(audits: "list[Audit]", found: _Found) -> None:
    """The tally, and the first faults."""
    rows = sum(audit.rows for audit in audits)
    which = f"{len(audits)} list{'s' if len(audits) > 1 else ''}"
    if found.done < len(audits):
        which = f"{found.done} of {which} and what could be read of the next"
    say(f"{rows} rows in {which}: {_by_kind(found.counted)}")
    types: Counter[str] = Counter()
    for audit in audits:
        types.update(audit.types)
    if types:
        named = [f"{count} {name or 'without'}" for name, count in types.most_common(TYPES_SHOWN)]
        more = [f"and {len(types) - TYPES_SHOWN} more names"] if len(types) > TYPES_SHOWN else []
        say(f"types: {', '.join([*named, *more])}")
    if found.first:
        say("")
        for fault in found.first:
            say(f"{fault.list}, {fault.place}: {fault.kind}: {fault.reason}")
        if found.count > len(found.first):
            say(f"and {found.count - len(found.first)} more")


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
        tables = []
        for path in manifests:
            try:
                tables.append(open_table(path))
            except DatasetError as error:
                if not path.is_file():
                    raise
                raise DatasetError(f"{error}; `derain data check {path}` finds all faults at once") from error
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
