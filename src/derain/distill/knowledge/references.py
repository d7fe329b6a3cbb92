"""What retrieval holds in memory of the references: digests, paths and vectors, in an order that serves the search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from derain.distill.knowledge.record import Record, Standing
from derain.errors import DistillError
from derain.types import RainType

DIGEST_BYTES = 32
REFERENCE_STANDINGS = (Standing.CANDIDATE, Standing.ACCEPTED)
"""Photographs that are used as references."""
IN_USE = "standing IN ({})".format(", ".join(f"'{standing}'" for standing in REFERENCE_STANDINGS))
"""The same as a condition on a base's table."""

Floats = npt.NDArray[np.float32]
Luminances = npt.NDArray[np.uint8]
"""(N, 256, 256)."""
RawDigests = npt.NDArray[np.bytes_]
"""(N,) of 32 bytes each, dtype `S32`; they compare as their hexadecimal digits do."""


class Paths(Protocol):
    """Texts by row; a list of them is one."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> str: ...


@dataclass(frozen=True)
class ReferenceVectors:
    """The references, sorted by rain type and within a type by digest, so that a type is a contiguous slice."""

    digests: RawDigests
    """(N,)."""
    paths: Paths
    """(N,)."""
    slices: Mapping[RainType, slice]
    """Rows of each type."""
    text: Floats
    """(N, D_text)."""
    visual: Floats
    """(N, D_visual)."""

    def __len__(self) -> int:
        return len(self.digests)


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
        records: those rejected or refused are passed over; of two with one digest the later counts.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = {record.digest: record for record in records if record.standing in REFERENCE_STANDINGS}

    def vectors(self) -> ReferenceVectors:
        records = list(self._records.values())
        digests = raw_digests([record.digest for record in records])
        order, slices = type_order([record.type for record in records], digests)
        return ReferenceVectors(
            digests=digests[order],
            paths=[records[row].path for row in order],
            slices=slices,
            text=_stacked([records[row].text for row in order]),
            visual=_stacked([records[row].visual for row in order]),
        )

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


def type_order(types: Sequence[str], digests: RawDigests) -> tuple[npt.NDArray[np.int64], Mapping[RainType, slice]]:
    """Rows sorted by type and digest, and where each type then lies.

    Raises:
        DistillError: a type is none of the four.
    """
    codes = {rain_type.value: code for code, rain_type in enumerate(RainType)}
    unknown = sorted(set(types) - set(codes))
    if unknown:
        raise DistillError(f"wanted rain types {', '.join(codes)}, got {unknown[0]!r} among the references")
    type_codes = np.array([codes[name] for name in types], np.int64)
    order = np.lexsort((digests, type_codes))
    bounds = np.searchsorted(type_codes[order], np.arange(len(codes) + 1))
    slices = {rain_type: slice(int(bounds[code]), int(bounds[code + 1])) for code, rain_type in enumerate(RainType)}
    return order, slices


def _stacked(vectors: list[Floats]) -> Floats:
    return np.stack(vectors).astype(np.float32, copy=False) if vectors else np.empty((0, 0), np.float32)
