"""Interfaces of models of others: what each is asked and what it answers.

A model is known by its `Identity`, under which answers can be cached. A model that gives no answer now (a server that
is down, a limit that is reached) raises `ModelError`: ask again later. One that cannot be asked this one question
raises `QuestionError`, which is final for this question alone. A model whose answers arrive one after the other also
has a method `answers`, see `streaming.StreamsAnswers`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from derain.backends.chat import Answer, Chat, RequestRejected
from derain.backends.streaming import AnswerStream
from derain.backends.view import View

Parameters = Mapping[str, str | int | float | bool | None]
"""Of an identity."""

Vectors = npt.NDArray[np.float32]
"""(N, D), rows of length 1."""


@dataclass(frozen=True)
class Identity:
    """Everything that decides a model's answer besides what it is asked."""

    model: str
    """Its name, such as `builtin-captioner` or `Salesforce/blip-image-captioning-base`."""
    revision: str
    """Which version of the model: a commit, a digest of the weights, or a version number of ours."""
    parameters: Parameters = field(default_factory=dict)
    """Whatever else changes the answer: prompts, beams, sizes, thresholds."""

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any field."""
        whole = json.dumps([self.model, self.revision, dict(self.parameters)], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, object]:
        """For JSON; `Identity(**...)` reads it back."""
        return {"model": self.model, "revision": self.revision, "parameters": dict(self.parameters)}

    def __str__(self) -> str:
        parameters = ", ".join(f"{name}={value}" for name, value in sorted(self.parameters.items()))
        return f"{self.model}@{self.revision}" + (f" ({parameters})" if parameters else "")


@dataclass(frozen=True)
class VersionedPrompt:
    """The words that a language model is asked with; part of its identity."""

    text: str
    version: int

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """For `Identity.parameters`."""
        return {"prompt": self.text, "prompt_version": self.version}


class Captioner(Protocol):
    """Says in one sentence what a picture shows."""

    @property
    def identity(self) -> Identity: ...

    @property
    def batch_size(self) -> int:
        """Batch size of one call: 1 for a model that answers one by one, more where several take less time together.

        A program that stores answers when a call returns loses at most so many when it is killed.
        """
        ...

    def caption(self, views: Sequence[View]) -> list[str]:
        """A sentence for each picture, never empty.

        Raises:
            ModelError: no answer can be had now.
        """
        ...


class Expander(Protocol):
    """Makes two or three sentences of a caption. It does not see the picture."""

    @property
    def identity(self) -> Identity: ...

    @property
    def batch_size(self) -> int:
        """As `Captioner.batch_size`."""
        ...

    def expand(self, captions: Sequence[str]) -> list[str]:
        """The longer text of each caption, never empty.

        Raises:
            ModelError: no answer can be had now.
        """
        ...


class KeywordExtractor(Protocol):
    """Picks the words that say most about a text."""

    @property
    def identity(self) -> Identity: ...

    def extract(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Keywords of each text, best first; empty where a text has none."""
        ...


class TextEncoder(Protocol):
    """Texts as vectors, the same encoder for references and candidates."""

    @property
    def identity(self) -> Identity: ...

    @property
    def dimensions(self) -> int: ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """(N, D) float32, rows of length 1."""
        ...


class VisualEncoder(Protocol):
    """Pictures as vectors."""

    @property
    def identity(self) -> Identity: ...

    @property
    def dimensions(self) -> int: ...

    def encode_views(self, views: Sequence[View]) -> Vectors:
        """(N, D) float32, rows of length 1."""
        ...


class ChatModel(Protocol):
    """A language model, or a vision-language model where chats hold pictures, that answers one turn at a time."""

    def identity(self, parameters: Parameters) -> Identity:
        """With the caller's own parameters, such as prompts."""
        ...

    @property
    def batch_size(self) -> int:
        """As `Captioner.batch_size`."""
        ...

    def answers(self, chats: Sequence[Chat]) -> AnswerStream[Answer | RequestRejected]:
        """The answer to each chat as soon as it is there; the likeliest words, not drawn at random."""
        ...
