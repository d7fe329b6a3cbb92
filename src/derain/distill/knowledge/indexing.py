"""From folders of real rainy photographs to rows of a knowledge base.

Each photograph is measured against the prefilter; what passes is captioned, expanded, reduced to keywords and turned
into vectors. Finished batches are in the base at once: an index that is stopped or killed loses at most one batch, and
the next one adds what is missing. Filtered photographs are kept with their reason and not measured again.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from derain.backends.view import View, file_digest, read_view
from derain.data.near_duplicates import perceptual_hash
from derain.distill.answers.breaker import CircuitBreaker, Unanswered
from derain.distill.describe.description import Describers, describe
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.photographs import Photograph, find_photographs
from derain.distill.knowledge.prefilter import Prefilter
from derain.distill.knowledge.record import Record, ReviewStatus
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.knowledge.structure import luminance
from derain.distill.knowledge.upkeep import (
    freed_near_duplicates,
    leave_out_low_quality,
    name_near_duplicates,
    perceptual_hashes,
    update_places_and_types,
)
from derain.distill.measure.quality import measure_quality
from derain.distill.measure.rain_type import classify
from derain.errors import ImageError
from derain.types import RainType

THUMBNAIL_SIDE = 256
_THUMBNAIL_QUALITY = 85


@dataclass
class IndexReport:
    """What became of the photographs an index was pointed at."""

    found: int = 0
    """Files."""
    known: int = 0
    """Files whose content the base had already, or that repeat another of these byte for byte."""
    added: Counter[str] = field(default_factory=Counter)
    """New references by rain type."""
    filtered: Counter[str] = field(default_factory=Counter)
    """New photographs that the prefilter left out, by the name of the reason."""
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Files that are no whole pictures, folders, links and devices that cannot be read, and why."""
    not_described: dict[Path, str] = field(default_factory=dict)
    """Photographs that a model could not describe, and why; an index tries them again."""
    moved: int = 0
    """Known photographs whose file moved; the base has the new path."""
    retyped: int = 0
    """Known photographs that a person gave another rain type."""


def index_photos(
    photos: Sequence[Path],
    base: KnowledgeBase,
    models: Describers,
    prefilter: Prefilter | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    types: Mapping[Path, str] | None = None,
    batch_rows: int = 16,
) -> IndexReport:
    """Add photographs to a base: those it does not have, batch by batch.

    Args:
        photos: files, or folders with all below them.
        base: opened or created for these models.
        models: who describes the photographs.
        prefilter: what a reference has to be; it learns what the base has. None takes everything that can be read.
        on_progress: receives how many files are finished, of how many.
        types: rain types of photographs, by absolute path; the others are classified.
        batch_rows: photographs that models are handed at once, and that arrive in the base together.

    Raises:
        DistillError: a place is not there, or the base was made with other models.
        ModelError: a model gives no answer to several photographs in a row; what is finished is in the base.
    """
    base.identities.check_same(base.uri, BaseIdentities.of(models))
    photographs, unreadable = find_photographs(photos)
    report = IndexReport(found=len(photographs) + len(unreadable), unreadable=unreadable)
    index = _Index(base, models, prefilter, types or {}, batch_rows, report)
    index.add(photographs, freed_near_duplicates(base), on_progress)
    if prefilter is not None:
        _apply_limits(base, prefilter)
        # The better of two copies may have come second, and the first have been left out for its quality.
        freed = freed_near_duplicates(base)
        again = [photograph for photograph, digest in index.digests.items() if digest in freed]
        if again:
            known = index.report.known
            index.add(again, freed)
            index.report.known = known  # each file is counted once
            _apply_limits(base, prefilter)
    index.count()
    return index.report


def _apply_limits(base: KnowledgeBase, prefilter: Prefilter) -> None:
    """The limits that look at all photographs of a base."""
    name_near_duplicates(base, prefilter.settings.near_bits)
    leave_out_low_quality(base, prefilter.settings.quality_percentile)


