"""What retrieval holds in memory of the references: digests, paths and vectors, sorted by rain type and digest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from derain.distill.knowledge.record import IN_USE, Record
from derain.errors import DistillError
from derain.types import RainType

DIGEST_BYTES = 32

Floats = npt.NDArray[np.float32]
Luminances = npt.NDArray[np.uint8]
"""(N, 256, 256)."""
RawDigests = npt.NDArray[np.bytes_]
"""(N,) of 32 bytes each, dtype `S32`; they compare as their hexadecimal digits do."""


@dataclass(frozen=True)
class ReferenceVectors:
    """The references, sorted by rain type and within a type by digest, so that a type is a contiguous slice."""

    digests: RawDigests
    """(N,)."""
    paths: Sequence[str]
    """(N,)."""
    slices: Mapping[RainType, slice]
    """Rows of each type."""
    text: Floats
    """(N, D_text)."""
    visual: Floats
    """(N, D_visual)."""

    def __len__(self) -> int:
        return len(self.digests)

    @classmethod
    def joined(cls, parts: Iterable[tuple[Sequence[str], Sequence[str], Floats, Floats]]) -> "ReferenceVectors":
        """Of digests, paths, text and visual vectors for each rain type in order, each sorted by digest."""
        digests, paths, text, visual = zip(*parts, strict=True)
        bounds = np.cumsum([0, *map(len, digests)]).tolist()
        return cls(
            digests=np.concatenate([raw_digests(part) for part in digests]),
            paths=[path for part in paths for path in part],
            slices={kind: slice(bounds[i], bounds[i + 1]) for i, kind in enumerate(RainType)},
            text=np.concatenate(text),
            visual=np.concatenate(visual),
        )


class ReferenceSource(Protocol):
    """Where a retriever finds references: a `KnowledgeBase`, or `RecordsInMemory`."""

    def vectors(self) -> ReferenceVectors:
        """Everything that levels 1 and 2 need."""
        ...

    def luminances(self, digests: Sequence[str]) -> Luminances:
        """(N, 256, 256) uint8 of the references asked for, in that order."""
        ...


class RecordsInMemory:
    """References that were never stored: for tests and small programs.

    Args:
        records: those rejected or filtered are left out; of two with one digest the later counts.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = {record.digest: record for record in records if record.status in IN_USE}

    def vectors(self) -> ReferenceVectors:
        every = sorted(self._records.values(), key=lambda record: record.digest)
        nothing = [
            np.empty((0, len(getattr(every[0], name)) if every else 0), np.float32) for name in ("text", "visual")
        ]
        parts = []
        for kind in RainType:
            some = [record for record in every if record.type == kind.value]
            text, visual = ([record.text for record in some], [record.visual for record in some])
            vectors = (np.stack(text), np.stack(visual)) if some else tuple(nothing)
            parts.append(([record.digest for record in some], [record.path for record in some], *vectors))
        return ReferenceVectors.joined(parts)

    def luminances(self, digests: Sequence[str]) -> Luminances:
        return np.stack([self._records[digest].luminance for digest in digests])


def raw_digests(digests: Sequence[str]) -> RawDigests:
    """Hexadecimal digests as bytes, (N,) of dtype `S32`.

    Raises:
        DistillError: one is not 64 hexadecimal digits.
    """
    try:
        raw = [bytes.fromhex(digest) for digest in digests]
    except ValueError as error:
        raise DistillError(f"wanted digests of 64 hexadecimal digits, and one is not ({error})") from error
    wrong = [digest for digest, value in zip(digests, raw, strict=True) if len(value) != DIGEST_BYTES]
    if wrong:
        raise DistillError(f"wanted digests of 64 hexadecimal digits, got {wrong[0]!r}; use the sha256 of the file")
    return np.frombuffer(b"".join(raw), dtype=f"S{DIGEST_BYTES}")


def hexadecimal(digest: bytes) -> str:
    """A digest of a `RawDigests` array in 64 digits. NumPy hands out such bytes without their trailing zeros."""
    return digest.ljust(DIGEST_BYTES, b"\0").hex()
