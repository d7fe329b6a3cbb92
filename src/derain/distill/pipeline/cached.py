"""The cache in front of each door: only what nobody has answered yet is asked, each question once.

Abstentions of a judge are answers and are filed. That a model cannot answer (`ModelError`) is none, and is not.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

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
from derain.distill.pipeline.cache import AnswerCache, Entry, Stored
from derain.distill.verdict import Decision, Verdict
from derain.distill.view import View
from derain.errors import ModelError, QuestionError

A = TypeVar("A")
Vector = npt.NDArray[np.float32]
"""(D,), length 1."""


@dataclass(frozen=True)
class Answer(Generic[A]):
    """What a door said to one question."""

    value: A
    seconds: float
    """What the model took for it, the time of a batch shared evenly; of a filed answer, when it was given."""
    recalled: bool
    """Whether it came from the cache."""


def answer_key(kind: str, identity: Identity, content: Sequence[str]) -> bytes:
    """sha256 (32 bytes) of the kind of door, who stands behind it, and what it is asked."""
    whole = json.dumps([kind, identity.digest, list(content)], ensure_ascii=True)
    return hashlib.sha256(whole.encode()).digest()


class Codec(Protocol[A]):
    """Answers as bytes."""

    def encode(self, answer: A) -> bytes:
        """Raises QuestionError for what cannot be an answer."""
        ...

    def decode(self, value: bytes) -> A:
        """Raises ValueError or KeyError for what `encode` cannot have written."""
        ...


class TextCodec:
    """A text that says something."""

    def encode(self, answer: str) -> bytes:
        if not answer.strip():
            raise QuestionError("wanted a text, got an empty one; look after the model's settings")
        return json.dumps(answer).encode()

    def decode(self, value: bytes) -> str:
        return str(json.loads(value))


class KeywordsCodec:
    """Words, best first; none is an answer."""

    def encode(self, answer: tuple[str, ...]) -> bytes:
        return json.dumps(list(answer)).encode()

    def decode(self, value: bytes) -> tuple[str, ...]:
        return tuple(str(word) for word in json.loads(value))


@dataclass(frozen=True)
class VectorCodec:
    """float32 as they lie in memory of a little-endian machine."""

    dimensions: int

    def encode(self, answer: Vector) -> bytes:
        if answer.shape != (self.dimensions,) or not np.isfinite(answer).all():
            raise QuestionError(
                f"wanted a finite vector of {self.dimensions} numbers, got {answer.shape}: {answer[:4]}"
            )
        return answer.astype("<f4").tobytes()

    def decode(self, value: bytes) -> Vector:
        vector = np.frombuffer(value, "<f4").astype(np.float32)
        if vector.shape != (self.dimensions,):
            raise ValueError(f"a vector of {vector.size} numbers instead of {self.dimensions}")
        return vector


@dataclass(frozen=True)
class VerdictCodec:
    """A judge's verdict; its name is that of this run's judge."""

    judge: str

    def encode(self, answer: Verdict) -> bytes:
        return json.dumps(asdict(answer)).encode()

    def decode(self, value: bytes) -> Verdict:
        cells = json.loads(value)
        return Verdict(self.judge, Decision(cells["decision"]), cells["score"], cells["reason"], cells["reply"])


class Memory(Generic[A]):
    """The answers of one door."""

    def __init__(self, cache: AnswerCache, kind: str, identity: Identity, codec: Codec[A]) -> None:
        self.cache, self.kind, self.identity, self.codec = cache, kind, identity, codec

    def recall(self, contents: Sequence[Sequence[str]]) -> list[Answer[A] | None]:
        """What is filed, in order; None for what is not.

        Raises:
            DistillError: the cache is damaged.
        """
        keys = [answer_key(self.kind, self.identity, content) for content in contents]
        stored = self.cache.get(list(dict.fromkeys(keys)))
        return [self._answer(stored[key]) if key in stored else None for key in keys]

    def ask(self, contents: Sequence[Sequence[str]], call: Callable[[list[int]], Sequence[A]]) -> list[Answer[A]]:
        """An answer to each content, in order; `call` is handed the places of those that nobody has answered.

        Raises:
            ModelError: of the door; or it did not give one answer for each question.
            QuestionError: of the door; or one of its answers cannot be one.
            DistillError: the cache is damaged or cannot be written.
        """
        keys = [answer_key(self.kind, self.identity, content) for content in contents]
        known = self.cache.get(list(dict.fromkeys(keys)))
        first = {key: place for place, key in reversed(list(enumerate(keys))) if key not in known}
        missing = sorted(first.values())
        if missing:
            began = time.perf_counter()
            answers = call(missing)
            seconds = time.perf_counter() - began
            if len(answers) != len(missing):
                raise ModelError(
                    f"{self.identity.model}: wanted {len(missing)} answers, got {len(answers)}; "
                    "the door must give one for each question"
                )
            each = seconds / len(missing)
            encoded = [self.codec.encode(answer) for answer in answers]
            self.cache.put(
                [
                    Entry(keys[place], self.kind, self.identity.digest, value, each)
                    for place, value in zip(missing, encoded, strict=True)
                ]
            )
            # Read back, so that processes which answered the same question at once go on with the same answer.
            known |= self.cache.get([keys[place] for place in missing])
        fresh = set(missing)
        return [replace(self._answer(known[key]), recalled=place not in fresh) for place, key in enumerate(keys)]

    def _answer(self, stored: Stored) -> Answer[A]:
        try:
            return Answer(self.codec.decode(stored.value), stored.seconds, recalled=True)
        except (ValueError, KeyError, TypeError) as error:
            raise self.cache.damaged(f"an answer of {self.identity.model}: {error}") from error


class CachedCaptioner:
    """A captioner that is shown each picture once."""

    def __init__(self, door: Captioner, cache: AnswerCache) -> None:
        self._door = door
        self.memory = Memory(cache, "caption", door.identity, TextCodec())

    @property
    def rows_at_once(self) -> int:
        return self._door.rows_at_once

    @property
    def identity(self) -> Identity:
        return self._door.identity

    def recall(self, digests: Sequence[str]) -> list[Answer[str] | None]:
        """Captions of pictures that need not be read for it."""
        return self.memory.recall([[digest] for digest in digests])

    def ask(self, views: Sequence[View]) -> list[Answer[str]]:
        """A caption for each picture."""
        contents = [[view.digest] for view in views]
        return self.memory.ask(contents, lambda missing: self._door.caption([views[place] for place in missing]))

    def caption(self, views: Sequence[View]) -> list[str]:
        return [answer.value for answer in self.ask(views)]


class CachedExpander:
    """An expander that is told each caption once."""

    def __init__(self, door: Expander, cache: AnswerCache) -> None:
        self._door = door
        self.memory = Memory(cache, "expansion", door.identity, TextCodec())

    @property
    def rows_at_once(self) -> int:
        return self._door.rows_at_once

    @property
    def identity(self) -> Identity:
        return self._door.identity

    def ask(self, captions: Sequence[str]) -> list[Answer[str]]:
        """The longer text of each caption."""
        contents = [[caption] for caption in captions]
        return self.memory.ask(contents, lambda missing: self._door.expand([captions[place] for place in missing]))

    def expand(self, captions: Sequence[str]) -> list[str]:
        return [answer.value for answer in self.ask(captions)]


class CachedKeywords:
    """A keyword extractor that is given each text once."""

    def __init__(self, door: KeywordExtractor, cache: AnswerCache) -> None:
        self._door = door
        self.memory = Memory(cache, "keywords", door.identity, KeywordsCodec())

    @property
    def identity(self) -> Identity:
        return self._door.identity

    def ask(self, texts: Sequence[str]) -> list[Answer[tuple[str, ...]]]:
        """Keywords of each text."""
        contents = [[text] for text in texts]
        return self.memory.ask(contents, lambda missing: self._door.extract([texts[place] for place in missing]))

    def extract(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        return [answer.value for answer in self.ask(texts)]


class CachedTextEncoder:
    """A text encoder that is given each text once."""

    def __init__(self, door: TextEncoder, cache: AnswerCache) -> None:
        self._door = door
        self.memory = Memory(cache, "text", door.identity, VectorCodec(door.dimensions))

    @property
    def identity(self) -> Identity:
        return self._door.identity

    @property
    def dimensions(self) -> int:
        return self._door.dimensions

    def ask(self, texts: Sequence[str]) -> list[Answer[Vector]]:
        """The vector of each text."""
        contents = [[text] for text in texts]
        return self.memory.ask(
            contents, lambda missing: list(self._door.encode_texts([texts[place] for place in missing]))
        )

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return _stacked([answer.value for answer in self.ask(texts)], self.dimensions)


class CachedVisualEncoder:
    """A visual encoder that is shown each picture once."""

    def __init__(self, door: VisualEncoder, cache: AnswerCache) -> None:
        self._door = door
        self.memory = Memory(cache, "visual", door.identity, VectorCodec(door.dimensions))

    @property
    def identity(self) -> Identity:
        return self._door.identity

    @property
    def dimensions(self) -> int:
        return self._door.dimensions

    def recall(self, digests: Sequence[str]) -> list[Answer[Vector] | None]:
        """Vectors of pictures that need not be read for it."""
        return self.memory.recall([[digest] for digest in digests])

    def ask(self, views: Sequence[View]) -> list[Answer[Vector]]:
        """The vector of each picture."""
        contents = [[view.digest] for view in views]
        return self.memory.ask(
            contents, lambda missing: list(self._door.encode_views([views[place] for place in missing]))
        )

    def encode_views(self, views: Sequence[View]) -> Vectors:
        return _stacked([answer.value for answer in self.ask(views)], self.dimensions)


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


class CachedJudge:
    """A judge that is shown each case once, whatever its bias."""

    def __init__(self, door: Judge, cache: AnswerCache) -> None:
        self._door = door
        self._inner, self._bias = unbiased(door)
        self.memory = Memory(cache, "verdict", self._inner.identity, VerdictCodec(door.name))

    @property
    def name(self) -> str:
        return self._door.name

    @property
    def rows_at_once(self) -> int:
        return self._door.rows_at_once

    @property
    def identity(self) -> Identity:
        return self._door.identity

    def recall(self, questions: Sequence[Question]) -> list[Answer[Verdict] | None]:
        """Verdicts on cases whose pictures need not be read for it."""
        recalled = self.memory.recall([question.content for question in questions])
        return [None if answer is None else self._rebiased(answer) for answer in recalled]

    def ask(self, cases: Sequence[Case]) -> list[Answer[Verdict]]:
        """A verdict on each case."""
        contents = [Question.of(case).content for case in cases]
        answers = self.memory.ask(contents, lambda missing: self._inner.judge([cases[place] for place in missing]))
        return [self._rebiased(answer) for answer in answers]

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [answer.value for answer in self.ask(cases)]

    def _rebiased(self, answer: Answer[Verdict]) -> Answer[Verdict]:
        return replace(answer, value=rebiased(answer.value, self._bias))


def _stacked(vectors: Sequence[Vector], dimensions: int) -> Vectors:
    return np.stack(vectors) if vectors else np.zeros((0, dimensions), np.float32)