@dataclass
class _Index:
    """An index in progress."""

    base: KnowledgeBase
    models: Describers
    prefilter: Prefilter | None
    types: Mapping[Path, str]
    batch_rows: int
    report: IndexReport
    digests: dict[Photograph, str] = field(default_factory=dict)
    stored: dict[str, bool] = field(default_factory=dict)
    """Digests of photographs written to the base, and whether it had them before, filtered."""
    types_before: dict[str, str] = field(default_factory=dict)
    """Of photographs that are described again: a person may have corrected them."""
    breaker: CircuitBreaker = field(default_factory=lambda: CircuitBreaker("a describing model"))

    def add(
        self,
        photographs: Sequence[Photograph],
        freed: set[str],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Add what is new, and what is known and `freed`, batch by batch."""
        if self.prefilter is not None:
            self.prefilter.begin(perceptual_hashes(self.base))
        self.types_before |= {entry.digest: entry.type for entry in self.base.entries(freed) if entry.type}
        filtered: list[Record] = []
        passed: list[tuple[Photograph, View]] = []
        try:
            for done, (photograph, view) in enumerate(self._new_views(photographs, freed), 1):
                if view is not None:
                    reason = None if self.prefilter is None else self.prefilter.reason_against(view)
                    if reason is None:
                        passed.append((photograph, view))
                    else:
                        filtered.append(_filtered(photograph, view, reason))
                if len(passed) + len(filtered) >= self.batch_rows or done == len(photographs):
                    self._store([*self._describe(passed), *filtered], freed)
                    passed, filtered = [], []
                    if self.breaker.is_open and self.breaker.last_error is not None:
                        raise self.breaker.last_error
                    if on_progress is not None:
                        on_progress(done, len(photographs))
        finally:
            self.base.compact()

    def _new_views(
        self, photographs: Sequence[Photograph], freed: set[str]
    ) -> Iterator[tuple[Photograph, View | None]]:
        """Every photograph in order, with its picture where it is whole and new to the base."""
        seen: set[str] = set()
        for first in range(0, len(photographs), self.batch_rows):
            part = photographs[first : first + self.batch_rows]
            digests: dict[Photograph, str] = {}
            for photograph in part:
                try:
                    digests[photograph] = file_digest(photograph.path)
                except ImageError as error:
                    self.report.unreadable[photograph.path] = str(error)
            self.digests |= digests
            known = self.base.known(digests.values())
            moved, retyped = update_places_and_types(
                self.base, {each: digest for each, digest in digests.items() if digest in known}, self.types
            )
            self.report.moved += moved
            self.report.retyped += retyped
            seen |= known - freed
            for photograph in part:
                view: View | None = None
                if digests.get(photograph) in seen:
                    self.report.known += 1
                elif photograph in digests:
                    try:
                        view = read_view(photograph.path)
                        seen.add(view.digest)
                        self.report.known += digests[photograph] in known
                    except ImageError as error:
                        self.report.unreadable[photograph.path] = str(error)
                yield photograph, view

    def _describe(self, passed: Sequence[tuple[Photograph, View]]) -> list[Record]:
        """Records of those that can be described; the others are reported."""
        answers = self.breaker.ask(passed, self._records)
        for (photograph, _), answer in zip(passed, answers, strict=True):
            if isinstance(answer, Unanswered):
                self.report.not_described[photograph.path] = answer.reason
        return [answer for answer in answers if isinstance(answer, Record)]

    def _records(self, passed: Sequence[tuple[Photograph, View]]) -> list[Record]:
        """Records of photographs, whose types are those a person gave, those that they had, or the classifier's."""
        records = []
        descriptions = describe([view for _, view in passed], self.models)
        for (photograph, view), description in zip(passed, descriptions, strict=True):
            given = self.types.get(photograph.path) or self.types_before.get(view.digest)
            rain_type = RainType(given or classify(view).type)
            records.append(
                Record(
                    digest=view.digest,
                    path=str(photograph.path),
                    source=photograph.source,
                    width=view.width,
                    height=view.height,
                    status=ReviewStatus.UNREVIEWED,
                    type=rain_type.value,
                    light="night" if rain_type.is_night else "day",
                    quality=measure_quality(view).score,
                    perceptual_hash=perceptual_hash(view.pixels),
                    caption=description.caption,
                    expansion=description.expansion,
                    keywords=description.keywords,
                    description=description.text,
                    text=description.text_vector,
                    visual=description.visual_vector,
                    luminance=luminance(view),
                    thumbnail=thumbnail(view),
                )
            )
        return records

    def _store(self, records: Sequence[Record], freed: set[str]) -> None:
        self.base.add([record for record in records if record.digest not in freed])
        self.base.add([record for record in records if record.digest in freed], replace=True)
        for record in records:
            self.stored.setdefault(record.digest, record.digest in freed)

    def count(self) -> None:
        """Report what became of them, once the limits that look at all photographs have been applied."""
        for entry in self.base.entries(self.stored):
            if entry.status is not ReviewStatus.FILTERED:
                self.report.added[entry.type] += 1
                self.report.known -= self.stored[entry.digest]  # was known, and comes into use only now
            elif not self.stored[entry.digest]:
                self.report.filtered[entry.reason.partition(":")[0]] += 1


def thumbnail(view: View) -> bytes:
    """A JPEG of at most 256 x 256 pixels."""
    image = Image.fromarray(view.pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_THUMBNAIL_QUALITY)
    return stream.getvalue()


def _filtered(photograph: Photograph, view: View, reason: str) -> Record:
    status, path = ReviewStatus.FILTERED, str(photograph.path)
    return Record(
        view.digest, path, photograph.source, view.width, view.height, status, reason, thumbnail=thumbnail(view)
    )
