"""What can be wrong with the pictures of pairs, and the check of all of them before a run starts."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TypeVar

from PIL import Image

from derain.data.cache import cache_folder, write_whole
from derain.data.pairs import Pair
from derain.data.table import PairRows
from derain.errors import DatasetError, ImageError
from derain.imaging.io import read_picture

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
"""What `imaging` reads, by Pillow's names."""

NAMED = 10
"""Faults that the error at the start of a run names; the others are counted."""

THREADS = min(32, 4 * (os.cpu_count() or 1))
"""Headers looked at at once: the time goes into waiting for the disk."""


class FaultKind(StrEnum):
    """What can be wrong with a row or its pictures."""

    BAD_ROW = "bad row"
    DOUBLE_ID = "double id"
    NO_CLEAN = "no clean partner"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    BROKEN = "broken"
    """Its header can be read, its pixels cannot."""
    TOO_SMALL = "too small"
    SIZES_DIFFER = "sizes differ"
    SPLIT_SCENE = "scene in several splits"
    """Only a warning: pictures of one place are learnt from and judged by."""

    @property
    def is_warning(self) -> bool:
        """Whether one can train all the same."""
        return self is FaultKind.SPLIT_SCENE


@dataclass(frozen=True)
class PictureFault:
    """What is wrong with one picture, or with a pair of them."""

    kind: FaultKind
    file: Path
    reason: str
    """In words; names the file."""


Progress = Callable[[int, int], None]
"""Told how many of how many things are done."""

Size = tuple[int, int]
"""Width and height in pixels, as the picture is seen."""


