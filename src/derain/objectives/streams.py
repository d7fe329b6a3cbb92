"""The equations of `derain.objectives.slopes` one tick at a time, in constant work however long the run.

Every class holds plain numbers, which `state_dict` gives and `load_state_dict` restores exactly.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from derain.objectives.slopes import EPSILON, adaptive_factor_released, divergence, printed_logit, settle

CANCELLATION_THRESHOLD = 100.0
"""When a value leaves a window that was larger than the remaining sum by this factor, running sums lose their last
digits to cancellation and are computed anew."""


class Window:
    """The last `length` values with running sums: S0 = sum_j y_j, S1 = sum_j j y_j, S2 = sum_j y_j^2; 0 the oldest."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._values: deque[float] = deque(maxlen=length)
        self._s0 = 0.0
        self._s1 = 0.0
        self._s2 = 0.0
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._values)

    @property
    def values(self) -> list[float]:
        """Oldest first."""
        return list(self._values)

    @property
    def total(self) -> float:
        """S0."""
        return self._s0

    @property
    def mean(self) -> float:
        """S0 / n; the window must not be empty."""
        return self._s0 / len(self._values)

    @property
    def slope(self) -> float:
        """Eq. 6 in closed form: (S1 - (n-1)/2 S0) / (n (n^2 - 1) / 12); 0 for fewer than two values."""
        n = len(self._values)
        if n < 2:
            return 0.0
        return settle((self._s1 - (n - 1) / 2 * self._s0) / (n * (n * n - 1) / 12), self._s0 / n)

    @property
    def slope_error(self) -> float:
        """Of the slope, by sum_k r_k^2 = S2 - S0^2/n - slope^2 n (n^2 - 1) / 12; 0 for fewer than three values."""
        n = len(self._values)
        if n < 3:
            return 0.0
        spread = n * (n * n - 1) / 12
        rest = self._s2 - self._s0 * self._s0 / n - self.slope**2 * spread
        return math.sqrt(max(0.0, rest) / (n - 2) / spread)

    @property
    def change_error(self) -> float:
        """`slopes.change_error`: of the mean minus a value that is as noisy as each of these."""
        n = len(self._values)
        return self.slope_error * math.sqrt((1 + 1 / n) * n * (n * n - 1) / 12) if n else 0.0

    def push(self, value: float) -> None:
        """Take the newest value in and let the oldest go. O(1), but once every `length` ticks the sums are redone."""
        refresh = self._pushed % self.length == 0
        if len(self._values) == self.length:
            oldest = self._values.popleft()
            self._s0 -= oldest
            self._s2 -= oldest * oldest
            self._s1 -= self._s0  # all that remain move one position down
            refresh = refresh or abs(oldest) > CANCELLATION_THRESHOLD * abs(self._s0)
        self._s1 += len(self._values) * value
        self._s0 += value
        self._s2 += value * value
        self._values.append(value)
        self._pushed += 1
        if refresh:  # rounding must not pile up
            self._s0 = math.fsum(self._values)
            self._s1 = math.fsum(j * y for j, y in enumerate(self._values))
            self._s2 = math.fsum(y * y for y in self._values)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return {"values": self.values, "s0": self._s0, "s1": self._s1, "s2": self._s2, "pushed": self._pushed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; ValueError if it is of a longer window. States of old have no S2, which follows."""
        values = [float(value) for value in state["values"]]
        if len(values) > self.length:
            raise ValueError(f"{len(values)} values for a window of {self.length}")
        s0, s1, pushed = float(state["s0"]), float(state["s1"]), int(state["pushed"])
        s2 = float(state["s2"]) if "s2" in state else math.fsum(value * value for value in values)
        self._values = deque(values, maxlen=self.length)
        self._s0, self._s1, self._s2, self._pushed = s0, s1, s2, pushed


class Factor(Protocol):
    """AF, given the largest slope of each tick."""

    def push(self, slope: float, error: float = 0.0) -> float:
        """AF after the newest slope, which has this standard error; in [0, 1]."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""


class AdaptiveFactor:
    """AF (Eq. 9): `slopes.adaptive_factor`, or with `printed` `slopes.adaptive_factor_printed`, one slope at a time.

        n <- g n + 1;  D <- g D + |a|;  z = -tau n b / (D + eps);  L <- log(g e^L + e^z);  AF = min(1, n e^{z - L})

    b is a, or with `significance` its `slopes.divergence`; the printed form ignores it.
    L is the logarithm of the sum of e^{z_s}, so that neither large logits nor long forgetting leave the number range.
    """

    def __init__(self, tau: float, forget: float, significance: float = 0.0, printed: bool = False) -> None:
        self._tau = tau
        self._forget = forget
        self._significance = significance
        self._printed = printed
        self._count = 0.0
        self._divisor = 0.0
        self._log_sum = -math.inf

    def push(self, slope: float, error: float = 0.0) -> float:
        """AF after the newest largest slope, which has this standard error; 1 at the first."""
        self._count = self._forget * self._count + 1
        if self._printed:
            self._divisor = self._forget * self._divisor + slope
            logit = printed_logit(self._tau, self._count, slope, self._divisor)
        else:
            self._divisor = self._forget * self._divisor + abs(slope)
            rise = divergence(slope, error, self._significance)
            logit = -self._tau * self._count * rise / (self._divisor + EPSILON)
        self._log_sum = _log_add(self._log_sum + math.log(self._forget), logit)
        return min(1.0, self._count * math.exp(logit - self._log_sum))

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"count": self._count, "divisor": self._divisor, "log_sum": self._log_sum}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        count, divisor, log_sum = float(state["count"]), float(state["divisor"]), float(state["log_sum"])
        self._count, self._divisor, self._log_sum = count, divisor, log_sum


class ReleasedFactor:
    """`slopes.adaptive_factor_released` over the last `window` slopes; O(window), as the divisor moves all logits."""

    def __init__(self, tau: float, window: int) -> None:
        self._tau = tau
        self._slopes = Window(window)

    def push(self, slope: float, error: float = 0.0) -> float:  # noqa: ARG002 - the program knows no errors
        """The factor after the newest slope; 1 at the first."""
        self._slopes.push(slope)
        return adaptive_factor_released(self._slopes.values, self._tau)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return self._slopes.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; ValueError if it is of a longer window."""
        self._slopes.load_state_dict(state)


class ConstantFactor:
    """A factor that nothing changes, for ablations: 1 leaves TBS alone, 0 leaves TSS alone."""

    def __init__(self, value: float) -> None:
        self._value = value

    def push(self, slope: float, error: float = 0.0) -> float:  # noqa: ARG002 - what the others need
        """Always the same value."""
        return self._value

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""


def _log_add(a: float, b: float) -> float:
    """log(e^a + e^b)."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
