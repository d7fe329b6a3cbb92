"""Near-duplicates: a 64-bit hash of what a picture looks like, the search for hashes that are alike, and their groups.

The hash is that of Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010), section 3.2:
signs of the 64 lowest frequencies of a 32 x 32 thumbnail against their median.
"""

from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
from PIL import Image

from derain.imaging.pixels import PixelArray

Hashes = npt.NDArray[np.uint64]
"""(N,) perceptual hashes."""
Rows = npt.NDArray[np.int64]
"""(N,) row numbers."""

NEAR_BITS = 6
"""Hashes that differ in at most so many of 64 bits show the same picture, scaled, recompressed or brightened."""

COMPARED_IN_BLOCKS = 100_000_000
"""So many comparisons take NumPy a tenth of a second; more of them are left to faiss where it is installed."""

_THUMBNAIL = 32
_BLOCK = 1 << 20


def perceptual_hash(pixels: PixelArray) -> int:
    """64 bits that change little when a picture is scaled, recompressed or brightened.

    Bit 8 v + u (the first is the most significant) says whether the coefficient of frequency (v, u) of the DCT-II of
    the thumbnail exceeds the median of all but the mean. One flat colour gives 2^63: its mean alone exceeds the median.

    Args:
        pixels: (H, W, 3) uint8 or uint16.
    """
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    grey = Image.fromarray(pixels).convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    low = dct_basis(_THUMBNAIL)[:8]
    # Rounded, so that what is zero but for the order of additions is zero; flat pictures hash alike everywhere.
    coefficients = np.round(low @ np.asarray(grey, np.float64) @ low.T, 6).ravel()
    bits = coefficients > np.median(coefficients[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def dct_basis(size: int) -> npt.NDArray[np.float64]:
    """(size, size) rows cos(pi (2 x + 1) u / (2 size)) of the DCT-II, unscaled, u the row."""
    u, x = np.arange(size)[:, None], np.arange(size)[None]
    return np.asarray(np.cos(np.pi * (2 * x + 1) * u / (2 * size)))


def hamming(a: int, b: int) -> int:
    """How many of 64 bits two hashes differ in."""
    return (a ^ b).bit_count()


def find_near(queries: Hashes, hashes: Hashes, radius: int) -> tuple[Rows, Rows]:
    """Every (query, hash) that differ in at most `radius` bits, as row numbers ordered by query, then by hash.

    Exact. Few hashes are compared one with all; of many, faiss looks only at those that agree in a part of their bits.
    """
    if len(queries) * len(hashes) > COMPARED_IN_BLOCKS and find_spec("faiss") is not None:
        return find_near_by_faiss(queries, hashes, radius)
    return find_near_in_blocks(queries, hashes, radius)


def find_near_in_blocks(queries: Hashes, hashes: Hashes, radius: int) -> tuple[Rows, Rows]:
    """`find_near` by comparing all with all, some million pairs at a time."""
    found = [np.empty((2, 0), np.int64)]
    block = max(1, _BLOCK // max(len(hashes), 1))
    for start in range(0, len(queries), block):
        is_near = np.bitwise_count(queries[start : start + block, None] ^ hashes[None]) <= radius
        query, row = np.nonzero(is_near)
        found.append(np.stack([query + start, row]))
    query, row = np.concatenate(found, axis=1)
    return query, row


def find_near_by_faiss(queries: Hashes, hashes: Hashes, radius: int) -> tuple[Rows, Rows]:
    """`find_near` by multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012).

    Of two hashes within d bits and cut into m parts, some part differs in at most floor(d / m) bits, and those are
    looked up. From 12 bits on that visits more than a plain scan.
    """
    import faiss

    parts = 4
    by_parts = faiss.IndexBinaryMultiHash(64, parts, 64 // parts)
    by_parts.nflip = radius // parts
    index: faiss.IndexBinary = by_parts if radius < 3 * parts else faiss.IndexBinaryFlat(64)
    index.add(_as_bytes(hashes))
    limits, _, row = index.range_search(_as_bytes(queries), radius + 1)  # it finds what is below, not at, the radius
    ends = np.asarray(limits, np.int64)
    query = np.repeat(np.arange(len(queries)), ends[1:] - ends[:-1])
    order = np.lexsort((row, query))
    return query[order], row[order]


def _as_bytes(hashes: Hashes) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, 8)


def near_groups(hashes: Hashes, radius: int = NEAR_BITS) -> Rows:
    """(N,) of each hash the first row of its group: what is within `radius` bits, directly or by way of others."""
    values, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    groups = connected(len(values), *find_near(values, values, radius))
    leader = np.full(len(values), len(hashes), np.int64)
    np.minimum.at(leader, groups, first)
    return np.asarray(leader[groups][place])


def connected(count: int, first: Rows, second: Rows) -> Rows:
    """(count,) of each row the smallest row that it is connected with, where pairs (first, second) are; union-find."""
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.array([root(row) for row in range(count)], np.int64)


class SeenHashes:
    """Hashes that grow one by one, each with a name, and the search for the nearest among them."""

    def __init__(self, radius: int) -> None:
        self.radius = radius
        self._names: list[str] = []
        self._hashes = np.empty(1024, np.uint64)

    def __len__(self) -> int:
        return len(self._names)

    def add(self, value: int, name: str) -> None:
        """Remember a hash."""
        if len(self) == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
        self._hashes[len(self)] = value
        self._names.append(name)

    def nearest(self, value: int) -> tuple[str, int] | None:
        """Name and distance of the nearest within the radius; of several the one whose name sorts first."""
        distances = np.bitwise_count(self._hashes[: len(self)] ^ np.uint64(value))
        rows = np.flatnonzero(distances <= self.radius)
        if not rows.size:
            return None
        distance, name = min((int(distances[row]), self._names[row]) for row in rows.tolist())
        return name, distance
