"""What the three built-in judges have in common: a name, small batches, and one case judged after the other."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from derain.distill.judges.interface import Case, Verdict


class BuiltinJudge(ABC):
    """A judge that needs no download and looks at one case at a time."""

    NAME: ClassVar[str]
    """Under which settings ask for it and verdicts are signed."""

    @property
    def name(self) -> str:
        return self.NAME

    @property
    def rows_at_once(self) -> int:
        return 8

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """A verdict for each case; an abstention where it cannot be measured."""
        return [self.judge_one(case) for case in cases]

    @abstractmethod
    def judge_one(self, case: Case) -> Verdict:
        """The verdict on one case."""
