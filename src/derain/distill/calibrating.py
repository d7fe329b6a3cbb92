"""A judge's threshold from pairs known to be good and known to be negative, compared with photographs as in a run.

A judge's score is above 0 where it keeps. The bias is what to take off every score, so that of known negative pairs at
most a fifth is kept; for a language model that is the bias in log P(yes) - log P(no) - bias.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from derain.backends.view import View, read_view
from derain.data.pairs import Pair, read_manifest
from derain.distill.answers.cache import AnswerCache, answers_folder
from derain.distill.answers.cached import CachedJudge, CachedVisualEncoder, cached_describers
from derain.distill.describe.description import Describers, describe
from derain.distill.judges.interface import Case, Judge
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.retrieval import Query, Retriever
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.knowledge.structure import luminance
from derain.distill.measure.rain_type import classify
from derain.distill.models import open_describers, open_judge
from derain.distill.settings import DistillSettings
from derain.errors import DatasetError, DistillError
from derain.types import RainType

FEW = 30
"""Pairs of a kind below which a bias is a guess."""
_DECIMALS = 4

FALSE_POSITIVE_RATE = 0.2
"""Part of the negative cases that a calibrated judge keeps at most."""


@dataclass(frozen=True)
class Calibration:
    """What a judge makes of pairs whose worth is known."""

    name: str
    """Of the judge, as `judging.judges` has it."""
    good: int
    negative: int
    without_score: int
    """Pairs on which the judge gave no score: an abstention, or a reply that was read by its words."""
    area: float
    """Under the ROC curve of the scores; those without one count as the lowest."""
    bias: float
    """What is to be taken off the scores."""
    good_kept: float
    negative_kept: float
    """Parts that the judge keeps with this bias."""

    @property
    def is_guess(self) -> bool:
        """Whether there were too few pairs of a kind to rely on the bias."""
        return min(self.good, self.negative) < FEW

    @property
    def setting(self) -> str:
        """For `--set`."""
        return f"judging.bias={json.dumps({self.name: self.bias})}"


def calibrate_judge(
    name: str,
    good: Path,
    negative: Path,
    base_uri: str,
    settings: DistillSettings,
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    false_positive_rate: float = FALSE_POSITIVE_RATE,
) -> Calibration:
    """Ask a judge about every pair of two manifests, and find the bias with which it keeps few enough negative ones.

    Each pair is described, and compared with three photographs of the base, as in a full run. Answers go through the
    same cache, so that a second calibration, and a run over the same pairs, asks nothing anew.

    Args:
        name: of the judge, as `judging.judges` takes it; a bias that the settings give it is left aside.
        good, negative: manifests of pairs that are known to be trustworthy, and not to be.
        cache: folder for answers; that of runs by default.
        on_progress: receives how many pairs are judged, of how many.
        false_positive_rate: part of the negative pairs that may be kept at most.

    Raises:
        DistillError: the base was made by other models or has nothing to compare a type with, the judge gives no
            scores, or with such a bias it would keep no good pair.
        DatasetError, ImageError: a manifest or a picture cannot be read.
        SettingsError, MissingExtraError, ModelError: a model cannot be had, or gives no answer now.
    """
    pairs = [read_manifest(path) for path in (good, negative)]
    describers = open_describers(settings.describe)
    base = KnowledgeBase.open(base_uri, BaseIdentities.of(describers))
    retriever = Retriever(base, settings.retrieval)
    total = sum(map(len, pairs))
    with AnswerCache(cache or answers_folder()) as answers:
        models = cached_describers(describers, answers)
        judge = open_judge(name, settings, lambda encoder: CachedVisualEncoder(encoder, answers))
        asked = CachedJudge(judge, answers)
        scores: list[float] = []
        for some in _batches([*pairs[0], *pairs[1]], settings.batch_rows):
            scores += scores_of(asked, _cases(some, models, retriever))
            if on_progress is not None:
                on_progress(len(scores), total)
    return threshold(name, scores[: len(pairs[0])], scores[len(pairs[0]) :], false_positive_rate)


def threshold(name: str, good: Sequence[float], negative: Sequence[float], false_positive_rate: float) -> Calibration:
    """What follows from the scores of good and of negative pairs; -inf for those without one.

    The bias is the middle between the least that keeps few enough negative pairs and the next score above that, to four
    places where that decides alike. With few pairs that gap is wide, and the bias little more than a guess.

    Raises:
        DistillError: there are no pairs of a kind, there are no scores, or with such a bias no good pair is kept.
    """
    if not good or not negative:
        raise DistillError(
            f"wanted pairs known to be good and to be negative, got {len(good)} and {len(negative)}; give both"
        )
    silent = sum(math.isinf(score) for score in (*good, *negative))
    if silent == len(good) + len(negative):
        raise DistillError(f"judge {name} gives no scores, so it has no threshold to set; leave it as it is")
    least = bias_for(negative, false_positive_rate)
    if math.isinf(least):  # no negative pair has a score
        least = min(score for score in good if not math.isinf(score)) - 1
    above = min((score for score in (*good, *negative) if score > least), default=least)
    # Anything up to the next score decides these pairs alike; the middle leaves room on both sides for others.
    bias = math.ceil((least + above) / 2 * 10**_DECIMALS - 1e-6) / 10**_DECIMALS
    if not least <= bias < above:
        bias = least
    good_kept, negative_kept = (sum(score > bias for score in each) / len(each) for each in (good, negative))
    if not good_kept:
        raise DistillError(
            f"judge {name} would keep none of {len(good)} good pairs where it keeps at most "
            f"{false_positive_rate:.0%} of the negative pairs; it does not separate them: take another judge"
        )
    return Calibration(
        name, len(good), len(negative), silent, area_under_curve(good, negative), bias, good_kept, negative_kept
    )


def _cases(pairs: Sequence[Pair], models: Describers, retriever: Retriever) -> list[Case]:
    """The pairs with the photographs that they are compared with."""
    views = [read_view(pair.rainy) for pair in pairs]
    types = [_type_of(pair, view) for pair, view in zip(pairs, views, strict=True)]
    queries = [
        Query(view.digest, rain_type, described.text_vector, described.visual_vector, luminance(view))
        for view, rain_type, described in zip(views, types, describe(views, models), strict=True)
    ]
    cases: list[Case] = []
    for pair, view, rain_type, matches in zip(pairs, views, types, retriever.retrieve(queries), strict=True):
        if not matches:
            raise DistillError(
                f"{pair.rainy}: the knowledge base has no photograph to compare {rain_type} with; index some"
            )
        clean = None if pair.clean is None else read_view(pair.clean)
        cases.append(Case(view, clean, rain_type, tuple(read_view(Path(match.path)) for match in matches)))
    return cases


def _type_of(pair: Pair, view: View) -> str:
    """The manifest's; where it names none the classifier's, as in a run.

    Raises:
        DatasetError: it names another.
    """
    if pair.type and pair.type not in set(RainType):
        raise DatasetError(f"{pair.id}: wanted the type {', '.join(RainType)} or none, got {pair.type!r}")
    return pair.type or classify(view).type


def _batches(pairs: Sequence[Pair], rows: int) -> Iterator[Sequence[Pair]]:
    for first in range(0, len(pairs), rows):
        yield pairs[first : first + rows]


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


def _checked(scores: Sequence[float], kind: str) -> npt.NDArray[np.float64]:
    values = np.asarray(scores, np.float64)
    if values.size == 0 or np.isnan(values).any():
        raise DistillError(f"wanted scores of {kind} cases, all numbers; got {values.size}, some may be NaN; give some")
    return values
