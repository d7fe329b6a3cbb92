"""A folder of pictures in pairs, read as `Pair` rows: rainy/ beside clean/ (or target/), matched by name."""

from collections.abc import Sequence
from pathlib import Path

from derain.data.pairs import Pair
from derain.errors import DatasetError
from derain.imaging.io import IMAGE_SUFFIXES
from derain.types import RainType

RAINY_FOLDERS = ("rainy", "rain", "input")
CLEAN_FOLDERS = ("clean", "target", "gt", "norain")


def read_paired_folder(root: Path) -> list[Pair]:
    """The pairs below `root`, in the order of their names.

    Partners have the same path below their folders, but for the suffix. A first subfolder that is called like a rain
    type (rainy/drs/...) gives the type.

    Raises:
        DatasetError: a folder is missing, pictures have no partner (they are named), or two share one name.
    """
    rainy = _by_name(_one_of(root, RAINY_FOLDERS))
    clean = _by_name(_one_of(root, CLEAN_FOLDERS))
    orphans = [str(path) for name, path in [*rainy.items(), *clean.items()] if (name in rainy) != (name in clean)]
    if orphans:
        raise DatasetError(
            f"{root}: {len(orphans)} of {len(rainy) + len(clean)} pictures have no partner of the same name: "
            f"{_enumerate(orphans)}; add their partners or take them out"
        )
    if not rainy:
        raise DatasetError(f"{root}: no picture in its folders; wanted {', '.join(sorted(IMAGE_SUFFIXES))}")
    return [
        Pair(
            id=name,
            rainy=path,
            clean=clean[name],
            type=_type_of(name),
            source=root.resolve().name,
            split="test",
            scene=name,
        )
        for name, path in rainy.items()
    ]


def _one_of(root: Path, names: Sequence[str]) -> Path:
    present = [root / name for name in names if (root / name).is_dir()]
    if len(present) != 1:
        found = ", ".join(path.name for path in present) or "none"
        raise DatasetError(
            f"{root}: wanted one folder called {' or '.join(names)}, found {found}; "
            "give a folder with rainy/ and clean/ in it, or a manifest"
        )
    return present[0]


def _by_name(folder: Path) -> dict[str, Path]:
    """Pictures below `folder` by their path without suffix."""
    pictures: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in pictures:
            raise DatasetError(f"{pictures[name]} and {path} differ only in their suffix; rename one of them")
        pictures[name] = path
    return pictures


def _type_of(name: str) -> str | None:
    first, slash, _ = name.partition("/")
    return first if slash and first in set(RainType) else None


def _enumerate(names: Sequence[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
