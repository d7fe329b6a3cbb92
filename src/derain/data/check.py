"""What can be wrong with the pictures of pairs, and the check of all of them before a run starts."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from derain.data.cache import cache_folder
from derain.data.endings import ends_early
from derain.data.pairs import Pair
from derain.data.table import PairRows
from derain.errors import DatasetError, ImageError
from derain.files import write_text
from derain.imaging.io import read_picture
from derain.imaging.pixels import PixelArray
from derain.imaging.reading import find_damage
from derain.imaging.sizes import Size, header_size
from derain.imaging.source import check_regular_file

Depth = Literal["header", "damage", "pixels"]
"""How a picture is looked at: its header and end; all of it for damage; or decoded, and its pixels returned."""

NAMED = 10
"""Faults that the error at the start of a run names; the others are counted."""

SAMPLED = 10_000
"""Rows whose pictures are read whole at the start of a run, and rows whose files are looked for when their check was
passed before: all, or so many where there are more."""

REVISION = 3
"""Raised when a check looks for more: what passed an earlier one is checked again."""

THREADS = min(32, 4 * (os.cpu_count() or 1))
"""Headers looked at at once: the time goes into waiting for the disk."""


class FaultKind(StrEnum):
    """What can be wrong with a row or its pictures."""

    BAD_ROW = "bad row"
    NO_ROWS = "no rows"
    DUPLICATE_ID = "duplicate id"
    DUPLICATE_PHOTO = "duplicate photograph"
    NO_TYPE = "no type"
    NO_CLEAN = "no clean partner"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    BROKEN = "broken"
    """Its header can be read, its pixels cannot."""
    TOO_SMALL = "too small"
    SIZES_DIFFER = "sizes differ"
    UNKNOWN_TYPE = "unknown type"
    """Written otherwise than the type of rain that it seems to mean."""
    RAINY_IS_CLEAN = "rainy is clean"
    """Partners are one picture: there is nothing to remove."""
    SPLIT_PICTURE = "picture in several splits"
    """By content, whatever its name: the run would be judged by what it has learnt."""
    DUPLICATE_PAIR = "duplicate pair"
    """Only a warning: the same pictures, by content, in several rows of a split."""
    NEAR_DUPLICATE = "near-duplicates in several splits"
    """Only a warning: pictures that look alike."""
    SWAPPED = "swapped"
    """Only a warning: most rainy pictures lack what rain adds to the clean ones."""
    SPLIT_SCENE = "scene in several splits"
    """Only a warning: pictures of one place are learnt from and judged by."""
    RARE_TYPE = "rare type"
    """Only a warning: a type of few rows whose name is a slip away from that of many."""

    @property
    def is_warning(self) -> bool:
        """Whether one can train all the same."""
        return self in _WARNINGS


_WARNINGS = frozenset(
    {
        FaultKind.SPLIT_SCENE,
        FaultKind.RARE_TYPE,
        FaultKind.DUPLICATE_PAIR,
        FaultKind.NEAR_DUPLICATE,
        FaultKind.SWAPPED,
    }
)


@dataclass(frozen=True)
class PictureFault:
    """What is wrong with one picture, or with a pair of them."""

    kind: FaultKind
    file: Path
    reason: str
    """In words; names the file."""


Progress = Callable[[int, int], None]
"""Is called with how many of how many things are done."""


def measure(path: Path) -> Size:
    """Width and height as the picture is read, with its orientation applied; from its header, where that suffices.

    Raises:
        ImageError: it is missing, or its header shows that it cannot be read.
    """
    size = header_size(path)
    if size is None:
        seen = read_picture(path)
        size = seen.width, seen.height
    return size


class PictureCheck(NamedTuple):
    """What a look at one picture found."""

    size: Size | None
    """None if it is not known."""
    fault: PictureFault | None
    pixels: PixelArray | None = None
    """(H, W, 3), where all of them had to be read and could be."""


class PairCheck(NamedTuple):
    """What a look at a pair found."""

    faults: list[PictureFault]
    rainy: PictureCheck
    clean: PictureCheck | None


def check_picture(path: Path, minimum_side: int, depth: Depth) -> PictureCheck:
    """Look at a picture's header and end, or at all of it.

    Args:
        minimum_side: pixels that both sides must have.
        depth: how it is looked at; where header and end leave a doubt, all of it is looked at anyway.
    """
    try:
        if not path.exists():
            return PictureCheck(None, _missing(path))
        check_regular_file(path)
        size = measure(path)
    except (ImageError, OSError, ValueError) as error:
        return PictureCheck(None, _fault(FaultKind.UNREADABLE, path, f"cannot be opened ({_brief(error, path)})"))
    if min(size) < minimum_side:
        return PictureCheck(size, _fault(FaultKind.TOO_SMALL, path, f"is {size[0]}x{size[1]}"))
    try:
        if depth == "pixels":
            return PictureCheck(size, None, read_picture(path).pixels)
        if depth == "damage" or ends_early(path):
            damage = find_damage(path)
            if damage is not None:
                return PictureCheck(size, _fault(FaultKind.BROKEN, path, f"is broken ({damage})"))
    except (ImageError, OSError, ValueError) as error:
        return PictureCheck(size, _fault(FaultKind.BROKEN, path, f"is broken ({_brief(error, path)})"))
    return PictureCheck(size, None)


def _fault(kind: FaultKind, path: Path, what: str) -> PictureFault:
    return PictureFault(kind, path, f"{path} {what}")


def check_pair(pair: Pair, minimum_side: int, depth: Depth = "header") -> PairCheck:
    """Look at the pictures of a pair; see `check_picture`."""
    rainy = check_picture(pair.rainy, minimum_side, depth)
    clean = None if pair.clean is None else check_picture(pair.clean, minimum_side, depth)
    faults = [seen.fault for seen in (rainy, clean) if seen is not None and seen.fault is not None]
    if clean is not None and rainy.size is not None and clean.size is not None and rainy.size != clean.size:
        faults.append(PictureFault(FaultKind.SIZES_DIFFER, pair.rainy, sizes_differ(pair, rainy.size, clean.size)))
    return PairCheck(faults, rainy, clean)


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
    """Look at all pictures, so that a bad one is found at the start and not hours later.

    Headers and ends are looked at; `SAMPLED` pictures, spread evenly, are searched for
    damage: all where there are no more.

    Raises:
        DatasetError: pictures that are missing, unreadable, damaged or below `minimum_side`; the first are named.
    """

    def look(numbered: tuple[int, Path]) -> PictureFault | None:
        number, path = numbered
        return check_picture(path, minimum_side, _depth(number, len(paths))).fault

    found = in_threads(look, enumerate(paths), len(paths), progress)
    _refuse([fault for fault in found if fault is not None], len(paths), minimum_side, None)


def require_pairs(
    pairs: Sequence[Pair], minimum_side: int, progress: Progress | None = None, manifest: Path | None = None
) -> None:
    """Look at all pictures of pairs, as `require_pictures` does.

    Raises:
        DatasetError: pictures that are missing, unreadable, damaged or below `minimum_side`, or partners of other
            sizes.
    """
    total = len(pairs)

    def look(numbered: tuple[int, Pair]) -> list[PictureFault]:
        number, pair = numbered
        return check_pair(pair, minimum_side, _depth(number, total)).faults

    found = in_threads(look, enumerate(pairs), total, progress)
    _refuse([fault for faults in found for fault in faults], total, minimum_side, manifest)


def _depth(number: int, total: int) -> Depth:
    """`damage` for every n-th of `total`, so that `SAMPLED` or fewer are read whole."""
    return "damage" if SAMPLED > 0 and number % -(-total // SAMPLED) == 0 else "header"


def require_sound(rows: PairRows, minimum_side: int, progress: Progress | None = None) -> None:
    """`require_pairs` for rows of a manifest; a check that was passed is remembered and not done again.

    It is done again when the manifest, the split, the types or the size change, but not when the pictures do: then it
    is only seen whether the files are still there, all of them or, of millions, `SAMPLED` spread evenly.

    Raises:
        DatasetError: as above.
    """
    passed = cache_folder() / f"{rows.table.identity}.{rows.split}-{minimum_side}.checked"
    wanted = "\n".join([f"check {REVISION}", *rows.names]) + "\n"
    try:
        is_passed = passed.read_text(encoding="utf-8") == wanted
    except (OSError, UnicodeDecodeError):
        is_passed = False
    if is_passed:
        _require_present(rows, minimum_side, passed)
        return
    require_pairs(rows, minimum_side, progress, rows.table.manifest)
    with contextlib.suppress(OSError):  # it will be checked again, that is all
        passed.parent.mkdir(parents=True, exist_ok=True)
        write_text(passed, wanted)


def _require_present(rows: PairRows, minimum_side: int, passed: Path) -> None:
    """Refuse files that went since the check was passed, and forget the check."""
    some = rows.evenly(SAMPLED)
    found = in_threads(_missing_files, some, len(some), None)
    faults = [fault for faults in found for fault in faults]
    if faults:
        with contextlib.suppress(OSError):
            passed.unlink()
    _refuse(faults, len(some), minimum_side, rows.table.manifest)


def _missing_files(pair: Pair) -> list[PictureFault]:
    files = [pair.rainy] if pair.clean is None else [pair.rainy, pair.clean]
    return [_missing(file) for file in files if not file.is_file()]


def _missing(file: Path) -> PictureFault:
    return PictureFault(FaultKind.MISSING, file, f"{file} is not there")


def _refuse(faults: Sequence[PictureFault], total: int, minimum_side: int, manifest: Path | None) -> None:
    if not faults:
        return
    wanted = f"wanted pictures of at least {minimum_side} pixels on both sides, and partners of one size"
    start = "" if manifest is None else f"{manifest}: "
    remedy = "repair them, remove their rows from the list, or take a smaller crop"
    if manifest is not None:
        remedy += f"; `derain data check {manifest} --crop {minimum_side}` lists all of them"
    if len(faults) == 1:
        raise DatasetError(f"{start}{wanted}, but {faults[0].reason}; {remedy}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(fault.kind for fault in faults).most_common())
    lines = [f"  {fault.reason}" for fault in faults[:NAMED]]
    lines += [f"  and {len(faults) - NAMED} more"] if len(faults) > NAMED else []
    raise DatasetError("\n".join([f"{start}{wanted}, but of {total} rows looked at {kinds}:", *lines, remedy]))
