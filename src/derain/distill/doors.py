"""The doors behind which models stand: what each is asked and what it answers.

Whoever stands behind a door is known by its `Identity`; the cache files answers under it. A door that cannot answer
now (an endpoint that is down, a limit that is reached) raises `ModelError`: the candidate is left pending, and asked
about again by the next run. One that cannot be asked this one question raises `QuestionError`: that row alone goes
without, which is final; a candidate that cannot be described is dropped. A door that answers nonsense gives an
abstention. One whose answers arrive one after the other tells them so as well, see `arrivals.Arriving`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from derain.distill.verdict import Verdict
from derain.distill.view import View

Vectors = npt.NDArray[np.float32]
"""(N, D), rows of length 1."""


@dataclass(frozen=True)
class Identity:
    """Everything that decides a model's answer besides what it is asked."""

    model: str
    """Its name, such as `builtin-captioner` or `Salesforce/blip-image-captioning-base`."""
    revision: str
    """Which version of the model: a commit, a digest of the weights, or a version number of ours."""
    parameters: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """Whatever else changes the answer: prompts, beams, sizes, thresholds."""

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any field."""
        whole = json.dumps([self.model, self.revision, dict(self.parameters)], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]


class Captioner(Protocol):
    """Says in one sentence what a picture shows."""

    @property
    def identity(self) -> Identity: ...

    @property
    def rows_at_once(self) -> int:
        """So many questions it is handed in one call, and so many answers at most are lost when the run is killed, for
        they are filed when the call has ended (or as they arrive, see `arrivals.Arriving`).

        1 for who answers one by one; more for who answers several in less time together than one after the other.
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
    def rows_at_once(self) -> int:
        """As `Captioner.rows_at_once`."""
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


@dataclass(frozen=True)
class Case:
    """What a judge is shown: a candidate pair and the real photographs it was compared with."""

    candidate: View
    clean: View | None
    """The candidate's partner without rain."""
    type: str
    """Name of the candidate's rain type: drs, drd, nrs, nrd."""
    references: tuple[View, ...]
    """Real rainy photographs, most alike first; empty in the variant without retrieval."""


class Judge(Protocol):
    """Says whether a candidate's rain can be trusted."""

    @property
    def name(self) -> str:
        """Short, unique among the judges of a run."""
        ...

    @property
    def identity(self) -> Identity: ...

    @property
    def rows_at_once(self) -> int:
        """As `Captioner.rows_at_once`."""
        ...

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """A verdict for each case, each as if it were asked alone.

        Raises:
            ModelError: no answer can be had now.
        """
        ...
