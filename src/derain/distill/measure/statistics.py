"""Named figures measured of a picture or of a pair, as the vectors that models see."""

import math
from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt
from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """Figures that a subclass names as its fields."""

    def vector(self) -> npt.NDArray[np.float64]:
        """(S,) all of them, in the order of the fields."""
        return np.array(astuple(self), np.float64)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The fields' names, in order."""
        return tuple(field.name for field in fields(cls))


def regression(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Least squares slope of y on x and their correlation, both (N,); NaN for both where x does not vary."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    squares_x, squares_y, product = float(x @ x), float(y @ y), float(x @ y)
    if squares_x < 1e-9 * len(x):
        return math.nan, math.nan
    return product / squares_x, product / math.sqrt(squares_x * max(squares_y, 1e-12))


def root_mean_square(plane: Tensor) -> float:
    """sqrt(mean x^2)."""
    return float(plane.square().mean().sqrt())


def ramp(value: float, low: float, high: float) -> float:
    """0 at `low`, 1 at `high`, straight between and level beyond; `high` may be the smaller."""
    return min(1.0, max(0.0, (value - low) / (high - low)))
