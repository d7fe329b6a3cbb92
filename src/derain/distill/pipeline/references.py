"""The real photographs of a knowledge base, as a run sees them: how many, and which state of the base it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from derain.distill.knowledge.record import IN_USE
from derain.distill.knowledge.store import KnowledgeBase


@dataclass(frozen=True)
class References:
    """All that may be shown to judges."""

    counts: Mapping[tuple[str, str], int]
    """How many by type and source."""
    version: str
    """See `KnowledgeBase.version`."""


def references_of(base: KnowledgeBase) -> References:
    """What is in a base now."""
    counts: dict[tuple[str, str], int] = {}
    for (status, type_name, source), count in sorted(base.tally().items()):
        if status in IN_USE:
            counts[type_name, source] = counts.get((type_name, source), 0) + count
    return References(counts, base.version())
