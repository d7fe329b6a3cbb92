"""The cache in front of each door: only what nobody has answered yet is asked, each question once.

Abstentions of a judge are answers and are filed. That a model cannot answer (`ModelError`) is none, and is not.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np

from derain.distill.arrivals import Arriving
from derain.distill.doors import (
    Captioner,
    Case,
    Expander,
    Identity,
    Judge,
    KeywordExtractor,
    TextEncoder,
    Vectors,
    VisualEncoder,
)
from derain.distill.judges.bias import rebiased, unbiased
from derain.distill.pipeline.cache import AnswerCache
from derain.distill.pipeline.memory import (
    Answer,
    KeywordsCodec,
    Memory,
    TextCodec,
    Together,
    Vector,
    VectorCodec,
    VerdictCodec,
    answers_only,
)
from derain.distill.verdict import Verdict
from derain.distill.view import View
from derain.errors import ModelError


class _Door(Protocol):
    @property
    def identity(self) -> Identity: ...


D = TypeVar("D", bound=_Door)
Q = TypeVar("Q")
A = TypeVar("A")


class _Cached(ABC, Generic[D, Q, A]):
    """A door that is asked each question once."""

    def __init__(self, door: D, memory: Memory[A], asked: D | None = None) -> None:
        """`asked` is who answers, where that is not the door itself."""
        self._door, self.memory = door, memory
        self._asked = asked or door

    @property
    def identity(self) -> Identity:
        return self._door.identity

    def ask(self, questions: Sequence[Q]) -> list[Answer[A] | ModelError]:
        """An answer to each question or why it has none, in order; raises as `Memory.ask_each`."""
        contents = [self._content(question) for question in questions]
        return self.memory.ask_each(contents, lambda missing: self._together(questions, missing))

    def _values(self, questions: Sequence[Q]) -> list[A]:
        return [answer.value for answer in answers_only(self.ask(questions))]

    def _together(self, questions: Sequence[Q], missing: list[int]) -> Together[A]:
        """The door's own answers to some of the questions, as they arrive where it tells them so."""
        if isinstance(self._asked, Arriving):
            for arrival in self._asked.answers([questions[place] for place in missing]):
                yield [arrival]
        else:
            yield from self.memory.all_at_once(missing, lambda some: self._call([questions[place] for place in some]))

    @abstractmethod
    def _content(self, question: Q) -> list[str]:
        """What the answer is filed under."""

    @abstractmethod
    def _call(self, questions: list[Q]) -> Sequence[A]:
        """The door's own answers, all at once."""


class _OfTexts(_Cached[D, str, A]):
    """Asked about texts."""

    def _content(self, question: str) -> list[str]:
        return [question]


class _OfViews(_Cached[D, View, A]):
    """Asked about pictures, which need not be read where the answer is filed."""

    def _content(self, question: View) -> list[str]:
        return [question.digest]

    def recall(self, digests: Sequence[str]) -> list[Answer[A] | None]:
        """What is filed about the pictures of these digests, in order; None for what is not."""
        return self.memory.recall([[digest] for digest in digests])


class CachedCaptioner(_OfViews[Captioner, str]):
    """A captioner that is shown each picture once."""

    def __init__(self, door: Captioner, cache: AnswerCache) -> None:
        super().__init__(door, Memory(cache, "caption", door.identity, TextCodec()))

    @property
    def rows_at_once(self) -> int:
        return self._door.rows_at_once

    def _call(self, questions: list[View]) -> Sequence[str]:
        return self._door.caption(questions)

    def caption(self, views: Sequence[View]) -> list[str]:
        return self._values(views)


class CachedExpander(_OfTexts[Expander, str]):
    """An expander that is told each caption once."""

    def __init__(self, door: Expander, cache: AnswerCache) -> None:
        super().__init__(door, Memory(cache, "expansion", door.identity, TextCodec()))

    @property
    def rows_at_once(self) -> int:
        return self._door.rows_at_once

    def _call(self, questions: list[str]) -> Sequence[str]:
        return self._door.expand(questions)

    def expand(self, captions: Sequence[str]) -> list[str]:
        return self._values(captions)


