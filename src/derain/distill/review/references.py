"""The photographs of a knowledge base in one order, so that a person can walk through them while they change."""

import bisect
import threading
from collections import Counter
from dataclasses import dataclass, replace

from derain.distill.knowledge.record import Entry, Record, ReviewStatus
from derain.distill.knowledge.store import KnowledgeBase
from derain.errors import DistillError
from derain.types import RainType

UNKNOWN_TYPE = "unknown"
"""Stands in filters and counts for photographs that were filtered before anybody looked for a type."""

UNDER_REVIEW = (ReviewStatus.UNREVIEWED, ReviewStatus.ACCEPTED, ReviewStatus.REJECTED)
"""What a person may make of a photograph; one that the prefilter left out has no texts and no vectors to search by."""


@dataclass(frozen=True)
class Filter:
    """Which photographs are looked at; an empty field lets all through."""

    type: str = ""
    """A rain type, or `UNKNOWN_TYPE`."""
    status: str = ""

    def passes(self, entry: Entry) -> bool:
        return self.is_of_type(entry) and self.has_status(entry)

    def is_of_type(self, entry: Entry) -> bool:
        return self.type in ("", entry.type or UNKNOWN_TYPE)

    def has_status(self, entry: Entry) -> bool:
        return self.status in ("", entry.status)


@dataclass(frozen=True)
class Page:
    """Some photographs in a row."""

    entries: tuple[Entry, ...]
    before: int
    """How many pass the filter before the first of these."""
    total: int
    """How many pass it altogether."""


class Catalogue:
    """All photographs of a knowledge base by source and digest; threads may share it.

    A page starts after a photograph, not at a number: when those of a page leave the filter because they were judged,
    the next page still begins with the next photograph, and none is passed over.
    """

    def __init__(self, base: KnowledgeBase) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._place_of: dict[str, int] = {}
        self.reread()

    def reread(self) -> None:
        """Take in what others added or changed meanwhile."""
        with self._lock:
            self._entries = sorted(self._base.entries(), key=lambda entry: (entry.source, entry.digest))
            self._place_of = {entry.digest: place for place, entry in enumerate(self._entries)}

    def page(self, wanted: Filter, size: int, after: str = "", until: str = "") -> Page:
        """`size` photographs that pass: those after the digest `after`, or the last before `until`, or the first."""
        with self._lock:
            passing = [place for place, entry in enumerate(self._entries) if wanted.passes(entry)]
            if until:
                end = bisect.bisect_left(passing, self._place(until))
                start = max(0, end - size)
                end = max(end, min(size, len(passing)))  # a first page is a whole one
            else:
                start = bisect.bisect_right(passing, self._place(after)) if after else 0
                end = start + size
            return Page(tuple(self._entries[place] for place in passing[start:end]), start, len(passing))

    def counts(self, wanted: Filter = Filter()) -> dict[str, dict[str, int]]:
        """How many the other choices beside a filter would show: by type in its status, by status among its type."""
        with self._lock:
            types = dict.fromkeys(sorted({entry.type or UNKNOWN_TYPE for entry in self._entries}), 0)
            types |= Counter(entry.type or UNKNOWN_TYPE for entry in self._entries if wanted.has_status(entry))
            statuses = Counter(entry.status for entry in self._entries if wanted.is_of_type(entry))
        return {"types": types, "statuses": {status.value: statuses[status] for status in ReviewStatus}}

    def thumbnail(self, digest: str) -> bytes | None:
        """The small JPEG of a photograph; None where it is not listed or has none."""
        return (self._base.thumbnail(digest) or None) if digest in self._place_of else None

    def record(self, digest: str) -> Record | None:
        """Everything about a photograph; None where it is not listed.

        Raises:
            DistillError: somebody removed it.
        """
        return self._base.get(digest) if digest in self._place_of else None

    def set_status(self, digest: str, status: ReviewStatus, reason: str) -> Entry:
        """Store what a person made of a photograph; returns it as it was before.

        Raises:
            DistillError: there is no such photograph, or it or the status is not for a person to decide.
        """
        if status not in UNDER_REVIEW:
            raise DistillError(f"status {status.value}: wanted {', '.join(UNDER_REVIEW)}")
        with self._lock:
            place = self._place(digest)
            before = self._entries[place]
            if before.status not in UNDER_REVIEW:
                raise DistillError(
                    f"{digest[:12]}: the prefilter left this photograph out ({before.reason}); to use it, "
                    + _how_to_measure_anew(before)
                )
            self._base.set_statuses({digest: (status, reason)})
            self._entries[place] = replace(before, status=status, reason=reason)
            return before

    def set_type(self, digest: str, rain_type: RainType) -> Entry:
        """Store what rain a person sees in a photograph; returns it as it was before.

        Raises:
            DistillError: there is no such photograph, or it was filtered before it came to a type.
        """
        with self._lock:
            place = self._place(digest)
            before = self._entries[place]
            if not before.type:
                raise DistillError(
                    f"{digest[:12]}: the prefilter left this photograph out ({before.reason}) before it was given a "
                    "type; to use it, " + _how_to_measure_anew(before)
                )
            self._base.get(digest)  # a change to one that others removed would be passed over in silence
            self._base.set_types({digest: rain_type})
            light = "night" if rain_type.is_night else "day"
            self._entries[place] = replace(before, type=rain_type.value, light=light)
            return before

    def _place(self, digest: str) -> int:
        place = self._place_of.get(digest)
        if place is None:
            raise DistillError(f"{digest[:12]}: the knowledge base has no such photograph any more; reload the page")
        return place


def _how_to_measure_anew(entry: Entry) -> str:
    """What brings a filtered photograph before other limits; an index passes over those that the base knows."""
    name = entry.reason.partition(":")[0]
    return (
        f"remove it (derain distill base remove {entry.digest[:12]} --db DIR; for all like it, --status filtered "
        f"--reason {name} instead of the digest), then index it again with other limits"
    )
