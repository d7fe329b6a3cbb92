"""The real photographs of a knowledge base, as a run sees them: which they are, how many, and some drawn blindly."""

import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from derain.distill.knowledge.references import REFERENCE_STANDINGS, hexadecimal
from derain.distill.knowledge.store import KnowledgeBase


class Photograph(NamedTuple):
    """One of them."""

    digest: str
    path: str


@dataclass(frozen=True)
class References:
    """All that may be shown to judges."""

    photographs: Sequence[Photograph]
    """Sorted by digest."""
    counts: Mapping[tuple[str, str], int]
    """How many by type and source."""
    version: str
    """A digest that changes when a photograph comes, goes or changes its type."""


def references_of(base: KnowledgeBase) -> References:
    """What is in a base now."""
    vectors = base.vectors()
    digests = [hexadecimal(digest) for digest in vectors.digests.tolist()]
    whole = hashlib.sha256()
    for rain_type, rows in vectors.slices.items():
        for digest in digests[rows]:
            whole.update(f"{rain_type.value} {digest}\n".encode())
    counts: dict[tuple[str, str], int] = {}
    for (standing, type_name, source), count in sorted(base.tally().items()):
        if standing in REFERENCE_STANDINGS:
            counts[type_name, source] = counts.get((type_name, source), 0) + count
    return References(
        sorted(Photograph(digest, vectors.paths[row]) for row, digest in enumerate(digests)),
        counts,
        whole.hexdigest()[:16],
    )


def draw(photographs: Sequence[Photograph], count: int, digest: str, seed: int) -> list[Photograph]:
    """At most `count` different photographs by lot, the same for the same candidate's digest and seed.

    The candidate itself is not drawn. `photographs` are sorted by digest, each is there once.
    """
    place = bisect_left(photographs, (digest, ""))
    is_among = place < len(photographs) and photographs[place].digest == digest
    drawn: list[Photograph] = []
    turn = 0
    while len(drawn) < min(count, len(photographs) - is_among):
        lot = hashlib.sha256(f"{seed} {turn} {digest}".encode()).digest()
        photo = photographs[int.from_bytes(lot, "big") % len(photographs)]
        if photo.digest != digest and photo not in drawn:
            drawn.append(photo)
        turn += 1
    return drawn
