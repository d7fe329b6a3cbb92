"""Pictures of registered test sets, which no candidate may show."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from derain.data.digest import list_digest
from derain.data.table import open_table
from derain.distill.pipeline.facts import FileMeasure, Unreadable
from derain.errors import DatasetError
from derain.imaging.formats import IMAGE_SUFFIXES

FILES_AT_ONCE = 512

Hashes = npt.NDArray[np.uint64]
Digests = npt.NDArray[np.bytes_]
"""(N,) of 32 bytes."""


@dataclass(frozen=True)
class Registered:
    """All pictures of all sets, rainy and clean."""

    names: list[str]
    """Of the set that each belongs to."""
    digests: Digests
    hashes: Hashes


def registered_pictures(places: Sequence[str], files: FileMeasure) -> Registered:
    """The pictures of manifests and folders.

    Raises:
        DatasetError: a place is not there or shows no picture, or a picture cannot be read.
    """
    names: list[str] = []
    digests: list[bytes] = []
    hashes: list[int] = []
    for place in places:
        path, before = Path(place), len(names)
        pictures = _pictures(path)
        while some := list(islice(pictures, FILES_AT_ONCE)):
            for facts in files.facts(some):
                if isinstance(facts, Unreadable):
                    raise DatasetError(f"{place}: a registered picture cannot be read ({facts.reason}); mend the set")
                names.append(path.stem if path.is_file() else path.name)
                digests.append(bytes.fromhex(facts.digest))
                hashes.append(facts.perceptual_hash)
        if len(names) == before:
            raise DatasetError(f"{place}: wanted the pictures of a test set, got none; give its manifest or its folder")
    return Registered(names, np.array(digests, "S32"), np.array(hashes, np.uint64))


def state_of(place: str) -> str:
    """A digest that changes when a set does: of a manifest its content, of a folder the names, sizes and times.

    Raises:
        DatasetError: it is not there.
    """
    path = Path(place)
    if path.is_file():
        return list_digest(path)
    whole = hashlib.sha256()
    for file in _pictures(path):
        status = Path(file).stat()
        whole.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode())
    return f"sha256-listing:{whole.hexdigest()}"


def _pictures(path: Path) -> Iterator[str]:
    if path.is_dir():
        yield from (str(file) for file in sorted(path.resolve().rglob("*")) if file.suffix.lower() in IMAGE_SUFFIXES)
        return
    if not path.is_file():
        raise DatasetError(f"{path}: no such test set; give its manifest or its folder")
    for pair in open_table(path):
        yield str(pair.rainy)
        if pair.clean is not None:
            yield str(pair.clean)
