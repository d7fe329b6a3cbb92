"""An index of clean photographs, made from the photographs: what `read_photos` reads, and training simulates rain on.

The light is guessed from the picture, the scene taken from names and from what looks alike, the split from a hash of
the scene.
"""

import csv
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from derain.data.near_duplicates import connected, near_groups, perceptual_hash
from derain.data.pairs import Light, Photo, portable_path
from derain.errors import DatasetError
from derain.files import atomic_write
from derain.imaging.io import read_picture
from derain.imaging.pixels import PixelArray

NIGHT_BELOW = 0.2
"""Of `sky_luma`: below it shows night."""

DUSK_BELOW = 0.3
"""Of `sky_luma`: below it, and not night, shows dusk."""

SAMPLES = 256
"""Rows and columns that the light is measured on at most; a median needs no more."""

SceneBy = Literal["file", "folder"]
"""What pictures of one scene have in common: their name without its ending, or the folder that they lie in."""


@dataclass(frozen=True)
class Found:
    """A photograph that is to be listed."""

    path: Path
    relative: Path
    """Its path relative to the folder that was given."""
    source: str
    """Name of that folder."""


def sky_luma(pixels: PixelArray) -> float:
    """Median luma (BT.601, of encoded values) of the upper third of pixels (H, W, 3), where by day the sky is; [0, 1].

    The whole picture shows less: lamps light streets, and by day much lies in the shade.
    """
    upper = pixels[: max(1, pixels.shape[0] // 3)]
    step = (-(-upper.shape[0] // SAMPLES), -(-upper.shape[1] // SAMPLES))
    luma = upper[:: step[0], :: step[1]].astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return float(np.median(luma)) / float(np.iinfo(pixels.dtype).max)


def guess_light(pixels: PixelArray) -> Light:
    """Day, dusk or night by `sky_luma`: a guess, which takes a dark wood for night and a lit-up wall for day."""
    luma = sky_luma(pixels)
    return "night" if luma < NIGHT_BELOW else "dusk" if luma < DUSK_BELOW else "day"


def scene_of(photo: Found, by: SceneBy) -> str:
    """The name of a photograph's scene, which begins with its source."""
    within = photo.relative.with_suffix("") if by == "file" else photo.relative.parent
    return (Path(photo.source) / within).as_posix()


def join_scenes(names: Sequence[str], hashes: Sequence[int]) -> list[str]:
    """For each photograph the name of its scene: the first by alphabet among those of all that look like it.

    Copies and other near-duplicates show one scene, whatever their names, and with them all that share theirs.

    Args:
        names: of each photograph's scene, as `scene_of` has it.
        hashes: perceptual hash of each photograph.
    """
    first_of: dict[str, int] = {}
    named = np.array([first_of.setdefault(name, row) for row, name in enumerate(names)], np.int64)
    alike = near_groups(np.array(hashes, np.uint64))
    rows = np.arange(len(names))
    groups = connected(len(names), np.concatenate([named, alike]), np.tile(rows, 2)).tolist()
    least: dict[int, str] = {}
    for group, name in zip(groups, names, strict=True):
        least[group] = min(name, least.get(group, name))
    return [least[group] for group in groups]


def split_scenes(scenes: Iterable[str], val: float, probe: float, seed: int) -> dict[str, str]:
    """Scene -> `train`, `val` or `probe`.

    A number in [0, 1) that follows from the seed and the scene's name decides: below `val` it is validation, below
    `val + probe` probe, else it is learnt from. So a scene stays where it is when others are added. Where few scenes
    leave a split empty, train gets the one of the greatest number, val and probe get the one of the least that is left
    in train, unless it is the last.

    Raises:
        DatasetError: the shares leave nothing to learn from.
    """
    if min(val, probe) < 0 or val + probe >= 1:
        raise DatasetError(
            f"wanted shares for val and probe of 0 or more that leave some of 1 to train on, got {val:g} and {probe:g}"
        )
    place = {scene: _place(scene, seed) for scene in scenes}
    by_place = sorted(place, key=lambda scene: (place[scene], scene))
    splits = {s: "val" if place[s] < val else "probe" if place[s] < val + probe else "train" for s in by_place}
    if splits and "train" not in splits.values():
        splits[by_place[-1]] = "train"
    for split, share in (("val", val), ("probe", probe)):
        learnt = [scene for scene in by_place if splits[scene] == "train"]
        if share > 0 and split not in splits.values() and len(learnt) > 1:
            splits[learnt[0]] = split
    return splits


def _place(scene: str, seed: int) -> float:
    """A number in [0, 1) that follows from the seed and the scene."""
    digest = hashlib.sha256(f"{seed}|{scene}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class Look(NamedTuple):
    """What a photograph shows."""

    light: Light
    hash: int
    """`perceptual_hash` of it."""


def look_at(photo: Found, light: Light | None) -> Look:
    """Read a photograph to its last byte, and guess its light unless that is given.

    Raises:
        ImageError: it cannot be read.
        DatasetError: its name cannot stand in an index.
    """
    try:
        str(photo.path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"{photo.path}: its name is not UTF-8, which an index has to be; rename the photograph"
        ) from error
    pixels = read_picture(photo.path).pixels
    return Look(light or guess_light(pixels), perceptual_hash(pixels))


def without_repetitions(found: Iterable[Found]) -> list[Found]:
    """The photographs without those that came before by another path, which an index may not list."""
    first: dict[str, Found] = {}
    for photo in found:
        first.setdefault(os.path.realpath(photo.path), photo)
    return list(first.values())


def check_list_path(path: Path, replace: bool, what: str) -> None:
    """Refuse a place that `what`, an index or a manifest, cannot go to, before the work is done.

    Raises:
        DatasetError: it has another ending than .csv, is a folder, or is there and `replace` is not set.
    """
    if path.suffix.lower() != ".csv":
        raise DatasetError(f"{path}: {what} is written as CSV; give a name that ends in .csv with -o")
    if path.is_dir():
        raise DatasetError(f"{path}: a file was wanted and this is a folder; give another with -o")
    if path.exists() and not replace:
        raise DatasetError(f"{path}: is there already; give --force to replace it, or another place with -o")


def write_index(path: Path, photos: Sequence[Photo]) -> None:
    """Write an index in one move; photographs below its folder are listed relative to it, so that it can be moved.

    Raises:
        DatasetError: it cannot be written.
    """
    folder = path.resolve().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Photo)])
            for photo in photos:
                shown = portable_path(photo.path, folder)
                writer.writerow([shown, photo.light, photo.split, photo.source, photo.scene])
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror or error}); give another with -o") from error
