"""The stages that describe a candidate and find what it is compared with: type, caption, embed, retrieve.

A stage fills in cells of the rows that are still open and leaves the others alone. Cells that an earlier session
filled in stay, and nobody is asked for them. What goes wrong with a row is written into that row, as a reason; the rows
beside it are as they would be without it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

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

Q = TypeVar("Q")
A = TypeVar("A")

AT_ONCE = 16
"""Pictures or texts of one call to a model that does not say how many it takes."""


class Stage(Protocol):
    """One step of the way."""

    @property
    def name(self) -> str:
        """Under which its seconds are noted."""
        ...

    def work(self, rows: Sequence[Row]) -> None:
        """Fill in cells of the rows, all of which are open."""
        ...


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


class ModelOfStage(Generic[Q, A]):
    """A model that a stage asks about rows, some at a time: so many answers at most are lost by a kill.

    Args:
        role: of the model, such as `captioner`.
        ask: puts several questions.
        at_once: how many.
    """

    def __init__(
        self, stage: str, role: str, ask: Callable[[Sequence[Q]], Sequence[Answer[A] | ModelError]], at_once: int
    ) -> None:
        self._stage, self._role, self._ask, self._at_once = stage, role, ask, at_once
        self._breaker = CircuitBreaker(role)

    def answers(
        self, rows: Sequence[Row], questions: Callable[[Sequence[Row]], Sequence[tuple[Row, Q]]]
    ) -> Iterator[tuple[Row, A]]:
        """The rows that have an answer. Those that cannot be asked about are dropped, the others are left pending.

        Args:
            questions: of some rows; rows that it leaves out are not asked about.
        """
        for start in range(0, len(rows), self._at_once):
            asked = questions(rows[start : start + self._at_once])
            given = self._breaker.ask([question for _, question in asked], self._ask)
            for (row, _), answer in zip(asked, given, strict=True):
                if isinstance(answer, Unanswered):
                    if answer.cannot_be_asked is not None:
                        row.drop(answer.reason)
                    else:
                        row.leave_pending(answer.reason)
                else:
                    row.count_answer(self._stage, self._role, answer)
                    yield row, answer.value

    def answers_on_texts(
        self: "ModelOfStage[str, A]", rows: Sequence[Row], text_of: Callable[[Row], str]
    ) -> Iterator[tuple[Row, A]]:
        """As `answers`, about texts of rows."""
        return self.answers(rows, lambda some: [(row, text_of(row)) for row in some])

    def answers_on_pictures(
        self: "ModelOfStage[View, A]",
        rows: Sequence[Row],
        lookup: Callable[[Sequence[str]], Sequence[Answer[A] | None]],
        pictures: Pictures,
    ) -> Iterator[tuple[Row, A]]:
        """As `answers`, about pictures, of which only those are read whose answer is not in the cache."""
        missing: list[Row] = []
        for row, answer in zip(rows, lookup([row.digest or "" for row in rows]), strict=True):
            if answer is None:
                missing.append(row)
            else:
                row.count_answer(self._stage, self._role, answer)
                yield row, answer.value
        yield from self.answers(missing, lambda some: read_pictures(self._stage, some, pictures))


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
        self._pictures, self._lookup = pictures, captioner.lookup
        self._captioner = ModelOfStage(self.name, "captioner", captioner.ask, captioner.batch_size)
        self._expander = None
        if expander is not None:
            self._expander = ModelOfStage(self.name, "expander", expander.ask, expander.batch_size)

    def work(self, rows: Sequence[Row]) -> None:
        new = [row for row in rows if row.caption is None]
        for row, text in self._captioner.answers_on_pictures(new, self._lookup, self._pictures):
            row.caption = text
        if self._expander is None:
            return
        captioned = [row for row in rows if row.is_open and row.caption is not None and row.expansion is None]
        for row, longer in self._expander.answers_on_texts(captioned, lambda each: each.caption or ""):
            row.expansion = longer


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
        self._keywords = self._text_encoder = None
        if keywords is not None and text_encoder is not None:
            self._keywords = ModelOfStage(self.name, "keywords", keywords.ask, AT_ONCE)
            self._text_encoder = ModelOfStage(self.name, "text_encoder", text_encoder.ask, AT_ONCE)
        self._visual_encoder = ModelOfStage(self.name, "visual_encoder", visual_encoder.ask, AT_ONCE)
        self._pictures, self._lookup = pictures, visual_encoder.lookup

    def work(self, rows: Sequence[Row]) -> None:
        rows = [row for row in rows if not row.has_references]  # vectors serve to find these
        if self._keywords is not None:
            new = [row for row in rows if row.description is None]
            for row, words in self._keywords.answers_on_texts(new, _longest_text):
                row.keywords = list(words)
                row.description = description_of(words, _longest_text(row))
        if self._text_encoder is not None:
            described = [row for row in rows if row.is_open]
            for row, vector in self._text_encoder.answers_on_texts(described, lambda each: each.description or ""):
                row.text_vector = vector.tolist()
        rows = [row for row in rows if row.is_open]
        for row, vector in self._visual_encoder.answers_on_pictures(rows, self._lookup, self._pictures):
            row.visual_vector = vector.tolist()
            row.visual = vector.astype(np.float16).tolist()


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
        """Those of types that the base has photographs to compare with; no picture is read for it."""
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


def _drop_without_references(row: Row) -> None:
    row.drop(
        f"{NO_REFERENCES}: the knowledge base has no photograph to compare {row.type} with; "
        "index some, then run with --fresh (answers stay)"
    )


def _longest_text(row: Row) -> str:
    return longer_text(row.caption, row.expansion)


def _query(row: Row, own_luminance: Luminance) -> Query:
    text, visual = np.array(row.text_vector or [], np.float32), np.array(row.visual_vector or [], np.float32)
    return Query(row.digest or "", row.type or "", text, visual, own_luminance)
