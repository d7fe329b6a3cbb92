"""The stages that a candidate goes through: type, caption, embed, retrieve, judge, vote.

A stage fills in cells of the rows that are still open and leaves the others alone. What goes wrong with a row is
written into that row, as a reason; the rows beside it are as they would be without it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np

from derain.distill.describe.keybert import description_of
from derain.distill.doors import Case
from derain.distill.judges.vote import is_settled, join
from derain.distill.knowledge.retrieve import Query, Retriever
from derain.distill.knowledge.structure import Luminance, luminance
from derain.distill.knowledge.variants import references_for
from derain.distill.measure.rain_type import classify
from derain.distill.pipeline.asking import PatientAsker, Unanswered
from derain.distill.pipeline.cached import (
    CachedCaptioner,
    CachedExpander,
    CachedJudge,
    CachedKeywords,
    CachedTextEncoder,
    CachedVisualEncoder,
    Question,
)
from derain.distill.pipeline.memory import Answer
from derain.distill.pipeline.pictures import Pictures
from derain.distill.pipeline.row import Row
from derain.distill.pipeline.schema import Outcome
from derain.distill.settings import Variant
from derain.distill.verdict import Decision, Verdict
from derain.distill.view import View
from derain.errors import ImageError

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
        for row, view in _read(self.name, [row for row in rows if not row.type], self._pictures):
            began = time.perf_counter()
            row.type, row.type_origin = classify(view).type, "classifier"
            row.spend(self.name, time.perf_counter() - began)


class CaptionStage:
    """Puts pictures into words, and writes these out where there is an expander."""

    name = "caption"

    def __init__(self, captioner: CachedCaptioner, expander: CachedExpander | None, pictures: Pictures) -> None:
        self._captioner, self._expander, self._pictures = captioner, expander, pictures
        self._caption_asker, self._expand_asker = PatientAsker("captioner"), PatientAsker("expander")

    def work(self, rows: Sequence[Row]) -> None:
        for row, text in self._captions(rows):
            row.caption = text
        if self._expander is None:
            return
        captioned = [row for row in rows if row.is_open and row.caption is not None]
        for some in _slices(captioned, self._expander.rows_at_once):
            answers = self._expand_asker.ask([row.caption or "" for row in some], self._expander.ask)
            for row, longer in _answered(self.name, "expander", some, answers):
                row.expansion = longer

    def _captions(self, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        recalled = self._captioner.recall([row.digest or "" for row in rows])
        captioner = self._captioner
        return _recalled_or_asked(
            self.name, "captioner", rows, recalled, self._pictures, self._caption_asker, captioner.ask,
            captioner.rows_at_once,
        )  # fmt: skip


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
        self._visual_encoder, self._pictures = visual_encoder, pictures
        self._keyword_asker, self._text_asker = PatientAsker("keywords"), PatientAsker("text_encoder")
        self._visual_asker = PatientAsker("visual_encoder")

    def work(self, rows: Sequence[Row]) -> None:
        if self._keywords is not None and self._text_encoder is not None:
            self._embed_texts(rows, self._keywords, self._text_encoder)
        rows = [row for row in rows if row.is_open]
        recalled = self._visual_encoder.recall([row.digest or "" for row in rows])
        for row, vector in _recalled_or_asked(
            self.name, "visual_encoder", rows, recalled, self._pictures, self._visual_asker, self._visual_encoder.ask,
            PICTURES_AT_ONCE,
        ):  # fmt: skip
            row.visual_vector = vector.tolist()
            row.visual = vector.astype(np.float16).tolist()

    def _embed_texts(self, rows: Sequence[Row], keywords: CachedKeywords, text_encoder: CachedTextEncoder) -> None:
        texts = [row.expansion or row.caption or "" for row in rows]
        for row, words in _answered(self.name, "keywords", rows, self._keyword_asker.ask(texts, keywords.ask)):
            row.keywords = list(words)
            row.description = description_of(words, row.expansion or row.caption or "")
        described = [row for row in rows if row.is_open]
        descriptions = [row.description or "" for row in described]
        answers = self._text_asker.ask(descriptions, text_encoder.ask)
        for row, vector in _answered(self.name, "text_encoder", described, answers):
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
        queries = self._queries(rows)
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
            if not matches:
                row.leave_pending(
                    f"no_references: the knowledge base has no photograph to compare {row.type} with; "
                    "index some, then run with --fresh (answers stay)"
                )

    def _queries(self, rows: Sequence[Row]) -> list[tuple[Row, Query]]:
        """What is drawn blindly need not be looked at."""
        if self._variant == "no-retrieval":
            return [(row, _query(row, np.empty((0, 0), np.uint8))) for row in rows]
        seen = _read(self.name, rows, self._pictures)
        queries = []
        for row, view in seen:
            began = time.perf_counter()
            queries.append((row, _query(row, luminance(view))))
            row.spend(self.name, time.perf_counter() - began)
        return queries


class JudgeStage:
    """Has one judge vote.

    Args:
        judges: how many there are in all.
        cascade: leave out candidates that the earlier judges have settled.
    """

    name = "judge"

    def __init__(self, judge: CachedJudge, judges: int, cascade: bool, pictures: Pictures) -> None:
        self._judge, self._judges, self._cascade, self._pictures = judge, judges, cascade, pictures
        self._door = f"judge {judge.name}"
        self._asker = PatientAsker(self._door)

    def work(self, rows: Sequence[Row]) -> None:
        due = [row for row in rows if not (self._cascade and is_settled(_verdicts(row), self._judges))]
        recalled = self._judge.recall([_question(row) for row in due])
        missing = []
        for row, answer in zip(due, recalled, strict=True):
            if answer is None:
                missing.append(row)
            else:
                self._take(row, answer)
        for some in _slices(missing, self._judge.rows_at_once):
            cases = [(row, case) for row in some if (case := self._case(row)) is not None]
            answers = self._asker.ask([case for _, case in cases], self._judge.ask)
            for (row, _), given in zip(cases, answers, strict=True):
                self._take(row, given)

    def _take(self, row: Row, given: Answer[Verdict] | Unanswered) -> None:
        """Write an answer, or that there is none, into the row. What cannot be asked is no vote, and final."""
        if not isinstance(given, Unanswered):
            _note(row, self.name, self._door, given)
            _vote(row, given.value, given.seconds)
        elif given.cannot_be_asked is not None:
            reason = f"cannot_be_asked: {given.cannot_be_asked}"
            _vote(row, Verdict(self._judge.name, Decision.ABSTAIN, None, reason), 0.0)
        else:
            row.waiting = row.waiting or given.reason

    def _case(self, row: Row) -> Case | None:
        """The pictures of a question; None where one of them cannot be had, which the row then says."""
        began = time.perf_counter()
        candidate = _view(row, row.rainy, row.digest, "picture_gone", self._pictures)
        clean = _view(row, row.clean, row.clean_digest, "picture_gone", self._pictures) if row.clean else None
        references = [
            _view(row, cell["path"], cell["digest"], "reference_gone", self._pictures) for cell in row.references or []
        ]
        row.spend(self.name, time.perf_counter() - began)
        if candidate is None or (row.clean and clean is None) or None in references:
            return None
        return Case(candidate, clean, row.type or "", tuple(view for view in references if view is not None))


class VoteStage:
    """Joins the verdicts (UniRain, Eq. 5). A candidate waits for judges that were not to be had and might decide it."""

    name = "vote"

    def __init__(self, judges: int) -> None:
        self._judges = judges

    def work(self, rows: Sequence[Row]) -> None:
        for row in rows:
            verdicts = _verdicts(row)
            if row.waiting is not None and not is_settled(verdicts, self._judges):
                row.leave_pending(row.waiting)
                continue
            vote = join(verdicts, self._judges)
            row.outcome, row.reason = vote.outcome.value, vote.reason
            assert row.outcome in list(Outcome)


def _query(row: Row, own_luminance: Luminance) -> Query:
    text, visual = np.array(row.text_vector or [], np.float32), np.array(row.visual_vector or [], np.float32)
    return Query(row.digest or "", row.type or "", text, visual, own_luminance)


def _question(row: Row) -> Question:
    references = tuple(cell["digest"] for cell in row.references or [])
    return Question(row.digest or "", row.clean_digest if row.clean else None, row.type or "", references)


def _verdicts(row: Row) -> list[Verdict]:
    return [
        Verdict(cell["judge"], Decision(cell["decision"]), cell["score"], cell["reason"], cell["reply"])
        for cell in row.verdicts or []
    ]


def _vote(row: Row, verdict: Verdict, seconds: float) -> None:
    """Add a judge's verdict."""
    row.verdicts = [
        *(row.verdicts or []),
        {
            "judge": verdict.judge,
            "decision": verdict.decision.value,
            "score": verdict.score,
            "reason": verdict.reason,
            "reply": verdict.reply,
            "seconds": seconds,
        },
    ]


