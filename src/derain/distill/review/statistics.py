"""Agreement as numbers: intervals of a share, and agreement beyond chance."""

import math
from collections.abc import Sequence
from statistics import NormalDist


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a share, as (low, high) within [0, 1]; (0, 1) without trials.

    Those shares p for which the observed one lies within z standard errors sqrt(p (1 - p) / n) of p (Wilson,
    "Probable inference, the law of succession, and statistical inference", 1927). It stays sensible for few trials and
    for shares of 0 and 1.

    Raises:
        ValueError: the counts or the confidence make no sense.
    """
    if not 0 <= successes <= trials or not 0 < confidence < 1:
        raise ValueError(f"wanted 0 <= successes <= trials and 0 < confidence < 1: {successes}, {trials}, {confidence}")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    low = 0.0 if successes == 0 else (middle - half) / scale
    high = 1.0 if successes == trials else (middle + half) / scale
    return low, high


def cohen_kappa(both_yes: int, only_first: int, only_second: int, both_no: int) -> float | None:
    """Agreement of two raters beyond chance: (p_o - p_e) / (1 - p_e).

    p_o is the share they agree on, p_e the share they would agree on if each kept its habit and chose blindly (Cohen,
    "A coefficient of agreement for nominal scales", 1960). 1 is full agreement, 0 what chance gives. None where it is
    not defined: nothing was rated, or both always said the same one thing.
    """
    trials = both_yes + only_first + only_second + both_no
    if trials == 0:
        return None
    observed = (both_yes + both_no) / trials
    first, second = (both_yes + only_first) / trials, (both_yes + only_second) / trials
    chance = first * second + (1 - first) * (1 - second)
    return None if math.isclose(chance, 1) else (observed - chance) / (1 - chance)


def fleiss_kappa(votes: Sequence[tuple[int, int]]) -> float | None:
    """Agreement of several raters beyond chance; `votes` are the (yes, no) counts of each thing rated.

    Fleiss, "Measuring nominal scale agreement among many raters", 1971. Things need not be rated by equally many:
    each counts with the share of pairs of its raters that agree, and those rated by fewer than two are left out. None
    where it is not defined: nothing is left, or all said the same one thing.
    """
    rated = [(yes, no) for yes, no in votes if yes + no >= 2]
    if not rated:
        return None
    agreeing = [(yes * (yes - 1) + no * (no - 1)) / ((yes + no) * (yes + no - 1)) for yes, no in rated]
    observed = math.fsum(agreeing) / len(rated)
    share = sum(yes for yes, _ in rated) / sum(yes + no for yes, no in rated)
    chance = share**2 + (1 - share) ** 2
    return None if math.isclose(chance, 1) else (observed - chance) / (1 - chance)
