"""The stages that describe a candidate and find what it is compared with: type, caption, embed, retrieve.

A stage fills in cells of the rows that are still open and leaves the others alone. Cells that an earlier session
filled in stay, and nobody is asked for them. What goes wrong with a row is written into that row, as a reason; the rows
beside it are as they would be without it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from derain.backends.view import View
from derain.distill.answers.breaker import CircuitBreaker, Unanswered
from derain.distill.answers.cached import (
    Answer,
    CachedCaptioner,
    CachedExpander,
    CachedKeywords,
    CachedTextEncoder,
    CachedVisualEncoder,
)
from derain.distill.describe.description import description_of, longer_text
from derain.distill.knowledge.retrieval import Query, Retriever, references_for
from derain.distill.knowledge.structure import Luminance, luminance
from derain.distill.measure.rain_type import classify
from derain.distill.pipeline.pictures import Pictures
from derain.distill.pipeline.row import Row
from derain.distill.pipeline.schema import NO_REFERENCES
from derain.distill.settings import Variant
from derain.errors import ImageError, ModelError

A = TypeVar("A")

PICTURES_AT_ONCE = 16
"""That the visual encoder is handed."""


class Stage(Protocol):
    """One step of the way."""

    @property
    def name(self) -> str:
        """Under which its seconds are noted."""
        ...

    def work(self, rows: Sequence[Row]) -> None:
        """Fill in cells of the rows, all of which are open."""
        ...


class TypeStage:
    """Classifies candidates whose manifest does not say what rain they show."""

    name = "type"

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def work(self, rows: Sequence[Row]) -> None:
        for row, view in read_pictures(self.name, [row for row in rows if not row.type], self._pictures):
            began = time.perf_counter()
            row.type, row.type_origin = classify(view).type, "classifier"
            row.spend(self.name, time.perf_counter() - began)


class CaptionStage:
    """Puts pictures into words, and writes these out where there is an expander."""

    name = "caption"

    def __init__(self, captioner: CachedCaptioner, expander: CachedExpander | None, pictures: Pictures) -> None:
        self._captioner, self._expander = captioner, expander
        breaker = CircuitBreaker("captioner")
        self._model = PictureModel(self.name, "captioner", breaker, pictures, captioner.rows_at_once)
        self._expand_breaker = CircuitBreaker("expander")

    def work(self, rows: Sequence[Row]) -> None:
        for row, text in self._captions([row for row in rows if row.caption is None]):
            row.caption = text
        if self._expander is None:
            return
        captioned = [row for row in rows if row.is_open and row.caption is not None and row.expansion is None]
        for some in slices(captioned, self._expander.rows_at_once):
            answers = self._expand_breaker.ask([row.caption or "" for row in some], self._expander.ask)
            for row, longer in answered(self.name, "expander", some, answers):
                row.expansion = longer

    def _captions(self, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        from_cache = self._captioner.lookup([row.digest or "" for row in rows])
        return cached_or_asked(self._model, rows, from_cache, self._captioner.ask)


class EmbedStage:
    """Turns words and pictures into vectors.

    Args:
        keywords, text_encoder: None in the variant without texts.
    """

    name = "embed"

    def __init__(
        self,
        keywords: CachedKeywords | None,
        text_encoder: CachedTextEncoder | None,
        visual_encoder: CachedVisualEncoder,
        pictures: Pictures,
    ) -> None:
        self._keywords, self._text_encoder = keywords, text_encoder
        self._visual_encoder = visual_encoder
        self._keyword_breaker, self._text_breaker = CircuitBreaker("keywords"), CircuitBreaker("text_encoder")
        breaker = CircuitBreaker("visual_encoder")
        self._visual_door = PictureModel(self.name, "visual_encoder", breaker, pictures, PICTURES_AT_ONCE)

    def work(self, rows: Sequence[Row]) -> None:
        rows = [row for row in rows if not row.has_references]  # vectors serve to find these
        if self._keywords is not None and self._text_encoder is not None:
            self._embed_texts(rows, self._keywords, self._text_encoder)
        rows = [row for row in rows if row.is_open]
        from_cache = self._visual_encoder.lookup([row.digest or "" for row in rows])
        for row, vector in cached_or_asked(self._visual_door, rows, from_cache, self._visual_encoder.ask):
            row.visual_vector = vector.tolist()
            row.visual = vector.astype(np.float16).tolist()

    def _embed_texts(self, rows: Sequence[Row], keywords: CachedKeywords, text_encoder: CachedTextEncoder) -> None:
        new = [row for row in rows if row.description is None]
        texts = [longer_text(row.caption, row.expansion) for row in new]
        for row, words in answered(self.name, "keywords", new, self._keyword_breaker.ask(texts, keywords.ask)):
            row.keywords = list(words)
            row.description = description_of(words, longer_text(row.caption, row.expansion))
        described = [row for row in rows if row.is_open]
        descriptions = [row.description or "" for row in described]
        answers = self._text_breaker.ask(descriptions, text_encoder.ask)
        for row, vector in answered(self.name, "text_encoder", described, answers):
            row.text_vector = vector.tolist()


class RetrieveStage:
    """Finds the real photographs that a candidate is compared with (UniRain, Eq. 1-3), or draws them blindly.

    Args:
        variant: `full`; `no-generation`, which begins with visual features; or `no-retrieval`, which draws.
        seed: of the drawing.
    """

    name = "retrieve"

    def __init__(self, retriever: Retriever, variant: Variant, seed: int, pictures: Pictures) -> None:
        self._retriever, self._variant, self._seed, self._pictures = retriever, variant, seed, pictures

    def work(self, rows: Sequence[Row]) -> None:
        for row in rows:
            # Found by an earlier session, in the same base; photographs may have been moved since.
            for cell in row.references or []:
                cell["path"] = self._retriever.path_of(cell["digest"])
        queries = self._queries(self._comparable([row for row in rows if not row.has_references]))
        began = time.perf_counter()
        asked = [query for _, query in queries]
        found = references_for(self._variant, self._retriever, asked, self._seed) if asked else []
        each = (time.perf_counter() - began) / max(1, len(queries))
        for (row, _), matches in zip(queries, found, strict=True):
            row.spend(self.name, each)
            row.references = [
                {
                    "digest": match.digest,
                    "path": match.path,
                    "text_distance": match.text_distance,
                    "cosine": match.cosine,
                    "ssim": match.ssim,
                }
                for match in matches
            ]
            if not matches:  # the only photograph of the kind is the candidate itself
                _drop_without_references(row)

    def _comparable(self, rows: Sequence[Row]) -> list[Row]:
        """Those of types that the base has photographs to compare with; no picture is read to tell."""
        for row in rows:
            if not self._retriever.has_references_of(row.type or ""):
                _drop_without_references(row)
        return [row for row in rows if row.is_open]

    def _queries(self, rows: Sequence[Row]) -> list[tuple[Row, Query]]:
        """What is drawn blindly need not be looked at."""
        if self._variant == "no-retrieval":
            return [(row, _query(row, np.empty((0, 0), np.uint8))) for row in rows]
        seen = read_pictures(self.name, rows, self._pictures)
        queries = []
        for row, view in seen:
            began = time.perf_counter()
            queries.append((row, _query(row, luminance(view))))
            row.spend(self.name, time.perf_counter() - began)
        return queries


def read_pictures(stage: str, rows: Sequence[Row], pictures: Pictures) -> list[tuple[Row, View]]:
    """The rows with their rainy pictures; rows whose picture is gone are left pending, and out."""
    seen: list[tuple[Row, View]] = []
    for row in rows:
        began = time.perf_counter()
        try:
            seen.append((row, pictures.read(row.rainy, row.digest or "")))
        except ImageError as error:
            row.leave_pending(f"picture_gone: {error}")
        row.spend(stage, time.perf_counter() - began)
    return seen


@dataclass(frozen=True)
class PictureModel:
    """A model that a stage asks about pictures."""

    stage: str
    """Under which its seconds are noted."""
    name: str
    """Its role."""
    breaker: CircuitBreaker
    pictures: Pictures
    rows_at_once: int
    """Pictures that it is handed together."""


def cached_or_asked(
    model: PictureModel,
    rows: Sequence[Row],
    from_cache: Sequence[Answer[A] | None],
    ask: Callable[[Sequence[View]], Sequence[Answer[A] | ModelError]],
) -> list[tuple[Row, A]]:
    """Answers about pictures, of which only those are read that nobody has answered; as `answered` for other rows."""
    known = [(row, answer) for row, answer in zip(rows, from_cache, strict=True) if answer is not None]
    missing = [row for row, answer in zip(rows, from_cache, strict=True) if answer is None]
    found = answered(model.stage, model.name, [row for row, _ in known], [answer for _, answer in known])
    for some in slices(missing, model.rows_at_once):
        seen = read_pictures(model.stage, some, model.pictures)
        answers = model.breaker.ask([view for _, view in seen], ask)
        found += answered(model.stage, model.name, [row for row, _ in seen], answers)
    return found


def slices(rows: Sequence[Row], most: int) -> Iterator[Sequence[Row]]:
    """So many at a time: what they need is in memory, and lost by a kill, for no more of them at once."""
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


def answered(
    stage: str, role: str, rows: Sequence[Row], answers: Sequence[Answer[A] | Unanswered]
) -> list[tuple[Row, A]]:
    """The rows that have an answer. Those that cannot be asked about are dropped, the others are left pending."""
    found: list[tuple[Row, A]] = []
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, Unanswered):
            if answer.cannot_be_asked is not None:
                row.drop(answer.reason)
            else:
                row.leave_pending(answer.reason)
        else:
            row.count_answer(stage, role, answer)
            found.append((row, answer.value))
    return found


def _drop_without_references(row: Row) -> None:
    row.drop(
        f"{NO_REFERENCES}: the knowledge base has no photograph to compare {row.type} with; "
        "index some, then run with --fresh (answers stay)"
    )


def _query(row: Row, own_luminance: Luminance) -> Query:
    text, visual = np.array(row.text_vector or [], np.float32), np.array(row.visual_vector or [], np.float32)
    return Query(row.digest or "", row.type or "", text, visual, own_luminance)
