"""The answers of one door, in the cache: what is asked, under which key, and how an answer is written down."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from derain.distill.doors import Identity
from derain.distill.pipeline.cache import AnswerCache, Entry, Stored
from derain.distill.verdict import Decision, Verdict
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
