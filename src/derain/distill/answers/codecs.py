"""Answers as the bytes that a cache holds."""

import json
from dataclasses import asdict, dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from derain.distill.judges.interface import Decision, Verdict
from derain.errors import QuestionError

A = TypeVar("A")
Vector = npt.NDArray[np.float32]
"""(D,), length 1."""


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
