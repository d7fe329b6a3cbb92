"""`derain data index | pairs | check | show`: make lists of photographs and of pairs, and check them."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from derain.cli.console import (
    INTERRUPTED,
    SOME_FAILED,
    USAGE,
    FileProgress,
    exit_with,
    print_line,
    report_failures,
    report_left_out,
    usage_errors,
)
from derain.errors import DatasetError, DerainError, ImageError

if TYPE_CHECKING:
    from derain.data.audit import Audit
    from derain.data.check import FaultKind
    from derain.data.faults import Fault, FaultFile
    from derain.data.pairs import Photo

FAULTS_SHOWN = 20
"""Faults that `check` prints; all of them go into the file of `-o`."""

TYPES_SHOWN = 40
"""Names of types that `check` counts in what it prints."""

data_app = typer.Typer(
    no_args_is_help=True, help="Make lists of photographs and of pairs; find what is wrong with them; count them."
)


@data_app.command()
def index(
    folders: Annotated[
        list[str], typer.Argument(metavar="FOLDER", help="Folders of clean photographs, with all below them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The index to write (CSV).")],
    val: Annotated[float, typer.Option(min=0, max=1, help="Share of the scenes to validate on.")] = 0.1,
    probe: Annotated[float, typer.Option(min=0, max=1, help="Share of the scenes that reweighting watches.")] = 0.05,
    light: Annotated[
        Literal["auto", "day", "dusk", "night"],
        typer.Option(help="What the photographs show; auto guesses it of each from how bright its upper third is."),
    ] = "auto",
    scene: Annotated[
        Literal["file", "folder"],
        typer.Option(help="Whether each photograph is a scene of its own, or those of one folder are one scene."),
    ] = "file",
    seed: Annotated[int, typer.Option(help="Another seed puts other scenes into val and probe.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")] = False,
) -> None:
    """Make an index of clean photographs, as training and simulating take it: path, light, split, source, scene.

    The split follows from the scene's name and the seed; photographs that look alike are one scene. What cannot be read
    is left out and listed, with exit status 1.
    """
    from derain.data.index import (
        Found,
        Look,
        check_list_path,
        join_scenes,
        look_at,
        scene_of,
        split_scenes,
        without_repetitions,
        write_index,
    )
    from derain.data.pairs import Photo
    from derain.infer.photos import expanded, find_photos
    from derain.infer.plan import check_folder

    with usage_errors():
        check_list_path(out, force, "an index")
        check_folder(out.parent)
        found: list[Found] = []
        left_out: list[str] = []
        problems: list[tuple[str, str]] = []
        for folder in folders:
            if not expanded(folder).is_dir():
                raise DatasetError(f"{folder}: wanted a folder of clean photographs, and this is none; give one")
            source = expanded(folder).resolve().name
            here = find_photos([folder])
            found += [Found(path, relative, source) for path, relative in here.photos]
            left_out += [str(path) for path in here.left_out]
            problems += [(str(entry.path), entry.problem) for entry in here.problems]
        unique = without_repetitions(found)
        split_scenes([], val, probe, seed)  # refuses shares that leave nothing

    looks: dict[Found, Look] = {}
    failures: list[tuple[str, str]] = []
    try:
        with FileProgress(len(unique), quiet_lines=True) as progress:
            for photo in unique:
                try:
                    looks[photo] = look_at(photo, None if light == "auto" else light)
                    progress.advance(str(photo.path), looks[photo].light)
                except (ImageError, DatasetError) as error:
                    failures.append((str(photo.path), str(error)))
                    progress.advance(str(photo.path), "failed")
    except KeyboardInterrupt:
        print_line("stopped; nothing was written")
        raise typer.Exit(INTERRUPTED) from None
    own = [scene_of(photo, scene) for photo in looks]
    scenes = join_scenes(own, [look.hash for look in looks.values()])
    splits = split_scenes(set(scenes), val, probe, seed)
    photos = [
        Photo(photo.path, look.light, splits[name], photo.source, name)
        for (photo, look), name in zip(looks.items(), scenes, strict=True)
    ]
    if photos:
        write_index(out, photos)
        print_line(f"{len(photos)} photographs of {len(splits)} scenes in {out}")
        if len(set(own)) > len(splits):
            print_line(
                f"  {len(set(own)) - len(splits)} look like an earlier one (copies, frames of a film): one scene each"
            )
        _report_splits(photos, ["train", *(["val"] if val else []), *(["probe"] if probe else [])])
        if light == "auto":
            print_line("the light was guessed: check the column, or state it with --light")
    if len(unique) < len(found):
        print_line(f"{len(found) - len(unique)} left out, as they are there by another path already")
    report_left_out(left_out)
    report_failures(problems, "path", "cannot be read")
    report_failures(failures, "photograph")
    if failures or problems:
        raise typer.Exit(SOME_FAILED)


@data_app.command()
def pairs(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="FOLDER", help="Folders of pairs, such as input/ beside target/, with all below."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The manifest to write (CSV).")],
    type_name: Annotated[
        str, typer.Option("--type", help="Type of pairs that no folder named drs, drd, nrs or nrd gives one.")
    ] = "",
    split: Annotated[
        Literal["train", "val", "test", "probe"] | None,
        typer.Option(help="Put all pairs into this split instead of dividing the scenes."),
    ] = None,
    val: Annotated[float, typer.Option(min=0, max=1, help="Share of the scenes to validate on.")] = 0.1,
    probe: Annotated[float, typer.Option(min=0, max=1, help="Share of the scenes that reweighting watches.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Another seed puts other scenes into val and probe.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")] = False,
) -> None:
    """Make a manifest of folders of pairs, as public data sets lay them out.

    Partners are found by rules about names, never by sorted order; where a picture has none, nothing is written. All
    pairs of one clean picture are one scene. No picture is opened: `derain data check` does that.
    """
    from dataclasses import replace

    from derain.data.index import check_list_path, split_scenes
    from derain.data.layouts import read_paired_folder
    from derain.data.pairs import Pair, write_manifest
    from derain.infer.photos import expanded
    from derain.infer.plan import check_folder

    with usage_errors():
        check_list_path(out, force, "a manifest")
        check_folder(out.parent)
        found: list[Pair] = []
        left_out: list[str] = []
        for folder in folders:
            if not expanded(folder).is_dir():
                raise DatasetError(f"{folder}: wanted a folder of pairs, and this is none; give one")
            here = read_paired_folder(expanded(folder))
            left_out += [str(path) for path in here.left_out]
            for pair in here.pairs:
                name, scene = f"{pair.source}/{pair.id}", f"{pair.source}/{pair.scene}"
                found.append(replace(pair, id=name, type=pair.type or type_name or None, scene=scene))
        splits = split_scenes({pair.scene for pair in found}, val, probe, seed)
        found = [replace(pair, split=split or splits[pair.scene]) for pair in found]
        write_manifest(out, found)
    print_line(f"{len(found)} pairs of {len(splits)} scenes in {out}")
    untyped = sum(pair.type is None for pair in found)
    if untyped:
        print_line(f"  {untyped} have no type, and are of no use for training: give it with --type")
    report_left_out(left_out, "neither rainy nor clean by their names")


def _report_splits(photos: "list[Photo]", splits: list[str]) -> None:
    """Photographs by split and light, and what training would miss."""
    for split in splits:
        counted = Counter(photo.light for photo in photos if photo.split == split)
        lights = ", ".join(f"{counted[light]} {light}" for light in ("day", "dusk", "night") if counted[light])
        print_line(f"  {split}: {lights or 'none'}")
        if not counted["day"] + counted["dusk"]:
            print_line(
                f"    training on rain by day needs one of day or dusk in {split}: add some, or give another --seed"
            )


@data_app.command()
def check(
    lists: Annotated[
        list[Path],
        typer.Argument(metavar="MANIFEST", help="Manifests of pairs (CSV, Parquet) or indexes of photographs."),
    ],
    crop: Annotated[int, typer.Option(min=1, help="Pixels that both sides of a picture must have.")] = 128,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode each picture, not only look at its header and its end.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write all faults to this CSV file.")] = None,
) -> None:
    """Find everything that is wrong with lists of pictures, all at once.

    Looks for rows that cannot be used, duplicate ids, pictures that are missing, unreadable or too small, pairs that
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
        print_line("stopped" + ("" if out is None else f"; the faults found so far are in {out}"))
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if file is not None:
            file.close()

    _report(audits, found)
    if out is not None:
        print_line(f"\nall {found.count} are in {out}")
    if failure is not None:
        raise exit_with(failure, USAGE)
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

    def add(self, fault: "Fault", file: "FaultFile | None") -> None:
        """Count it, and write it to the file if there is one."""
        self.counted[fault.kind] += 1
        if len(self.first) < FAULTS_SHOWN:
            self.first.append(fault)
        if file is not None:
            file.write(fault)


