"""Files below a folder; what cannot be read there is named, never skipped silently."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A file below a folder, or something there that is no readable file."""

    path: Path
    problem: str = ""
    """Why it cannot be used: an unreadable folder, a dangling link, a device or pipe. Empty for a regular file."""


def walk_files(folder: Path, skip: Callable[[Path], bool] = lambda _: False) -> list[Entry]:
    """All files below `folder`, sorted by path, without hidden ones and without what `skip` is true for.

    Linked folders are followed, each folder once, so that a loop of links ends; a file that lies in a real folder of
    the tree keeps the path through it. Of a link to a file, the link is listed. No file is opened.
    """
    entries: list[Entry] = []
    seen: set[tuple[int, int]] = set()
    folders, links = [folder], list[Path]()
    while folders or links:
        place = folders.pop() if folders else links.pop(0)
        try:
            status = place.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                continue
            names = os.listdir(place)  # noqa: PTH208 - it raises here and now
        except OSError as error:
            entries.append(Entry(place, f"the folder cannot be read ({error.strerror}); check its permissions"))
            continue
        seen.add(identity)
        for path in sorted(place / name for name in names if not name.startswith(".")):
            if skip(path):
                continue
            if not os.path.isdir(path):  # noqa: PTH112 - is_dir() raises where a folder may not be searched
                entries.append(entry_of(path))
            elif path.is_symlink():
                links.append(path)
            else:
                folders.append(path)
    return sorted(entries, key=lambda entry: entry.path)


def entry_of(path: Path) -> Entry:
    """The entry of one path that is no folder: only a regular file (or a link to one) is without a problem."""
    try:
        if path.is_file():
            return Entry(path)
        path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            return Entry(path, f"a link to {path.readlink()}, which is not there; repair or remove the link")
        return Entry(path, "no such file; check the name")
    except OSError as error:
        return Entry(path, f"cannot be opened ({error.strerror}); check the permissions")
    return Entry(path, "a device, pipe or socket, not a regular file; copy its content into a file")
