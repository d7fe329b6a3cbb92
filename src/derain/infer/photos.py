"""Which photographs the inputs of a command name: files, folders with everything below them, and glob patterns."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from derain.errors import DatasetError
from derain.imaging.folders import Entry, entry_of, walk_files
from derain.imaging.formats import SNIFFED_BYTES, Format, format_of_content, format_of_name, known_suffixes
from derain.imaging.sizes import header_size
from derain.infer.record import RECORD_NAME


@dataclass(frozen=True)
class FoundPhotos:
    """What the inputs name."""

    photos: list[tuple[Path, Path]]
    """Each photograph, with its path relative to the input that named it."""
    left_out: list[Path]
    """Files of other formats in folders, and folders that hold results of earlier runs."""
    problems: list[Entry]
    """What cannot be read: folders without permission, dangling links, devices and pipes."""


@dataclass(frozen=True)
class _Match:
    """A path that an input names."""

    entry: Entry
    relative: Path
    """Its path relative to the input that names it."""
    is_photo: bool
    """Named by itself, or with a picture's suffix; false for a folder that is left out."""


def find_photos(inputs: Sequence[str | Path], outside: Path | None = None) -> FoundPhotos:
    """The photographs that the inputs name, in sorted order for each input.

    A file is taken whatever its ending; of folders, the files whose ending is a picture's, and those without an ending
    whose content is a picture's. Hidden files and files below `outside` are left out of folders. A photograph named
    twice is taken once. Beside other inputs, or as one of a pattern's matches, a folder at or below `outside` that
    holds results of earlier runs is no input.

    Raises:
        DatasetError: an input does not exist, or names no photograph that can be read.
    """
    photos: dict[Path, tuple[Path, Path]] = {}
    left_out: dict[Path, Path] = {}
    problems: dict[Path, Entry] = {}
    for given in inputs:
        matches = list(_expand(str(given), outside, len(inputs) == 1))
        usable = 0
        for match in matches:
            path = match.entry.path
            if not match.is_photo:
                left_out.setdefault(absolute(path), path)
            elif match.entry.problem:
                problems.setdefault(absolute(path), match.entry)
            else:
                photos.setdefault(absolute(path), (path, match.relative))
                usable += 1
        if not usable and not _is_left_out(given, outside, len(inputs) == 1):
            _check_not_empty(given, [match.entry for match in matches if match.entry.problem], len(inputs) == 1)
    if not photos and not problems:
        raise DatasetError(f"{', '.join(map(str, inputs))}: nothing there but results of earlier runs; add photographs")
    return FoundPhotos(list(photos.values()), list(left_out.values()), list(problems.values()))


def _check_not_empty(given: str | Path, problems: list[Entry], is_sole: bool) -> None:
    """Refuse an input without a usable photograph; beside other inputs, one with named problems is no mistake."""
    if problems and not is_sole:
        return
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise DatasetError(f"{problems[0].path}: {problems[0].problem}{more}")
    raise DatasetError(
        f"{given}: no photograph found there; wanted a file, a folder or a pattern with files ending in "
        f"{', '.join(known_suffixes())}"
    )


def content_format(path: Path) -> Format | None:
    """The format of a regular file by its first bytes; None for anything else, and for what cannot be opened."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return format_of_content(file.read(SNIFFED_BYTES))
    except OSError:
        return None


def pixel_count(path: Path) -> int:
    """The pixels of a photograph by its header alone; 0 where that cannot be read."""
    width, height = header_size(path) or (0, 0)
    return width * height


def expanded(given: str | Path) -> Path:
    """The path with ~ and ~user replaced by home folders; the name of a file may begin so too."""
    return Path(os.path.expanduser(given))  # noqa: PTH111 - Path's own raises where there is no such user


def absolute(path: Path) -> Path:
    """The absolute path, without following links: two links to one file are two photographs."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def is_within(path: Path, folder: Path) -> bool:
    """Whether `path` is `folder` or lies below it, by name."""
    return absolute(path).is_relative_to(absolute(folder))


