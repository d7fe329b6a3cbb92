"""The real photographs of a knowledge base, as a run sees them: how many, and which state of the base it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from derain.distill.knowledge.references import REFERENCE_STANDINGS
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
    for (standing, type_name, source), count in sorted(base.tally().items()):
        if standing in REFERENCE_STANDINGS:
            counts[type_name, source] = counts.get((type_name, source), 0) + count
    return References(counts, base.version())
