"""`derain simulate`: add rain to clean photographs, and write pairs with a manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
from derain.errors import DatasetError, ImageError
from derain.files import FULL_DISK_FAILURES
from derain.rain.weather import SIMULATED, SimulatedType, simulated_type
from derain.types import RainType

if TYPE_CHECKING:
    from derain.data.pairs import Pair, Photo
    from derain.rain.render import CleanPhoto, RenderJob

MANIFEST = "manifest.csv"


def simulate(
    photos: Annotated[
        list[str],
        typer.Argument(metavar="PHOTOS", help="Clean photographs, folders, quoted patterns, or an index (CSV)."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for rainy/, clean/ and manifest.csv.")],
    types: Annotated[
        str, typer.Option(help="Any of drs, drd, nrs, nrd, snow and haze, with commas between.")
    ] = ",".join(RainType),
    seed: Annotated[int, typer.Option(help="Another seed gives other rain on the same photographs.")] = 0,
    per_photo: Annotated[int, typer.Option(min=1, help="Rainy pictures of each photograph and type.")] = 1,
    count: Annotated[int | None, typer.Option(min=1, help="At most so many pictures of each type.")] = None,
    light: Annotated[
        Literal["day", "night"], typer.Option(help="What the photographs show; an index has it for each photograph.")
    ] = "day",
    split: Annotated[
        Literal["train", "val", "test", "probe"],
        typer.Option(help="Split that the manifest names; of an index, the split to take."),
    ] = "train",
    longest_side: Annotated[
        int | None, typer.Option(min=32, help="Reduce larger photographs to this many pixels first.")
    ] = None,
) -> None:
    """Add rain (or snow) to clean photographs: pairs of pictures, and a manifest of them.

    The same seed, photograph and type give the same rain. Pictures that are there already are kept, so an interrupted
    run is continued by running it again; several runs into one folder share its manifest, in which no picture changes
    its split.
    """
    from derain.data.pairs import write_manifest
    from derain.infer.plan import check_folder
    from derain.rain.render import plan_renders, render

    with usage_errors():
        rain_types = _parse_types(types)
        check_folder(out)
        named = _gather(photos, out, light, split)
        origins = named.origins
        jobs = plan_renders(named.clean, rain_types, out, seed, per_photo, count, longest_side)
        planned = {job.id: _pair(job, origins[job.photo.path]) for job in jobs}
        earlier = _earlier_pairs(out / MANIFEST)
        _check_labels(earlier, planned, out / MANIFEST)

    done: list[RenderJob] = []
    failures: dict[str, str] = {}
    new = full = 0
    try:
        with FileProgress(len(jobs), quiet_lines=True) as progress:
            for rendered in render(jobs):
                full = full + 1 if rendered.is_disk_full else 0
                if full == FULL_DISK_FAILURES:
                    print_line(f"stopped after {len(done)} of {len(jobs)} pictures, as the disk takes no more")
                    typer.echo(f"derain: {rendered.reason}; then run the same command to resume", err=True)
                    raise typer.Exit(SOME_FAILED)
                if rendered.reason:
                    failures[str(rendered.job.photo.path)] = rendered.reason
                    progress.advance(rendered.job.id, "failed")
                    continue
                done.append(rendered.job)
                new += rendered.is_new
                what = "rendered" if rendered.is_new else "done before"
                progress.advance(rendered.job.id, what, worked=rendered.is_new)
    except KeyboardInterrupt:
        print_line(f"stopped after {len(done)} of {len(jobs)} pictures: run the same command to resume")
        raise typer.Exit(INTERRUPTED) from None

    pairs = {pair.id: pair for pair in [*earlier, *(planned[job.id] for job in done)]}
    write_manifest(out / MANIFEST, list(pairs.values()))
    print_line(f"{new} rendered, {len(done) - new} done before; {len(pairs)} pairs in {out / MANIFEST}")
    report_left_out(named.left_out)
    report_failures(named.problems, "path", "cannot be read")
    report_failures(list(failures.items()), "photograph")
    if failures or named.problems:
        raise typer.Exit(SOME_FAILED)


def _parse_types(text: str) -> list[SimulatedType]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ImageError(f"--types: wanted some of {', '.join(SIMULATED)}, with commas between; got none")
    return [simulated_type(name) for name in dict.fromkeys(names)]


@dataclass
class _Named:
    """What the inputs name."""

    clean: "list[CleanPhoto]" = field(default_factory=list)
    origins: "dict[Path, Photo]" = field(default_factory=dict)
    """Each photograph's row of the index, or what the options give."""
    left_out: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Paths that cannot be read, with the reason."""


def _gather(inputs: Sequence[str], out: Path, light: str, split: str) -> _Named:
    """The photographs to let rain on: rows of an index, or files."""
    import os

    from derain.data.pairs import Photo, read_photos
    from derain.infer.photos import find_photos
    from derain.rain.render import CleanPhoto

    named = _Named()
    for given in inputs:
        if _is_index(given):
            index = read_photos(Path(given), split)
            top = Path(os.path.commonpath([photo.path.parent for photo in index]))
            photos = [(photo, photo.path.relative_to(top)) for photo in index]
        else:
            found = find_photos([given], outside=out)
            shown: Literal["day", "night"] = "night" if light == "night" else "day"
            photos = [
                (Photo(path, shown, split, "simulated", name.with_suffix("").as_posix()), name)
                for path, name in found.photos
            ]
            named.left_out += [str(path) for path in found.left_out]
            named.problems += [(str(entry.path), entry.problem) for entry in found.problems]
        for photo, name in photos:
            if photo.path not in named.origins:
                named.origins[photo.path] = photo
                named.clean.append(CleanPhoto(photo.path, name, is_night=photo.light == "night"))
    return named


def _is_index(given: str) -> bool:
    return given.lower().endswith(".csv")


def _pair(job: "RenderJob", origin: "Photo") -> "Pair":
    from derain.data.pairs import Pair

    return Pair(
        id=job.id,
        rainy=job.rainy,
        clean=job.clean,
        type=job.rain_type.value,
        source=origin.source,
        split=origin.split,
        scene=origin.scene,
    )


def _check_labels(earlier: "Sequence[Pair]", planned: "Mapping[str, Pair]", manifest: Path) -> None:
    """Refuse to move pictures that are there into another split, source or scene."""
    for pair in earlier:
        new = planned.get(pair.id, pair)
        labels = (pair.split, pair.source, pair.scene)
        if labels != (new.split, new.source, new.scene):
            raise DatasetError(
                f"{manifest}: {pair.id} is there with split, source and scene {', '.join(labels)}; "
                f"asked for are {new.split}, {new.source}, {new.scene}; give another folder with -o, or another --seed"
            )


def _earlier_pairs(manifest: Path) -> "list[Pair]":
    """What earlier runs put into the folder and is still there."""
    from derain.data.pairs import read_manifest

    if not manifest.exists():
        return []
    listed = read_manifest(manifest, check_files=False)
    return [pair for pair in listed if pair.rainy.exists() and pair.clean is not None and pair.clean.exists()]
