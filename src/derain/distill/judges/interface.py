"""The interface of judges: what they are shown, and what they answer: keep, drop or abstain, each with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from derain.backends.interfaces import Identity
from derain.backends.view import View


class Outcome(StrEnum):
    """What became of a candidate."""

    KEPT = "kept"
    DROPPED = "dropped"
    PENDING = "pending"
    """A model gave no answer; the next run asks again."""


class Decision(StrEnum):
    """Whether a candidate is to be trusted. Abstaining is no vote."""

    KEEP = "keep"
    DROP = "drop"
    ABSTAIN = "abstain"


@dataclass(frozen=True)
class Verdict:
    """One judge's answer on one candidate."""

    judge: str
    """The judge's name."""
    decision: Decision
    score: float | None
    """How far the judge is from changing its mind, above 0 for keep, in the judge's own unit (for a language model,
    log P(yes) - log P(no) - bias); None where it gives none."""
    reason: str
    """A short name for why, such as `looks_real`, `blurred_background`, `unreadable_reply`."""
    reply: str = ""
    """A language model's reply, word for word."""

    def __post_init__(self) -> None:
        if not self.reason:
            raise ValueError(f"verdict of {self.judge} has no reason")


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
    """Judges whether a candidate's rain can be trusted."""

    @property
    def name(self) -> str:
        """Short, unique among the judges of a run."""
        ...

    @property
    def identity(self) -> Identity: ...

    @property
    def batch_size(self) -> int:
        """As `Captioner.batch_size`."""
        ...

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """A verdict for each case, each as if it were asked alone.

        Raises:
            ModelError: no answer can be had now.
        """
        ...
