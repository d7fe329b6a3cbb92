"""What the three built-in judges have in common: one case judged after the other, and faults that are named.

Each is a small logistic model over measured figures; a fault that it finds is the reason of its verdict.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from derain.distill.judges.interface import Case, Decision, Verdict
from derain.distill.measure.logistic import LogisticModel, Matrix

REASONS: dict[str, str] = {
    "grey_lines": "additive_grey_streaks",
    "round_blobs": "pasted_blobs",
    "repeated_pattern": "repeated_pattern",
    "misaligned_target": "target_misaligned",
    "wrong_target": "target_of_another_scene",
    "target_still_rainy": "target_still_rainy",
    "smoothed_target": "target_smoothed",
    "colour_shifted_target": "target_colour_shifted",
    "heavy_compression": "heavy_compression",
    "blurred_background": "blurred_background",
}
"""Fault, by its name in `derain.rain.negatives.NEGATIVES` -> reason of the verdict."""


class BuiltinJudge(ABC):
    """A judge that needs no download and looks at one case at a time."""

    NAME: ClassVar[str]
    """Under which settings ask for it and verdicts are signed."""

    @property
    def name(self) -> str:
        return self.NAME

    @property
    def batch_size(self) -> int:
        return 8

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """A verdict for each case; an abstention where it cannot be measured."""
        return [self.judge_one(case) for case in cases]

    @abstractmethod
    def judge_one(self, case: Case) -> Verdict:
        """The verdict on one case."""


def verdict_of(judge: str, model: LogisticModel, values: Matrix, good_reason: str) -> Verdict:
    """The verdict on a case's features (F,); its score is in log odds."""
    score, fault = model.log_odds(values)
    if score > 0:
        return Verdict(judge, Decision.KEEP, round(score, 4), good_reason)
    return Verdict(judge, Decision.DROP, round(score, 4), REASONS[fault])


def abstention(judge: str, reason: str) -> Verdict:
    """No vote, for a named reason."""
    return Verdict(judge, Decision.ABSTAIN, None, reason)
