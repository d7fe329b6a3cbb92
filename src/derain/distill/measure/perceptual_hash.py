"""Near-duplicates: a 64-bit hash of what a picture looks like, and exact search among millions of such hashes.

The hash is that of Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010), section 3.2:
signs of the 64 lowest frequencies of a 32 x 32 thumbnail against their median. The search is multi-index hashing
(Norouzi, Punjani and Fleet, CVPR 2012): of hashes that differ in at most d bits and are cut into m parts, some part
differs in at most floor(d / m) bits; looking up the parts finds every neighbour, and no pair is compared twice over.
"""

from itertools import combinations, pairwise
from math import comb

import numpy as np
import numpy.typing as npt
from PIL import Image

from derain.backends.view import View

Hashes = npt.NDArray[np.uint64]
"""(N,) perceptual hashes."""
Rows = npt.NDArray[np.int64]

BITS = 64
_THUMBNAIL = 32
_CANDIDATES_AT_ONCE = 4_000_000


def perceptual_hash(view: View) -> int:
    """64 bits that change little when a picture is scaled, recompressed or brightened.

    Bit 8 v + u (the first is the most significant) says whether the coefficient of frequency (v, u) of the DCT-II of
    the thumbnail exceeds the median of all but the mean. One flat colour gives 2^63: its mean alone exceeds the median.
    """
    grey = Image.fromarray(view.pixels).convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
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


def hamming_many(a: Hashes, b: Hashes) -> npt.NDArray[np.uint8]:
    """How many bits differ, for every pair that the shapes of `a` and `b` broadcast to."""
    x = np.bitwise_xor(a, b)
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.asarray((x * np.uint64(0x0101010101010101)) >> np.uint64(56), np.uint8)


class HashIndex:
    """Finds all of N hashes within `radius` bits; 8 bytes and 16 bytes a part for each hash."""

    def __init__(self, hashes: Hashes, radius: int) -> None:
        """Sort the parts. Raises ValueError for a radius outside 0 to 63."""
        if not 0 <= radius < BITS:
            raise ValueError(f"wanted a radius of 0 to {BITS - 1} bits, got {radius}")
        self.hashes = np.ascontiguousarray(hashes, np.uint64)
        self.radius = radius
        self._parts = [_Part(self.hashes, low, width) for low, width in cut_bits(parts_for(len(hashes), radius))]

    def within(self, queries: Hashes) -> tuple[Rows, Rows]:
        """Every (query, hash) within the radius as row numbers, ordered by query, then by row."""
        found = [np.empty(0, np.int64)]
        queries = np.ascontiguousarray(queries, np.uint64)
        start, rows = 0, 16
        while start < len(queries):
            some = queries[start : start + rows]
            most = 1
            for part in self._parts:
                query, row = part.lookup(some, self.radius // len(self._parts))
                near = hamming_many(some[query], self.hashes[row]) <= self.radius
                found.append((query[near] + start) * len(self.hashes) + row[near])
                most = max(most, len(row))
            start += rows
            rows = min(max(rows * _CANDIDATES_AT_ONCE // most, 1), 2 * rows, 65536)
        keys = np.unique(np.concatenate(found))
        return np.divmod(keys, max(len(self.hashes), 1))


class _Part:
    """A stretch of bits of all hashes, sorted by value."""

    def __init__(self, hashes: Hashes, low: int, width: int) -> None:
        self.low = np.uint64(low)
        self.mask = np.uint64((1 << width) - 1)
        self.width = width
        values = (hashes >> self.low) & self.mask
        self.order = np.argsort(values, kind="stable")
        self.sorted = values[self.order]

    def lookup(self, queries: Hashes, radius: int) -> tuple[Rows, Rows]:
        """(query, row) of all whose part differs in at most `radius` bits."""
        probes = (((queries >> self.low) & self.mask)[:, None] ^ _flips(self.width, radius)).ravel()
        first = np.searchsorted(self.sorted, probes, "left")
        counts = np.searchsorted(self.sorted, probes, "right") - first
        total = int(counts.sum())
        starts = np.repeat(first - (np.cumsum(counts) - counts), counts)
        query = np.repeat(np.repeat(np.arange(len(queries)), len(probes) // len(queries)), counts)
        return query, self.order[starts + np.arange(total)]


def near_pairs(hashes: Hashes, radius: int) -> tuple[Rows, Rows]:
    """All pairs (i, j), i < j, of hashes within `radius` bits, as two arrays ordered by i, then j."""
    first, second = HashIndex(hashes, radius).within(hashes)
    return first[first < second], second[first < second]


def parts_for(count: int, radius: int) -> int:
    """Into how many parts to cut: the number with the least work for a query on hashes that are spread evenly.

    A part of b bits costs a look-up for each of its neighbours within floor(radius / parts) bits (some 16 comparisons
    of two hashes), and each of these finds count / 2^b hashes.
    """

    def work(parts: int) -> float:
        reach = radius // parts
        total = 0.0
        for _, width in cut_bits(parts):
            probes = sum(comb(width, flipped) for flipped in range(reach + 1))
            total += probes * (16 + count / 2**width)
        return total

    return min(range(1, radius + 2), key=work)


def cut_bits(parts: int) -> list[tuple[int, int]]:
    """(lowest bit, width) of parts of 64 bits, as even as can be."""
    edges = [BITS * part // parts for part in range(parts + 1)]
    return [(low, high - low) for low, high in pairwise(edges)]


def _flips(width: int, radius: int) -> Hashes:
    """All masks of at most `radius` of `width` bits."""
    masks = [
        sum(1 << bit for bit in bits) for flipped in range(radius + 1) for bits in combinations(range(width), flipped)
    ]
    return np.array(masks, np.uint64)


class SeenHashes:
    """Hashes that grow one by one, each with a name, and the search for the nearest among them.

    New ones are compared one with all; whenever they are many, they join the sorted ones.
    """

    def __init__(self, radius: int) -> None:
        self.radius = radius
        self._names: list[str] = []
        self._hashes = np.empty(1024, np.uint64)
        self._index = HashIndex(np.empty(0, np.uint64), radius)

    def __len__(self) -> int:
        return len(self._names)

    def add(self, value: int, name: str) -> None:
        """Remember a hash."""
        if len(self) == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
        self._hashes[len(self)] = value
        self._names.append(name)
        indexed = len(self._index.hashes)
        if len(self) - indexed > max(4096, indexed // 4):
            self._index = HashIndex(self._hashes[: len(self)].copy(), self.radius)

    def nearest(self, value: int) -> tuple[str, int] | None:
        """Name and distance of the nearest within the radius; of several the one whose name sorts first."""
        query = np.array([value], np.uint64)
        indexed = len(self._index.hashes)
        _, old = self._index.within(query)
        fresh = np.arange(indexed, len(self))
        rows = np.concatenate([old, fresh])
        distances = hamming_many(self._hashes[rows], query)
        near = distances <= self.radius
        if not near.any():
            return None
        distance, name = min(
            (int(bits), self._names[row]) for bits, row in zip(distances[near], rows[near].tolist(), strict=True)
        )
        return name, distance