def _view(row: Row, path: str, digest: str | None, trouble: str, pictures: Pictures) -> View | None:
    """A picture of a case; where it cannot be had, the row waits for it."""
    try:
        return pictures.read(path, digest or "")
    except ImageError as error:
        row.waiting = row.waiting or f"{trouble}: {error}"
        return None


def _read(stage: str, rows: Sequence[Row], pictures: Pictures) -> list[tuple[Row, View]]:
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


def _recalled_or_asked(
    stage: str,
    door: str,
    rows: Sequence[Row],
    recalled: Sequence[Answer[A] | None],
    pictures: Pictures,
    asker: PatientAsker,
    ask: Callable[[Sequence[View]], list[Answer[A]]],
    rows_at_once: int,
) -> list[tuple[Row, A]]:
    """Answers about pictures, of which only those are read that nobody has answered; other rows are left pending."""
    known = [(row, answer) for row, answer in zip(rows, recalled, strict=True) if answer is not None]
    missing = [row for row, answer in zip(rows, recalled, strict=True) if answer is None]
    found = _answered(stage, door, [row for row, _ in known], [answer for _, answer in known])
    for some in _slices(missing, rows_at_once):
        seen = _read(stage, some, pictures)
        answers = asker.ask([view for _, view in seen], ask)
        found += _answered(stage, door, [row for row, _ in seen], answers)
    return found


def _slices(rows: Sequence[Row], most: int) -> Iterator[Sequence[Row]]:
    """So many at a time: what they need is in memory, and lost by a kill, for no more of them at once."""
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


def _answered(
    stage: str, door: str, rows: Sequence[Row], answers: Sequence[Answer[A] | Unanswered]
) -> list[tuple[Row, A]]:
    """The rows that have an answer; the others are left pending."""
    found: list[tuple[Row, A]] = []
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, Unanswered):
            row.leave_pending(answer.reason)
        else:
            _note(row, stage, door, answer)
            found.append((row, answer.value))
    return found


def _note(row: Row, stage: str, door: str, answer: Answer[A]) -> None:
    row.calls.append({"door": door, "recalled": answer.recalled, "seconds": answer.seconds})
    row.spend(stage, answer.seconds)