def measure(path: Path) -> Size:
    """Width and height as the picture is read, with its orientation applied; from its header, where that suffices.

    Raises:
        ImageError: it is missing or cannot be read.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            if getattr(picture, "n_frames", 1) == 1 or picture.format == "MPO":
                return (height, width) if _orientation(picture) >= 5 else (width, height)
    except Exception:  # the reader below says in our words what is wrong, or can read what Pillow cannot
        pass
    seen = read_picture(path).pixels
    return seen.shape[1], seen.shape[0]


def _orientation(picture: Image.Image) -> int:
    """EXIF's, 1 to 8, as far as the header has it (Pillow's own way decodes a PNG to look for it at the end)."""
    if picture.format == "TIFF":
        return int(picture.getexif().get(_ORIENTATION, 1))
    exif = Image.Exif()
    exif.load(picture.info.get("exif", b""))
    return int(exif.get(_ORIENTATION, 1))


_ORIENTATION = 274


def picture_fault(path: Path, minimum_side: int, decode: bool) -> tuple[Size | None, PictureFault | None]:
    """The size of a picture if it can be told, and what is wrong with it.

    Args:
        minimum_side: pixels that both sides must have.
        decode: read all of its pixels, not only its header.
    """
    try:
        if not path.is_file():
            return None, PictureFault(FaultKind.MISSING, path, f"{path} is not there")
        size = measure(path)
    except (ImageError, OSError, ValueError) as error:
        return None, PictureFault(FaultKind.UNREADABLE, path, f"{path} cannot be opened ({_brief(error, path)})")
    if min(size) < minimum_side:
        return size, PictureFault(FaultKind.TOO_SMALL, path, f"{path} is {size[0]}x{size[1]}")
    if decode:
        try:
            read_picture(path)
        except (ImageError, OSError, ValueError) as error:
            return size, PictureFault(FaultKind.BROKEN, path, f"{path} is broken ({_brief(error, path)})")
    return size, None


def pair_faults(pair: Pair, minimum_side: int, decode: bool = False) -> list[PictureFault]:
    """What is wrong with the pictures of a pair; see `picture_fault`."""
    rainy_size, rainy_fault = picture_fault(pair.rainy, minimum_side, decode)
    faults = [rainy_fault] if rainy_fault is not None else []
    if pair.clean is None:
        return faults
    clean_size, clean_fault = picture_fault(pair.clean, minimum_side, decode)
    faults += [clean_fault] if clean_fault is not None else []
    if rainy_size is not None and clean_size is not None and rainy_size != clean_size:
        faults.append(PictureFault(FaultKind.SIZES_DIFFER, pair.rainy, sizes_differ(pair, rainy_size, clean_size)))
    return faults


def sizes_differ(pair: Pair, rainy: Size, clean: Size) -> str:
    """The words for pictures that do not lie pixel by pixel on each other."""
    return (
        f"pair {pair.id!r}: {pair.rainy} is {rainy[0]}x{rainy[1]}, its partner {pair.clean} is "
        f"{clean[0]}x{clean[1]} (width x height); pairs must agree pixel by pixel"
    )


def _brief(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_threads(
    work: Callable[[Item], Answer], items: Iterable[Item], total: int, progress: Progress | None, threads: int = THREADS
) -> Iterator[Answer]:
    """The answers in the order of the items, some hundred of which are in memory at a time."""
    waiting, done = iter(items), 0
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(waiting, 64 * threads)):
            parts = [some[start : start + 16] for start in range(0, len(some), 16)]
            answers = list(pool.map(lambda part: [work(item) for item in part], parts))
            done += len(some)
            if progress is not None:
                progress(done, total)
            for part in answers:
                yield from part


def require_pictures(paths: Sequence[Path], minimum_side: int, progress: Progress | None = None) -> None:
    """Look at the headers of all pictures, so that a bad one is found at the start and not hours later.

    Raises:
        DatasetError: pictures that are missing, unreadable or smaller than `minimum_side`; the first ones are named.
    """
    found = in_threads(lambda path: picture_fault(path, minimum_side, False)[1], paths, len(paths), progress)
    _refuse([fault for fault in found if fault is not None], len(paths), minimum_side, None)


def require_pairs(
    pairs: Sequence[Pair], minimum_side: int, progress: Progress | None = None, manifest: Path | None = None
) -> None:
    """Look at the headers of all pictures of pairs.

    Raises:
        DatasetError: pictures that are missing, unreadable or smaller than `minimum_side`, or partners of other sizes.
    """
    total = len(pairs)
    found = in_threads(lambda pair: pair_faults(pair, minimum_side), pairs, total, progress)
    _refuse([fault for faults in found for fault in faults], total, minimum_side, manifest)


def require_sound(rows: PairRows, minimum_side: int, progress: Progress | None = None) -> None:
    """`require_pairs` for rows of a manifest; a check that was passed is remembered and not done again.

    It is done again when the manifest, the split, the types or the size change, but not when the pictures do.

    Raises:
        DatasetError: as above.
    """
    passed = cache_folder() / f"{rows.table.identity}.{rows.split}-{minimum_side}.checked"
    wanted = "\n".join(rows.names) + "\n"
    try:
        if passed.read_text(encoding="utf-8") == wanted:
            return
    except (OSError, UnicodeDecodeError):
        pass
    require_pairs(rows, minimum_side, progress, rows.table.manifest)

    def note(part: Path) -> None:
        part.write_text(wanted, encoding="utf-8")

    try:
        write_whole(passed, note)
    except OSError:
        return  # it will be checked again, that is all


def _refuse(faults: Sequence[PictureFault], total: int, minimum_side: int, manifest: Path | None) -> None:
    if not faults:
        return
    wanted = f"wanted pictures of at least {minimum_side} pixels on both sides, and partners of one size"
    start = "" if manifest is None else f"{manifest}: "
    remedy = "mend them, remove their rows from the list, or take a smaller crop"
    if manifest is not None:
        remedy += f"; `derain data check {manifest} --crop {minimum_side}` lists all of them"
    if len(faults) == 1:
        raise DatasetError(f"{start}{wanted}, but {faults[0].reason}; {remedy}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(fault.kind for fault in faults).most_common())
    lines = [f"  {fault.reason}" for fault in faults[:NAMED]]
    lines += [f"  and {len(faults) - NAMED} more"] if len(faults) > NAMED else []
    raise DatasetError("\n".join([f"{start}{wanted}, but of {total} rows {kinds}:", *lines, remedy]))
