"""Which candidates are judged at all: free functions on whole columns."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from derain.data.near_duplicates import find_near, hamming

Booleans = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Digests = npt.NDArray[np.bytes_]
"""(N,) of 32 bytes."""

NONE = -1
"""In place of a row number."""


def first_of_equals(digests: Digests, ranks: Numbers, takes_part: Booleans) -> Numbers:
    """(N,) for each row that takes part and is not the first with its digest the number of that first row, else NONE.

    Args:
        ranks: (N,) which of equals comes first: the least.
    """
    first = np.full(len(digests), NONE, np.int64)
    rows = np.flatnonzero(takes_part)
    if not rows.size:
        return first
    rows = rows[np.lexsort((ranks[rows], digests[rows]))]
    begins = np.concatenate([[True], digests[rows[1:]] != digests[rows[:-1]]])
    leader = rows[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
    first[rows[~begins]] = leader[~begins]
    return first


def registered_as(
    digests: Digests, hashes: Hashes, registered: Digests, registered_hashes: Hashes, near_bits: int
) -> Numbers:
    """(N,) for each picture the first registered one that it shows, NONE where it shows none.

    The same file, or one whose perceptual hash differs in at most `near_bits` bits.
    """
    found = np.full(len(digests), len(registered), np.int64)
    if not len(registered):
        return np.full(len(digests), NONE, np.int64)
    # Flat pictures may be near to all registered ones, so each hash is looked for once.
    values, first_row = np.unique(registered_hashes, return_index=True)
    query, near = find_near(hashes, values, near_bits)
    np.minimum.at(found, query, first_row[near])
    names, first = np.unique(registered, return_index=True)
    place = np.minimum(np.searchsorted(names, digests), len(names) - 1)
    is_same = names[place] == digests
    found[is_same] = np.minimum(found[is_same], first[place[is_same]])
    found[found == len(registered)] = NONE
    return found


def frames_to_judge(hashes: Sequence[int], most: int, near_bits: int) -> list[int]:
    """Which frames of a scene are judged: numbers in rising order, `most` of them where there are more.

    Frames that differ from the last different one in at most `near_bits` bits are near-identical: they are taken only
    where different ones do not suffice. Within either kind the choice is spread evenly.

    Args:
        hashes: perceptual hashes of the frames, in the order in which they were taken.
    """
    if len(hashes) <= most:
        return list(range(len(hashes)))
    different: list[int] = []
    alike: list[int] = []
    for number, value in enumerate(hashes):
        is_alike = bool(different) and hamming(value, hashes[different[-1]]) <= near_bits
        (alike if is_alike else different).append(number)
    chosen = [different[place] for place in spread(len(different), most)]
    chosen += [alike[place] for place in spread(len(alike), most - len(chosen))]
    return sorted(chosen)


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly: the middles of equal parts."""
    wanted = min(count, most)
    return [(2 * place + 1) * count // (2 * wanted) for place in range(wanted)]


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts `frame9` before `frame10`."""
    return tuple((int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", name))