class CachedKeywords(_OfTexts[KeywordExtractor, tuple[str, ...]]):
    """A keyword extractor that is given each text once."""

    def __init__(self, door: KeywordExtractor, cache: AnswerCache) -> None:
        super().__init__(door, Memory(cache, "keywords", door.identity, KeywordsCodec()))

    def _call(self, questions: list[str]) -> Sequence[tuple[str, ...]]:
        return self._door.extract(questions)

    def extract(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        return self._values(texts)


class CachedTextEncoder(_OfTexts[TextEncoder, Vector]):
    """A text encoder that is given each text once."""

    def __init__(self, door: TextEncoder, cache: AnswerCache) -> None:
        super().__init__(door, Memory(cache, "text", door.identity, VectorCodec(door.dimensions)))

    @property
    def dimensions(self) -> int:
        return self._door.dimensions

    def _call(self, questions: list[str]) -> Sequence[Vector]:
        return list(self._door.encode_texts(questions))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return _stacked(self._values(texts), self.dimensions)


class CachedVisualEncoder(_OfViews[VisualEncoder, Vector]):
    """A visual encoder that is shown each picture once."""

    def __init__(self, door: VisualEncoder, cache: AnswerCache) -> None:
        super().__init__(door, Memory(cache, "visual", door.identity, VectorCodec(door.dimensions)))

    @property
    def dimensions(self) -> int:
        return self._door.dimensions

    def _call(self, questions: list[View]) -> Sequence[Vector]:
        return list(self._door.encode_views(questions))

    def encode_views(self, views: Sequence[View]) -> Vectors:
        return _stacked(self._values(views), self.dimensions)


@dataclass(frozen=True)
class Question:
    """What a judge is asked, by digests: a case whose pictures were not read."""

    candidate: str
    clean: str | None
    type: str
    references: tuple[str, ...]

    @property
    def content(self) -> list[str]:
        """What the answer is filed under; the order of the references counts."""
        return [self.candidate, self.clean or "", self.type, *self.references]

    @staticmethod
    def of(case: Case) -> "Question":
        """The same by digests."""
        clean = case.clean.digest if case.clean is not None else None
        return Question(case.candidate.digest, clean, case.type, tuple(view.digest for view in case.references))


class CachedJudge(_Cached[Judge, Case, Verdict]):
    """A judge that is shown each case once, whatever its bias."""

    def __init__(self, door: Judge, cache: AnswerCache) -> None:
        inner, self._bias = unbiased(door)
        super().__init__(door, Memory(cache, "verdict", inner.identity, VerdictCodec(door.name)), inner)

    @property
    def name(self) -> str:
        return self._door.name

    @property
    def rows_at_once(self) -> int:
        return self._door.rows_at_once

    def recall(self, questions: Sequence[Question]) -> list[Answer[Verdict] | None]:
        """Verdicts on cases whose pictures need not be read for it."""
        recalled = self.memory.recall([question.content for question in questions])
        return [None if answer is None else self._rebiased(answer) for answer in recalled]

    def ask(self, questions: Sequence[Case]) -> list[Answer[Verdict] | ModelError]:
        """A verdict on each case, or why it has none."""
        return [
            answer if isinstance(answer, ModelError) else self._rebiased(answer) for answer in super().ask(questions)
        ]

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return self._values(cases)

    def _content(self, question: Case) -> list[str]:
        return Question.of(question).content

    def _call(self, questions: list[Case]) -> Sequence[Verdict]:
        return self._asked.judge(questions)

    def _rebiased(self, answer: Answer[Verdict]) -> Answer[Verdict]:
        return replace(answer, value=rebiased(answer.value, self._bias))


def _stacked(vectors: Sequence[Vector], dimensions: int) -> Vectors:
    return np.stack(vectors) if vectors else np.zeros((0, dimensions), np.float32)
