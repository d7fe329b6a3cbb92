"""How the losses of the types move, and the weights that follow: the equations, on a history that is all there.

UniRain (CVPR 2026), section 3.2, Eq. 6-10; the same quantities as in CoBa (Liu et al. 2024), there named RCS, ACS, DF.
These forms read a whole history and are as plain as the equations; `derain.objectives.streams` computes the same
numbers one tick at a time. Plain floats: a tick has a handful of types.
"""

import math
from collections.abc import Sequence

EPSILON = 1e-12
"""Keeps divisors away from 0 where no loss moves at all."""
EPSILON_RELEASED = 1e-8
"""The same in the paper's released program."""
STILL = 1e-12
"""A smaller slope, relative to the mean loss, is rounding and not learning, and counts as 0."""
LARGEST_LOGIT = 1e300
"""Bound of the printed equation's logits, which have none of their own."""


def softmax(logits: Sequence[float]) -> list[float]:
    """e^x_i / sum_j e^x_j, computed relative to the largest; adds up to 1."""
    largest = max(logits)
    powers = [math.exp(logit - largest) for logit in logits]
    total = math.fsum(powers)
    return [power / total for power in powers]


def settle(slope: float, mean: float) -> float:
    """The slope of values around `mean` without rounding noise: exactly 0 if it is smaller than STILL of the mean."""
    return slope if abs(slope) > STILL * abs(mean) else 0.0


def convergence_slope(losses: Sequence[float]) -> float:
    """Eq. 6: slope of the least squares line through losses at positions 0, 1, ..., n-1, per tick.

        alpha = sum_k (k - mean k) (L_k - mean L) / sum_k (k - mean k)^2

    Negative while a loss falls, 0 for fewer than two losses. (As printed, Eq. 6 sums over k = 1..N but takes the means
    over the steps t-N+1..t; positions in the window are meant.)
    """
    n = len(losses)
    if n < 2:
        return 0.0
    middle = (n - 1) / 2
    # Relative to the first loss: a constant history then gives exactly 0.
    moment = math.fsum((k - middle) * (loss - losses[0]) for k, loss in enumerate(losses))
    return settle(moment / (n * (n * n - 1) / 12), math.fsum(losses) / n)


def slope_error(losses: Sequence[float]) -> float:
    """Standard error of `convergence_slope`: sqrt(sum_k r_k^2 / (n - 2) / sum_k (k - mean k)^2).

    r_k is what the line leaves of the losses. 0 for fewer than three losses, which a line always fits.
    """
    n = len(losses)
    if n < 3:
        return 0.0
    slope, mean = convergence_slope(losses), math.fsum(losses) / n
    rest = math.fsum((loss - mean - slope * (k - (n - 1) / 2)) ** 2 for k, loss in enumerate(losses))
    return math.sqrt(rest / (n - 2) / (n * (n * n - 1) / 12))


def change_since_start(losses: Sequence[float], first: float) -> float:
    """The mean of the newest losses minus the first of all: what the whole run has done to this type.

    Over the run's length it would be a slope; the length is the same for all types and cancels in Eq. 7.
    """
    return math.fsum(losses) / len(losses) - first


def change_error(losses: Sequence[float]) -> float:
    """Standard error of `change_since_start`: sqrt(1 + 1/n) times what the line through n losses leaves, per loss.

    The mean has the noise of n losses, the first loss that of one. 0 for fewer than three losses.
    """
    n = len(losses)
    return slope_error(losses) * math.sqrt((1 + 1 / n) * n * (n * n - 1) / 12)


def balance_scores(
    slopes: Sequence[float], epsilon: float = EPSILON, errors: Sequence[float] | None = None, significance: float = 0.0
) -> list[float]:
    """TBS, Eq. 7: softmax_i(K alpha_i / sum_j |alpha_j|) over the K types.

    Compares the types with each other: who converges slowest gets most. Also who diverges, see `stability_scores`.

    Eq. 7 has no scale: where no loss moves, noise alone makes weights as unequal as learning does. With `significance`
    s, a slope counts in the divisor as at least s of its standard `errors` e: sqrt(alpha_j^2 + (s e_j)^2).
    """
    errors = [0.0] * len(slopes) if errors is None else errors
    total = math.fsum(math.hypot(slope, significance * error) for slope, error in zip(slopes, errors, strict=True))
    return softmax([len(slopes) * slope / (total + epsilon) for slope in slopes])


def stability_scores(history: Sequence[Sequence[float]], epsilon: float = EPSILON) -> list[float]:
    """TSS, Eq. 8: softmax_i(-n alpha_i(t) / sum_s |alpha_i(s)|) over the last n = len(history) ticks.

    `history` has the slopes of all types, a row a tick, the newest last. Compares each type with its own past: who
    turns to diverging gets least.
    """
    n = len(history)
    totals = [math.fsum(abs(slope) for slope in column) for column in zip(*history, strict=True)]
    return softmax([-n * slope / (total + epsilon) for slope, total in zip(history[-1], totals, strict=True)])


