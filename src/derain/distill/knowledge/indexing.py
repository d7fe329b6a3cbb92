"""From folders of real rainy photographs to rows of a knowledge base.

Each photograph is measured against the prefilter; what passes is captioned, expanded, reduced to keywords and turned
into vectors. Finished batches are in the base at once: whoever stops an index, by any means, loses at most one batch,
and the next takes up what is missing. Refused photographs are kept with their reason and not measured again.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from derain.distill.describe.keybert import description_of
from derain.distill.doors import Captioner, Expander, KeywordExtractor, TextEncoder, VisualEncoder
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.prefilter import Prefilter, quality_reasons
from derain.distill.knowledge.record import Record, Standing
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.knowledge.structure import luminance
from derain.distill.knowledge.walk import Photograph, walk_photographs
from derain.distill.measure.perceptual_hash import perceptual_hash
from derain.distill.measure.quality import measure_quality
from derain.distill.measure.rain_type import classify
from derain.distill.view import View, file_digest, read_view
from derain.errors import ImageError
from derain.types import RainType

THUMBNAIL_SIDE = 256
_THUMBNAIL_QUALITY = 85
_LOW_FOR_TYPE = "low_for_type"


@dataclass(frozen=True)
class IndexModels:
    """Models that put photographs into words and vectors."""

    captioner: Captioner
    expander: Expander | None
    keywords: KeywordExtractor
    text_encoder: TextEncoder
    visual_encoder: VisualEncoder


@dataclass
class IndexReport:
    """What became of the photographs an index was pointed at."""

    found: int = 0
    """Files."""
    known: int = 0
    """Files whose content the base had already, or that repeat another of these byte for byte."""
    added: Counter[str] = field(default_factory=Counter)
    """New references by rain type."""
    refused: Counter[str] = field(default_factory=Counter)
    """New refusals by the name of the reason."""
    broken: dict[Path, str] = field(default_factory=dict)
    """Files that are no pictures, and why; an index tries them again."""


def index_photos(
    photos: Sequence[Path],
    base: KnowledgeBase,
    models: IndexModels,
    prefilter: Prefilter | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
    types: Mapping[Path, str] | None = None,
    batch_rows: int = 16,
) -> IndexReport:
    """Add photographs to a base: those it does not have, one batch after the other.

    Args:
        photos: files, or folders with all below them.
        base: opened or created for these models.
        models: who describes the photographs.
        prefilter: what a reference has to be; it learns what the base has. None takes everything that can be read.
        on_progress: told how many files are finished, of how many.
        types: rain types of photographs, by absolute path; the others are classified.
        batch_rows: photographs that models are handed at once, and that arrive in the base together.

    Raises:
        DistillError: a place is not there, or the base was made with other models.
        ModelError: a model gives no answer now; what is finished is in the base.
    """
    base.identities.check_same(base.uri, BaseIdentities.of(models))
    if prefilter is not None:
        prefilter.add(base.perceptual_hashes().items())
    photographs = walk_photographs(photos)
    report = IndexReport(found=len(photographs))
    types = types or {}
    refused: list[Record] = []
    passed: list[tuple[Photograph, View]] = []
    try:
        for done, (photograph, view) in enumerate(_new_views(photographs, base, report, batch_rows), 1):
            if view is not None:
                reason = None if prefilter is None else prefilter.refuse(view)
                if reason is None:
                    passed.append((photograph, view))
                else:
                    refused.append(_refused(photograph, view, reason))
            if len(passed) + len(refused) >= batch_rows or done == len(photographs):
                _store(base, [*_described(passed, models, types), *refused], report)
                passed, refused = [], []
                on_progress(done, len(photographs))
    finally:
        base.compact()
    if prefilter is not None:
        leave_out_low_quality(base, prefilter.settings.quality_percentile)
    return report


def leave_out_low_quality(base: KnowledgeBase, percentile: float) -> Counter[str]:
    """Refuse those of each rain type whose quality lies below the type's percentile; how many of each type are out.

    All that passed the other limits count, so that the same are out however often and in whatever steps a base was
    filled; one left out before comes back when worse ones arrive. What a person accepted or rejected stays as it is.
    """
    rows = [
        row
        for row in base.qualities()
        if row[2] is Standing.CANDIDATE or (row[2] is Standing.REFUSED and row[3].startswith(_LOW_FOR_TYPE))
    ]
    reasons = quality_reasons([row[4] for row in rows], [row[1] for row in rows], percentile)
    changes: dict[str, tuple[Standing, str]] = {}
    out: Counter[str] = Counter()
    for (digest, rain_type, _, before, _), reason in zip(rows, reasons, strict=True):
        out[rain_type] += reason is not None
        if (reason or "") != before:
            changes[digest] = (Standing.CANDIDATE, "") if reason is None else (Standing.REFUSED, reason)
    base.set_standings(changes)
    return +out


def thumbnail(view: View) -> bytes:
    """A JPEG of at most 256 x 256 pixels."""
    image = Image.fromarray(view.pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_THUMBNAIL_QUALITY)
    return stream.getvalue()


def _new_views(
    photographs: Sequence[Photograph], base: KnowledgeBase, report: IndexReport, rows_at_once: int
) -> Iterator[tuple[Photograph, View | None]]:
    """Every photograph in order, with its picture where it is whole and new to the base."""
    seen: set[str] = set()
    for first in range(0, len(photographs), rows_at_once):
        digests: dict[Photograph, str] = {}
        part = photographs[first : first + rows_at_once]
        for photograph in part:
            try:
                digests[photograph] = file_digest(photograph.path)
            except ImageError as error:
                report.broken[photograph.path] = str(error)
        seen |= base.known(digests.values())
        for photograph in part:
            view: View | None = None
            if digests.get(photograph) in seen:
                report.known += 1
            elif photograph in digests:
                try:
                    view = read_view(photograph.path)
                    seen.add(view.digest)
                except ImageError as error:
                    report.broken[photograph.path] = str(error)
            yield photograph, view


def _described(
    passed: Sequence[tuple[Photograph, View]], models: IndexModels, types: Mapping[Path, str]
) -> list[Record]:
    if not passed:
        return []
    views = [view for _, view in passed]
    captions = models.captioner.caption(views)
    expansions = [""] * len(views) if models.expander is None else models.expander.expand(captions)
    texts = [expansion or caption for caption, expansion in zip(captions, expansions, strict=True)]
    keywords = models.keywords.extract(texts)
    descriptions = [description_of(words, text) for words, text in zip(keywords, texts, strict=True)]
    text_vectors = models.text_encoder.encode_texts(descriptions)
    visual_vectors = models.visual_encoder.encode_views(views)
    records = []
    for row, (photograph, view) in enumerate(passed):
        rain_type = RainType(types.get(photograph.path) or classify(view).type)
        records.append(
            Record(
                digest=view.digest,
                path=str(photograph.path),
                source=photograph.source,
                width=view.width,
                height=view.height,
                type=rain_type.value,
                light="night" if rain_type.is_night else "day",
                standing=Standing.CANDIDATE,
                reason="",
                quality=measure_quality(view).score,
                perceptual_hash=perceptual_hash(view),
                caption=captions[row],
                expansion=expansions[row],
                keywords=keywords[row],
                description=descriptions[row],
                text=text_vectors[row],
                visual=visual_vectors[row],
                luminance=luminance(view),
                thumbnail=thumbnail(view),
            )
        )
    return records


def _refused(photograph: Photograph, view: View, reason: str) -> Record:
    return Record(
        digest=view.digest,
        path=str(photograph.path),
        source=photograph.source,
        width=view.width,
        height=view.height,
        type="",
        light="",
        standing=Standing.REFUSED,
        reason=reason,
        quality=0.0,
        perceptual_hash=0,
        caption="",
        expansion="",
        keywords=(),
        description="",
        text=np.empty(0, np.float32),
        visual=np.empty(0, np.float32),
        luminance=np.empty((0, 0), np.uint8),
        thumbnail=thumbnail(view),
    )


def _store(base: KnowledgeBase, records: Sequence[Record], report: IndexReport) -> None:
    base.add(records)
    for record in records:
        if record.standing is Standing.REFUSED:
            report.refused[record.reason.partition(":")[0]] += 1
        else:
            report.added[record.type] += 1
