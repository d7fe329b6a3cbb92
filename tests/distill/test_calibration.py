"""Areas, precisions and biases, against their definitions written out."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from derain.backends.interfaces import Identity
from derain.backends.view import View
from derain.distill.calibrating import Calibration, area_under_curve, bias_for, scores_of, threshold
from derain.distill.judges.interface import Case, Decision, Verdict
from derain.errors import DistillError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from distill_judges_report import precision_at_recall

scores = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=30)


@settings(deadline=None, max_examples=150)
@given(good=scores, negative=scores)
def test_the_area_is_the_chance_that_good_beats_negative(good: list[float], negative: list[float]) -> None:
    wins = sum((g > c) + 0.5 * (g == c) for g in good for c in negative)
    assert area_under_curve(good, negative) == pytest.approx(wins / (len(good) * len(negative)))


def test_the_area_takes_abstentions_as_the_lowest() -> None:
    assert area_under_curve([1.0, -math.inf], [0.0, -math.inf]) == (1 + 0.5 + 1 + 0) / 4


@settings(deadline=None, max_examples=150)
@given(good=scores, negative=scores, recall=st.sampled_from([0.1, 0.25, 0.5, 0.9, 1.0]))
def test_precision_is_that_of_the_highest_threshold_with_the_recall(
    good: list[float], negative: list[float], recall: float
) -> None:
    for limit in sorted({*good, *negative}, reverse=True):
        kept_good, kept_negative = sum(g >= limit for g in good), sum(c >= limit for c in negative)
        if kept_good / len(good) >= recall - 1e-12 and limit in good:
            assert precision_at_recall(good, negative, recall) == pytest.approx(kept_good / (kept_good + kept_negative))
            return
    pytest.fail("some limit keeps everything")


@settings(deadline=None, max_examples=150)
@given(negative=scores, rate=st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.99]))
def test_the_bias_is_the_least_that_keeps_few_enough(negative: list[float], rate: float) -> None:
    def kept(bias: float) -> float:
        return float(np.mean([score - bias > 0 for score in negative]))

    bias = bias_for(negative, rate)
    assert kept(bias) <= rate + 1e-12
    below = [score for score in negative if score < bias]
    if below:  # the next smaller candidate keeps too many
        assert kept(max(below)) > rate


class OffsetJudge:
    """Scores the first pixel, less what its offset."""

    name = "offset"
    identity = Identity("offset", "1")

    def __init__(self, bias: float = 0.0) -> None:
        self.bias = bias

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        verdicts = []
        for case in cases:
            value = int(case.candidate.pixels[0, 0, 0])
            if value == 255:
                verdicts.append(Verdict(self.name, Decision.ABSTAIN, None, "dazzled"))
                continue
            score = value - self.bias
            verdicts.append(Verdict(self.name, Decision.KEEP if score > 0 else Decision.DROP, score, "first_pixel"))
        return verdicts


def case_of(value: int) -> Case:
    return Case(View(f"{value:064x}", np.full((4, 4, 3), value, np.uint8)), None, "drs", ())


def found_for(judge: OffsetJudge, good: Sequence[int], negative: Sequence[int], rate: float = 0.2) -> Calibration:
    """What follows from the judge's scores of cases of these first pixels."""
    scored = [scores_of(judge, [case_of(value) for value in values]) for values in (good, negative)]
    return threshold(judge.name, *scored, rate)


def test_a_calibrated_judge_keeps_at_most_a_fifth_of_the_negative_cases() -> None:
    good, negative = range(60, 120), range(100)
    found = found_for(OffsetJudge(), good, negative)
    assert found.bias == 79.5
    verdicts = OffsetJudge(found.bias).judge([case_of(value) for value in negative])
    assert sum(verdict.decision is Decision.KEEP for verdict in verdicts) == 20
    assert (found.negative_kept, found.good_kept) == (0.2, 40 / 60)
    assert found_for(OffsetJudge(found.bias), good, negative).bias == 0
    assert found_for(OffsetJudge(), good, negative, 0.0).bias == 99.5


def test_abstentions_are_not_kept() -> None:
    assert scores_of(OffsetJudge(), [case_of(255), case_of(3)]) == [-math.inf, 3.0]
    found = found_for(OffsetJudge(), [50], [10, 20, *[255] * 8])
    assert (found.bias, found.without_score) == (9.5, 8)  # two of ten at most are kept anyhow


def test_judges_that_cannot_be_calibrated_are_named() -> None:
    with pytest.raises(DistillError, match="judge offset would keep none of 1 good pairs"):
        found_for(OffsetJudge(), [1], range(2, 30))
    with pytest.raises(DistillError, match="judge offset gives no scores"):
        found_for(OffsetJudge(), [255], [255])
    for good, negative in (([], [1]), ([1], [])):
        with pytest.raises(DistillError, match=f"got {len(good)} and {len(negative)}; give both"):
            found_for(OffsetJudge(), good, negative)


def test_measures_of_nothing_are_refused() -> None:
    with pytest.raises(DistillError, match="NaN"):
        area_under_curve([math.nan], [1.0])
    with pytest.raises(DistillError, match="rate"):
        bias_for([1.0], 1.0)