def adaptive_factor(
    largest_slopes: Sequence[float],
    tau: float = 5.0,
    forget: float = 1.0,
    errors: Sequence[float] | None = None,
    significance: float = 0.0,
) -> float:
    """AF, Eq. 9 with two corrections, from all largest slopes a(1..t) so far; in [0, 1].

        z_s = -tau n_s b(s) / sum_{j<=s} g^(s-j) |a(j)|,    n_s = sum_{j<=s} g^(s-j)
        AF  = min(1, n_t e^{z_t} / sum_s g^(t-s) e^{z_s})

    The corrections are the modulus in the divisor and the forgetting factor g = `forget` in (0, 1]; the printed
    equation is `adaptive_factor_printed`. Each logit keeps the divisor of its own time. 1 trusts the TBS, 0 the TSS.

    b = a without `significance`. With it, b(s) = `divergence` of a(s), whose standard error is `errors[s]`.
    """
    errors = [0.0] * len(largest_slopes) if errors is None else errors
    counts, logits = [], []
    for now in range(1, len(largest_slopes) + 1):
        ages = [forget ** (now - then) for then in range(1, now + 1)]
        divisor = math.fsum(age * abs(slope) for age, slope in zip(ages, largest_slopes, strict=False))
        counts.append(math.fsum(ages))
        slope = divergence(largest_slopes[now - 1], errors[now - 1], significance)
        logits.append(-tau * counts[-1] * slope / (divisor + EPSILON))
    return _share_of_the_last(logits, counts[-1], forget)


def divergence(slope: float, error: float, significance: float) -> float:
    """The significant rise of a loss: max(0, slope - s error); with s = `significance` = 0 the slope itself."""
    return max(0.0, slope - significance * error) if significance else slope


def adaptive_factor_printed(largest_slopes: Sequence[float], tau: float = 5.0, forget: float = 1.0) -> float:
    """AF, Eq. 9 as printed: min(1, t softmax_t(-tau t a(t) / sum_{i<=t} a(i))), with the signed sum.

    softmax_t is read as over the times up to t, each logit with the divisor of its own time. A divisor of 0, for which
    the equation has no value, gives the logit 0. Misleading by construction (see docs/reweighting.md); kept for
    comparison. `forget` 1 is the printed equation.
    """
    counts, logits = [], []
    for now in range(1, len(largest_slopes) + 1):
        ages = [forget ** (now - then) for then in range(1, now + 1)]
        divisor = sum(age * slope for age, slope in zip(ages, largest_slopes, strict=False))
        counts.append(math.fsum(ages))
        logits.append(printed_logit(tau, counts[-1], largest_slopes[now - 1], divisor))
    return _share_of_the_last(logits, counts[-1], forget)


def printed_logit(tau: float, count: float, slope: float, divisor: float) -> float:
    """-tau t a(t) / sum a, the logit of Eq. 9 as printed: 0 where the sum is 0, bounded where it is nearly so."""
    if divisor == 0:
        return 0.0
    return min(max(-tau * count * slope / divisor, -LARGEST_LOGIT), LARGEST_LOGIT)


def adaptive_factor_released(
    largest_slopes: Sequence[float], tau: float = 5.0, epsilon: float = EPSILON_RELEASED
) -> float:
    """AF of the paper's released program: softmax_s(-tau n a(s) / sum_s |a(s)|) at the newest of n slopes in a window.

    Without the factor t of Eq. 9: about 1/n for even slopes where Eq. 9 has 1.
    """
    n = len(largest_slopes)
    total = math.fsum(abs(slope) for slope in largest_slopes)
    return softmax([-tau * n * slope / (total + epsilon) for slope in largest_slopes])[-1]


def mix(factor: float, balance: Sequence[float], stability: Sequence[float]) -> list[float]:
    """Eq. 10: omega_i = AF TBS_i + (1 - AF) TSS_i; adds up to 1 as both do."""
    return [factor * b + (1 - factor) * s for b, s in zip(balance, stability, strict=True)]


def raise_to_floor(weights: Sequence[float], floor: float) -> list[float]:
    """w_i = floor + (1 - K floor) omega_i: none is below `floor` (at most 1/K), and the sum stays 1."""
    return [floor + (1 - len(weights) * floor) * weight for weight in weights]


def blend_weights(before: Sequence[float], wanted: Sequence[float], weight_momentum: float) -> list[float]:
    """w <- h w + (1 - h) w*: the weights before, moved towards those wanted; h = `weight_momentum` in [0, 1)."""
    return [weight_momentum * old + (1 - weight_momentum) * new for old, new in zip(before, wanted, strict=True)]


def weights_released(
    factor: float, balance: Sequence[float], stability: Sequence[float], floor: float = 0.1
) -> list[float]:
    """Weights of the paper's released program: Eq. 10, then softmax(K .) twice, then the floor."""
    weights = mix(factor, balance, stability)
    for _ in range(2):
        weights = softmax([len(weights) * weight for weight in weights])
    return raise_to_floor(weights, floor)


def _share_of_the_last(logits: Sequence[float], count: float, forget: float) -> float:
    """min(1, n e^{z_t} / sum_s g^(t-s) e^{z_s})."""
    largest = max(logits)
    total = math.fsum(
        forget ** (len(logits) - s) * math.exp(logit - largest) for s, logit in enumerate(logits, start=1)
    )
    last = math.exp(logits[-1] - largest)
    return min(1.0, count * last / total) if last else 0.0
