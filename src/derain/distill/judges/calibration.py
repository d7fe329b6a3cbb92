"""Measures of a judge on labelled cases, and the bias that bounds how many negative cases it keeps.

A judge's score is above 0 where it keeps. `bias_for` finds what to take off every score of a judge, so that of known
negative cases at most a fifth is kept; for a language model that is the bias in log P(yes) - log P(no) - bias.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from derain.distill.judges.interface import Case, Judge
from derain.errors import DistillError

Scores = npt.NDArray[np.float64]
"""(N,)."""

FALSE_POSITIVE_RATE = 0.2
"""Part of the negative cases that a calibrated judge keeps at most."""


def area_under_curve(good: Sequence[float], negative: Sequence[float]) -> float:
    """P(score of a good case > score of a negative one) + P(equal) / 2: the area under the ROC curve.

    By ranks (Mann & Whitney 1947): area U / (n m) with U = R - n (n + 1) / 2, R the sum of the n good mean ranks.

    Raises:
        DistillError: there are no good or no negative scores, or one is no number.
    """
    from scipy.stats import rankdata

    above, below = _checked(good, "good"), _checked(negative, "negative")
    rank_sum = float(rankdata(np.concatenate([above, below]))[: len(above)].sum())
    return (rank_sum - len(above) * (len(above) + 1) / 2) / (len(above) * len(below))


def precision_at_recall(good: Sequence[float], negative: Sequence[float], recall: float) -> float:
    """Part that is good of what is kept, at the highest threshold that keeps at least `recall` of the good cases.

    Cases at the threshold are kept. Raises as `area_under_curve` does.
    """
    above, below = _checked(good, "good"), _checked(negative, "negative")
    if not 0 < recall <= 1:
        raise DistillError(f"wanted a recall above 0 and up to 1, got {recall}")
    threshold = np.sort(above)[::-1][math.ceil(recall * len(above) - 1e-9) - 1]
    kept_good, kept_negative = int((above >= threshold).sum()), int((below >= threshold).sum())
    return kept_good / (kept_good + kept_negative)


def bias_for(negative: Sequence[float], false_positive_rate: float = FALSE_POSITIVE_RATE) -> float:
    """The least bias with which at most this part of the negative scores is above 0: of N, the (floor(rate N) + 1)th.

    A case is kept where score - bias > 0, so that the score which is the bias is not. Scores of -inf are of cases that
    a judge did not vote on.

    Raises:
        DistillError: there are no negative scores, one is no number, or the rate is not in [0, 1).
    """
    if not 0 <= false_positive_rate < 1:
        raise DistillError(f"wanted a false-positive rate from 0 up to (not including) 1, got {false_positive_rate}")
    descending = np.sort(_checked(negative, "negative"))[::-1]
    bias = float(descending[math.floor(false_positive_rate * len(descending) + 1e-9)])
    if math.isinf(bias):  # fewer votes than may be kept: whatever lies below them all
        voted = descending[np.isfinite(descending)]
        return float(voted[-1]) - 1 if len(voted) else bias
    return bias


def scores_of(judge: Judge, cases: Sequence[Case]) -> list[float]:
    """The judge's score of each case, -inf where it abstains or gives none: it does not keep such a case."""
    return [-math.inf if verdict.score is None else verdict.score for verdict in judge.judge(cases)]


def _checked(scores: Sequence[float], kind: str) -> Scores:
    values = np.asarray(scores, np.float64)
    if values.size == 0 or np.isnan(values).any():
        raise DistillError(f"wanted scores of {kind} cases, all numbers; got {values.size}, some may be NaN; give some")
    return values