def _expand(given: str, outside: Path | None, is_sole: bool) -> Iterator[_Match]:
    if not given:
        raise DatasetError("an empty path was given; wanted a file, a folder or a pattern")
    path = expanded(given)
    if _is_left_out(path, outside, is_sole):
        yield _Match(Entry(path), Path(path.name), is_photo=False)
    elif os.path.isdir(path):  # noqa: PTH112 - is_dir() raises where a folder may not be searched
        yield from _below(path, path, outside)
    elif glob.has_magic(given) and not os.path.lexists(path):
        yield from _matching(path, outside)
    elif os.path.lexists(path) or not _may_search(path.parent):
        yield _Match(entry_of(path), Path(path.name), is_photo=True)
    else:
        raise DatasetError(f"{given}: no such file or folder; check the path")


def _may_search(folder: Path) -> bool:
    """Whether a file in this folder that cannot be found is absent, and not merely unreadable."""
    return not os.path.lexists(folder) or os.access(folder, os.X_OK)


def _matching(pattern: Path, outside: Path | None) -> Iterator[_Match]:
    """What a glob pattern names; its matches that are folders stand for everything below them."""
    base = _fixed_part(pattern)
    wanted = pattern.parts[len(base.parts) :]
    kept_out = outside if outside is not None and _is_strictly_below(outside, base) else None
    if "**" in wanted:
        for match in _below(base, base, outside):
            # A folder that cannot be read may hold matches.
            if os.path.isdir(match.entry.path) or _matches(match.relative.parts, wanted):  # noqa: PTH112
                yield match
        return
    for folder in _folders_on_the_way(base, wanted):
        if not os.access(folder, os.R_OK | os.X_OK):
            yield from _below(folder, base, None)
    for name in sorted(glob.iglob(str(pattern))):  # noqa: PTH207 - Path.glob refuses absolute patterns
        path = Path(name)
        if not os.path.isdir(path):  # noqa: PTH112
            if kept_out is None or not is_within(path, kept_out):
                yield _match(entry_of(path), base)
        elif _is_left_out(path, outside, is_sole=False):
            yield _Match(Entry(path), path.relative_to(base), is_photo=False)
        else:
            yield from _below(path, base, outside)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a pattern part by part; `**` stands for any number of parts."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or (bool(parts) and _matches(parts[1:], pattern))
    return bool(parts) and fnmatch(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _folders_on_the_way(base: Path, wanted: Sequence[str]) -> Iterator[Path]:
    """The folders in which a pattern looks for its parts: the fixed one, and what its parts but the last match."""
    for count in range(len(wanted)):
        for name in glob.iglob(str(base.joinpath(*wanted[:count]))):  # noqa: PTH207
            if os.path.isdir(name):  # noqa: PTH112
                yield Path(name)


def _is_left_out(given: str | Path, outside: Path | None, is_sole: bool) -> bool:
    """Whether this is a folder of results of earlier runs among other inputs, as a shell's * hands it over.

    The only input is never left out: it is refused later, if its photographs would be overwritten.
    """
    folder = expanded(given)
    if is_sole or outside is None or not os.path.isdir(folder) or not is_within(folder, outside):  # noqa: PTH112
        return False
    places = {entry.path.parent for entry in walk_files(folder)}
    return not places or any(os.path.isfile(place / RECORD_NAME) for place in places)  # noqa: PTH113 - as isdir above


def _below(folder: Path, base: Path, outside: Path | None) -> Iterator[_Match]:
    """Everything below a folder, without results of earlier runs that lie within it or behind a link in it."""
    real_outside = None if outside is None else outside.resolve()
    within = outside if outside is not None and _is_strictly_below(outside, folder) else None

    def holds_results(path: Path) -> bool:
        if within is not None and is_within(path, within):
            return True
        return real_outside is not None and path.is_symlink() and path.resolve().is_relative_to(real_outside)

    for entry in walk_files(folder, skip=holds_results):
        yield _match(entry, base)


def _match(entry: Entry, base: Path) -> _Match:
    is_folder = os.path.isdir(entry.path)  # noqa: PTH112
    dangles = bool(entry.problem) and entry.path.is_symlink()
    return _Match(entry, entry.path.relative_to(base), is_folder or dangles or _looks_like_photo(entry.path))


def _looks_like_photo(path: Path) -> bool:
    """By the name's ending; without one, by content."""
    return (content_format(path) if not path.suffix else format_of_name(path)) is not None


def _is_strictly_below(path: Path, folder: Path) -> bool:
    return absolute(folder) in absolute(path).parents


def _fixed_part(pattern: Path) -> Path:
    """The folder that a pattern starts from: its parts before the first with a wildcard."""
    parts: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)
