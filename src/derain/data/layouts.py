"""Folders of pairs as public data sets lay them out: which picture is rainy, which clean, and which belong together.

Partners are found by rules about names, never by sorted order:

    input/a.png         target/a.png             one name (also rainy, rain, lq, data, rainy_image, drop, blur
                                                 beside clean, gt, norain, ground_truth, clear)
    rain/rain-001.png   norain/norain-001.png    a mark in the name (Rain100, Rain200)
    data/0_rain.png     gt/0_clean.png           the same at its end (RainDrop)
    s/s-R-000.png       s/s-C-000.png            frames of a scene with one clean picture (GT-RAIN)
    rainy/901_1.jpg     ground_truth/901.jpg     many rainy pictures to one clean (Rain1400, DID-Data)
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from derain.data.pairs import Pair
from derain.errors import DatasetError
from derain.imaging.folders import walk_files
from derain.imaging.formats import IMAGE_SUFFIXES, known_suffixes
from derain.types import RainType

RAINY_FOLDERS = ("rainy", "rain", "input", "lq", "data", "rainy_image", "drop", "blur")
CLEAN_FOLDERS = ("clean", "target", "gt", "norain", "ground_truth", "clear")

Role = Literal["rainy", "clean"]

_RAINY_MARK = re.compile(r"^rain-(?=.)|(?<=.)_rain$|(?<=.)-R-\d+$")
_CLEAN_MARK = re.compile(r"^norain-(?=.)|(?<=.)_clean$|(?<=.)-C-\d+$")
_NUMBER = re.compile(r"(?<=.)_\d+$")


@dataclass(frozen=True)
class _File:
    path: Path
    relative: Path
    role: Role
    group: str
    """The folders that it lies in, without those that name its role: partners share them."""

    @property
    def name(self) -> str:
        """Its own name, without ending."""
        return self.relative.stem

    @property
    def unmarked(self) -> str:
        """Its name without the mark of its role."""
        return (_RAINY_MARK if self.role == "rainy" else _CLEAN_MARK).sub("", self.name)

    @property
    def unnumbered(self) -> str:
        """A rainy picture's name without mark and number; a clean one's without mark."""
        return _NUMBER.sub("", self.unmarked) if self.role == "rainy" else self.unmarked


_RULES: tuple[Callable[[_File], str], ...] = (
    lambda file: file.name,
    lambda file: file.unmarked,
    lambda file: file.unnumbered,
)
"""What partners of a folder have in common; the first rule by which all of its pictures have partners is taken."""


class PairedFolder(NamedTuple):
    """What a folder of pairs holds."""

    pairs: list[Pair]
    left_out: list[Path]
    """Pictures whose role neither a folder nor their name gives."""


def read_paired_folder(root: Path, split: str = "test") -> PairedFolder:
    """The pairs below a folder, in the order of the rainy pictures' paths, and the pictures that are of neither role.

    A folder named like a rain type (rainy/drs/...) gives the type. Rainy pictures of one clean picture are one scene.

    Raises:
        DatasetError: something below cannot be read, there are no pairs, or pictures have no partner, or several; they
            are named.
    """
    files, left_out = _files(root)
    groups: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        groups[file.group].append(file)
    partners: dict[_File, _File] = {}
    unmatched: list[_File] = []
    for group in groups.values():
        found, left = _match(group)
        partners |= found
        unmatched += left
    if unmatched:
        names = sorted(str(file.relative) for file in unmatched)
        raise DatasetError(
            f"{root}: {len(unmatched)} of {len(files)} pictures have no partner by their names, or several: "
            f"{_enumerate(names)}; add their partners, rename them or take them out"
        )
    rainy = [file for file in files if file.role == "rainy"]
    short = [(Path(file.group) / file.name).as_posix() for file in rainy]
    is_unique = len(set(short)) == len(short)
    pairs = [
        Pair(
            id=name if is_unique else file.relative.with_suffix("").as_posix(),
            rainy=file.path,
            clean=partners[file].path,
            type=_type_of(file.relative),
            source=root.resolve().name,
            split=split,
            scene=(Path(file.group) / partners[file].unmarked).as_posix(),
        )
        for file, name in zip(rainy, short, strict=True)
    ]
    return PairedFolder(pairs, left_out)


def _files(root: Path) -> tuple[list[_File], list[Path]]:
    """The pictures that are known to be rainy or clean, and the others.

    Raises:
        DatasetError: something cannot be read, or one of the roles is missing.
    """
    entries = walk_files(root)
    problems = [f"{entry.path}: {entry.problem}" for entry in entries if entry.problem]
    if problems:
        raise DatasetError(f"{problems[0]}" + (f", and {len(problems) - 1} more" if len(problems) > 1 else ""))
    pictures = [entry.path for entry in entries if entry.path.suffix.lower() in IMAGE_SUFFIXES]
    files: list[_File] = []
    others: list[Path] = []
    for path in pictures:
        relative = path.relative_to(root)
        role = role_of(relative)
        if role is None:
            others.append(path)
        else:
            named = (*RAINY_FOLDERS, *CLEAN_FOLDERS)
            group = Path(*(part for part in relative.parts[:-1] if part.lower() not in named)).as_posix()
            files.append(_File(path, relative, role, group))
    for role, folders in (("rainy", RAINY_FOLDERS), ("clean", CLEAN_FOLDERS)):
        if not any(file.role == role for file in files):
            raise DatasetError(
                f"{root}: of {len(pictures)} pictures ({', '.join(known_suffixes())}) none is known to be {role} by a "
                f"folder named {' or '.join(folders)}, or by its name; name the folders so, or give a manifest"
            )
    return files, others


def role_of(relative: Path) -> Role | None:
    """Whether a picture is rainy or clean: by the nearest folder that is named so, else by a mark in its name."""
    for part in reversed(relative.parts[:-1]):
        if part.lower() in RAINY_FOLDERS:
            return "rainy"
        if part.lower() in CLEAN_FOLDERS:
            return "clean"
    if _CLEAN_MARK.search(relative.stem):
        return "clean"
    return "rainy" if _RAINY_MARK.search(relative.stem) else None


def _match(files: Sequence[_File]) -> tuple[dict[_File, _File], list[_File]]:
    """The clean partner of each rainy picture, and the pictures without one, by the rule that leaves the fewest."""
    answers = []
    for rule in _RULES:
        clean: dict[str, list[_File]] = defaultdict(list)
        for file in files:
            if file.role == "clean":
                clean[rule(file)].append(file)
        rainy = [file for file in files if file.role == "rainy"]
        found = {file: clean[rule(file)][0] for file in rainy if len(clean[rule(file)]) == 1}
        used = set(found.values())
        answers.append((found, [file for file in files if file not in found and file not in used]))
    return min(answers, key=lambda answer: len(answer[1]))


def _type_of(relative: Path) -> str | None:
    named = [part.lower() for part in relative.parts[:-1] if part.lower() in set(RainType)]
    return named[-1] if named else None


def _enumerate(names: Sequence[str], most: int = 20) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
