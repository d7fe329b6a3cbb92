"""A judge with another threshold. It moves verdicts that were given, so that no model is asked again for it."""

import math
from collections.abc import Sequence
from dataclasses import replace

from derain.backends.interfaces import Identity
from derain.distill.judges.interface import Case, Decision, Judge, Verdict

KEPT_BY_BIAS, DROPPED_BY_BIAS = "score_above_bias", "score_below_bias"
"""Reasons of verdicts that the bias has turned round."""


def recalibrated(verdict: Verdict, bias: float) -> Verdict:
    """A verdict with `bias` taken off its score: keep above 0, drop below, `no_preference` at 0.

    One without a score, as an abstention or a reply read by its words, stays as it is, and so does the reason of one
    that still says the same.
    """
    if verdict.score is None or bias == 0:
        return verdict
    score = verdict.score - bias
    if score == 0:
        return replace(verdict, decision=Decision.ABSTAIN, score=0.0, reason="no_preference")
    decision = Decision.KEEP if score > 0 else Decision.DROP
    turned = KEPT_BY_BIAS if score > 0 else DROPPED_BY_BIAS
    return replace(
        verdict, decision=decision, score=score, reason=verdict.reason if decision is verdict.decision else turned
    )


class BiasedJudge:
    """Another judge, whose scores have `bias` taken off.

    Its identity differs from the other's by the bias. A cache stores the answers of `inner`, under its identity,
    and recalibrates them: then a new bias costs nothing.
    """

    def __init__(self, inner: Judge, bias: float) -> None:
        """
        Raises:
            ValueError: the bias is no finite number.
        """
        if not math.isfinite(bias):
            raise ValueError(f"wanted a finite bias of {inner.name}, got {bias}")
        self.inner, self.bias = inner, bias

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def batch_size(self) -> int:
        return self.inner.batch_size

    @property
    def identity(self) -> Identity:
        own = self.inner.identity
        return replace(own, parameters={**own.parameters, "threshold": self.bias})

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """The inner judge's verdicts, recalibrated; raises as it does."""
        return [recalibrated(verdict, self.bias) for verdict in self.inner.judge(cases)]


def unbiased(judge: Judge) -> tuple[Judge, float]:
    """The judge whose answers are cached whatever the bias, and the bias that they are to be taken through."""
    return (judge.inner, judge.bias) if isinstance(judge, BiasedJudge) else (judge, 0.0)