def _look(audits: "list[Audit]", found: _Found, file: "FaultFile | None") -> None:
    from rich.console import Console

    from derain.data.repetition import repetition_faults

    with Console(stderr=True).status("") as status:
        for audit in audits:

            def show(done: int, path: Path = audit.path) -> None:
                status.update(f"{path}: {done} rows")

            for fault in audit.faults(show):
                found.add(fault, file)
            found.done += 1
        status.update("comparing pictures")
        for fault in repetition_faults([(audit.path, audit.contents) for audit in audits]):
            found.add(fault, file)


def _report(audits: "list[Audit]", found: _Found) -> None:
    """The tally, and the first faults."""
    rows = sum(audit.rows for audit in audits)
    which = f"{len(audits)} list{'s' if len(audits) > 1 else ''}"
    if found.done < len(audits):
        which = f"{found.done} of {which} and what could be read of the next"
    print_line(f"{rows} rows in {which}: {_by_kind(found.counted)}")
    types: Counter[str] = Counter()
    for audit in audits:
        types.update(audit.types)
    if types:
        named = [f"{count} {name or 'without'}" for name, count in types.most_common(TYPES_SHOWN)]
        more = [f"and {len(types) - TYPES_SHOWN} more names"] if len(types) > TYPES_SHOWN else []
        print_line(f"types: {', '.join([*named, *more])}")
    if found.first:
        print_line("")
        for fault in found.first:
            print_line(f"{fault.list}, {fault.place}: {fault.kind}: {fault.reason}")
        if found.count > len(found.first):
            print_line(f"and {found.count - len(found.first)} more")


def _by_kind(counted: "Counter[FaultKind]") -> str:
    parts = [f"{count} {kind}{' (warning)' if kind.is_warning else ''}" for kind, count in counted.most_common()]
    return ", ".join(parts) or "no faults"


@data_app.command()
def show(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST", help="Manifests of pairs, CSV or Parquet.")],
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
    print_line(f"{sum(len(table) for table in tables)} rows\n")
    rows = [["source", "type", *SPLITS]]
    for source, name in sorted({(source, name) for source, name, _ in counted}):
        rows.append([source or "-", name or "-", *(str(counted[source, name, split]) for split in SPLITS)])
    sums = [sum(count for key, count in counted.items() if key[2] == split) for split in SPLITS]
    rows.append(["all", "", *map(str, sums)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        named = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        print_line("  ".join([*named, *numbers]).rstrip())
