"""Thresholds moved afterwards: the verdicts of another bias, without asking the judge again."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from derain.backends.interfaces import Identity
from derain.backends.view import View
from derain.distill.judges.bias import BiasedJudge, recalibrated, unbiased
from derain.distill.judges.interface import Case, Decision, Verdict

KEEP, DROP, ABSTAIN = Decision.KEEP, Decision.DROP, Decision.ABSTAIN
CASE = Case(View("a", np.zeros((8, 8, 3), np.uint8)), None, "drs", ())


class FixedJudge:
    """Says the same of everything."""

    name = "fixed"
    identity = Identity("fixed", "1", {"longest_side": 8})

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [self.verdict for _ in cases]


@given(st.integers(-8, 8), st.integers(-8, 8))
def test_a_verdict_follows_the_sign_of_what_is_left_of_the_score(score: int, bias: int) -> None:
    before = Verdict("j", KEEP if score > 0 else DROP if score < 0 else ABSTAIN, float(score), "before")
    after = recalibrated(before, float(bias))
    assert after.score == score - bias
    assert after.decision is (KEEP if score > bias else DROP if score < bias else ABSTAIN)
    if after.decision is before.decision and after.decision is not ABSTAIN:
        assert after.reason == "before"
    elif bias:
        assert (
            after.reason
            == {KEEP: "score_above_bias", DROP: "score_below_bias", ABSTAIN: "no_preference"}[after.decision]
        )
    assert recalibrated(before, 0.0) is before


@pytest.mark.parametrize("decision", [KEEP, DROP, ABSTAIN])
def test_what_has_no_score_stays_as_it_is(decision: Decision) -> None:
    verdict = Verdict("j", decision, None, "read_in_words")
    assert recalibrated(verdict, 3.0) is verdict


def test_a_biased_judge_is_another_judge_whose_answers_are_the_inner_ones() -> None:
    inner = FixedJudge(Verdict("fixed", KEEP, 1.5, "looks_real", "True"))
    judge = BiasedJudge(inner, 2.0)
    assert judge.judge([CASE, CASE]) == [Verdict("fixed", DROP, -0.5, "score_below_bias", "True")] * 2
    assert judge.name == "fixed"
    assert len({inner.identity.digest, judge.identity.digest, BiasedJudge(inner, 1.0).identity.digest}) == 3
    assert unbiased(judge) == (inner, 2.0)
    assert unbiased(inner) == (inner, 0.0)
    with pytest.raises(ValueError, match="finite bias"):
        BiasedJudge(inner, math.nan)
