"""Logistic regression on figures measured of a picture: standardised, expanded by further terms, one or more classes.

Coefficients are shipped as JSON; figures that could not be measured count as usual.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
"""(N, F) or (F,)."""

_FURTHEST = 4.0
"""Deviations beyond which a figure counts no more, so that no odd picture is judged by a single value."""

Terms = Literal["absolute", "products"]
"""What stands beside the standardised figures z: |z|, which lets a linear model hold both too little and too much
against a picture; or their products by twos."""


@dataclass(frozen=True)
class LogisticModel:
    """P(class | x) = softmax(W e(z) + b), z = (x - usual) / scale clipped to +-4, e(z) = (z, terms of z)."""

    features: tuple[str, ...]
    classes: tuple[str, ...]
    usual: Matrix
    """(F,)."""
    scale: Matrix
    """(F,)."""
    weights: Matrix
    """(C, T)."""
    bias: Matrix
    """(C,)."""
    threshold: float = 0.0
    """Taken off the log odds."""
    terms: Terms = "absolute"

    def log_odds(self, values: Matrix | Sequence[float]) -> tuple[float, str]:
        """ln P / (1 - P) - threshold, P that of the first class for one picture (F,); and the likeliest other class."""
        x = expanded(np.asarray(values, np.float64)[None], self.usual, self.scale, self.terms)[0]
        logits = self.weights @ x + self.bias
        others = np.logaddexp.reduce(logits[1:])
        return float(logits[0] - others) - self.threshold, self.classes[1 + int(np.argmax(logits[1:]))]

    def probability(self, values: Matrix | Sequence[float]) -> float:
        """P of the first class."""
        return float(np.exp(-np.logaddexp(0.0, -self.log_odds(values)[0])))


def expanded(values: Matrix, usual: Matrix, scale: Matrix, terms: Terms) -> Matrix:
    """(N, F) figures to (N, T): standardised, clipped, NaN as usual; then |z_i|, or z_i z_j for i <= j by i, then j."""
    z = np.nan_to_num(np.clip((values - usual) / scale, -_FURTHEST, _FURTHEST), nan=0.0)
    if terms == "absolute":
        return np.hstack([z, np.abs(z)])
    first, second = np.triu_indices(z.shape[1])
    return np.hstack([z, z[:, first] * z[:, second]])
