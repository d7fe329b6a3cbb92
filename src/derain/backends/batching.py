"""Batches in which an item's answer does not depend on the items beside it.

A network's last digits follow the shape of its input: another number of rows or another padding may choose
another order of summation, and near a tie another word. So an item is always computed in the same shape, whatever
else is asked for: its length is rounded up to a step, only items of one rounded length share a batch, and a batch
always has the same number of rows, the last item being repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SameShape:
    """Items that are computed together."""

    length: int
    """What each is padded to."""
    items: tuple[int, ...]
    """Their places in the sequence that was asked about."""
    rows: tuple[int, ...]
    """The same, with the last repeated until the batch is full: the network's input."""


def same_shape_batches(lengths: Sequence[int], rows: int, step: int = 1) -> list[SameShape]:
    """Batches of exactly `rows` rows that cover every item once, short ones first.

    Args:
        lengths: of each item, at least 1 (tokens; or 1 for all where they are of one size).
        rows: of a batch, at least 1.
        step: lengths are rounded up to its multiples.
    """
    groups: dict[int, list[int]] = {}
    for item, length in enumerate(lengths):
        groups.setdefault(-(-length // step) * step, []).append(item)
    batches = []
    for length in sorted(groups):
        for start in range(0, len(groups[length]), rows):
            items = tuple(groups[length][start : start + rows])
            batches.append(SameShape(length, items, items + items[-1:] * (rows - len(items))))
    return batches
