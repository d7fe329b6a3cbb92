"""The answers of one door, in the cache: what is asked, under which key, and how an answer is written down."""

import hashlib
import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Generic, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from derain.distill.arrivals import raise_first
from derain.distill.doors import Identity
from derain.distill.pipeline.cache import AnswerCache, Entry, Stored
from derain.distill.verdict import Decision, Verdict
from derain.errors import ModelError, QuestionError

A = TypeVar("A")
Together: TypeAlias = Generator[Sequence[tuple[int, A | ModelError]], None, None]
"""Answers that come together, each with the place of its question or why it has none; then the next."""
Vector = npt.NDArray[np.float32]
"""(D,), length 1."""


@dataclass(frozen=True)
class Answer(Generic[A]):
    """What a door said to one question."""

    value: A
    seconds: float
    """What the model took for it: the time since answers came before it, shared evenly by those that came together; of
    a filed answer, when it was given."""
    recalled: bool
    """Whether it came from the cache."""


def answers_only(answers: Sequence[Answer[A] | ModelError]) -> list[Answer[A]]:
    """The same, all of them answers; raises the first failure."""
    raise_first(answers)
    return [answer for answer in answers if not isinstance(answer, ModelError)]


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
            QuestionError: of the door; or one of its answers cannot be one. Those of the others are filed.
            DistillError: the cache is damaged or cannot be written.
        """
        return answers_only(self.ask_each(contents, lambda missing: self.all_at_once(missing, call)))

    def ask_each(
        self, contents: Sequence[Sequence[str]], call: Callable[[list[int]], Together[A]]
    ) -> list[Answer[A] | ModelError]:
        """An answer to each content or why it has none, in order; every answer is filed as soon as it is there.

        Args:
            call: is handed the places of contents that nobody has answered; it tells answers with their places among
                these.

        Raises:
            ModelError: of the door as a whole. What came before it is filed.
            DistillError: the cache is damaged or cannot be written.
        """
        keys = [answer_key(self.kind, self.identity, content) for content in contents]
        known = self.cache.get(list(dict.fromkeys(keys)))
        first = {key: place for place, key in reversed(list(enumerate(keys))) if key not in known}
        missing = sorted(first.values())
        failures: dict[bytes, ModelError] = {}
        if missing:
            began = time.perf_counter()
            with closing(call(missing)) as arriving:
                for together in arriving:
                    each = (time.perf_counter() - began) / len(together)
                    came = [(keys[missing[place]], answer) for place, answer in together]
                    failures |= self._file(came, each)
                    began = time.perf_counter()
            # Read back, so that processes which answered the same question at once go on with the same answer.
            known |= self.cache.get([keys[place] for place in missing])
        fresh = set(missing)
        silence = ModelError(f"{self.identity.model}: wanted an answer to each question, got none to one of them")
        return [
            replace(self._answer(known[key]), recalled=place not in fresh)
            if key in known
            else failures.get(key, silence)
            for place, key in enumerate(keys)
        ]

    def all_at_once(self, missing: list[int], call: Callable[[list[int]], Sequence[A]]) -> Together[A]:
        """The answers of a door that gives them all together.

        Raises:
            ModelError: it did not give one for each question.
        """
        answers = call(missing)
        if len(answers) != len(missing):
            raise ModelError(
                f"{self.identity.model}: wanted {len(missing)} answers, got {len(answers)}; "
                "the door must give one for each question"
            )
        yield list(enumerate(answers))

    def _file(self, came: Sequence[tuple[bytes, A | ModelError]], seconds: float) -> dict[bytes, ModelError]:
        """File what can be an answer; why the others cannot, by key."""
        entries: list[Entry] = []
        failures: dict[bytes, ModelError] = {}
        for key, answer in came:
            try:
                if isinstance(answer, ModelError):
                    raise answer
                entries.append(Entry(key, self.kind, self.identity.digest, self.codec.encode(answer), seconds))
            except ModelError as error:
                failures[key] = error
        if entries:
            self.cache.put(entries)
        return failures

    def _answer(self, stored: Stored) -> Answer[A]:
        try:
            return Answer(self.codec.decode(stored.value), stored.seconds, recalled=True)
        except (ValueError, KeyError, TypeError) as error:
            raise self.cache.damaged(f"an answer of {self.identity.model}: {error}") from error
