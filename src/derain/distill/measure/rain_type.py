"""Day or night, streaks or drops: two logistic regressions on what is measured on a picture, with products by twos.

The coefficients lie beside this file; `benchmarks/train_rain_type.py` makes them.
"""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import cache
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from derain.backends.view import View
from derain.distill.measure.fine_structure import FineStructure, fine_structure
from derain.distill.measure.light import LIGHT_NAMES, light_values, measure_light
from derain.distill.measure.planes import luma8, shrunk
from derain.distill.measure.round_marks import Focus, RoundMarks, focus, round_marks, unevenness_of_detail
from derain.types import RainType

Values = npt.NDArray[np.float64]
LONGEST = 512
"""Pixels of the longer side at which the form of the rain is measured."""
FINE_RADII = (1, 3, 6)
MARK_RADII = (4, 8, 16)
_SMALLEST = 64
"""Pictures with a shorter side are enlarged to it, so that the largest marks fit."""


@dataclass(frozen=True)
class TypeGuess:
    """What a picture most likely shows, and how sure that is."""

    type: str
    """drs, drd, nrs or nrd."""
    light: str
    """day or night."""
    confidence: float
    """Probability of the type, that of the light times that of the form, 0.25 to 1."""


@dataclass(frozen=True)
class Logistic:
    """P = 1 / (1 + exp(-(b + w . q(z)))), z the standardised values and q(z) these and their products by twos."""

    names: tuple[str, ...]
    """(D,) what the values are."""
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    """(D + D (D + 1) / 2,)."""
    bias: float

    def probability(self, values: Sequence[float]) -> float:
        """P of one picture's values, in the order of `names`."""
        terms = with_products(standardised(np.array([values]), np.array(self.means), np.array(self.deviations)))[0]
        # Added one by one: a dot product's order, and with it the last digit, differs between machines.
        total = self.bias + sum(weight * term for weight, term in zip(self.weights, terms.tolist(), strict=True))
        return 1 / (1 + exp(-min(50.0, max(-50.0, total))))


def standardised(values: Values, means: Values, deviations: Values) -> Values:
    """(N, D) z = (x - m) / s, held within 4 deviations, so that no odd picture is judged by a single value."""
    return np.clip((values - means) / deviations, -4, 4)


def with_products(z: Values) -> Values:
    """(N, D) -> (N, D + D (D + 1) / 2): the values, then z_i z_j for all i <= j, ordered by i, then j."""
    first, second = np.triu_indices(z.shape[1])
    return np.hstack([z, z[:, first] * z[:, second]])


@dataclass(frozen=True)
class TypeModel:
    """The two regressions."""

    night: Logistic
    drops: Logistic


def classify(view: View) -> TypeGuess:
    """Time of day and form of the rain of a picture of any size, which is taken to show rain."""
    model = shipped_model()
    night = model.night.probability(night_features(view))
    drops = model.drops.probability(form_features(view))
    is_night, is_drop = night > 0.5, drops > 0.5
    confidence = max(night, 1 - night) * max(drops, 1 - drops)
    rain_type = next(kind for kind in RainType if kind.is_night == is_night and kind.is_drop == is_drop)
    return TypeGuess(rain_type.value, "night" if is_night else "day", confidence)


def night_features(view: View) -> list[float]:
    """Values for the regression of the light, in the order of `NIGHT_NAMES`."""
    return light_values(measure_light(view))


def form_features(view: View) -> list[float]:
    """Values for the regression of the form, in the order of `FORM_NAMES`."""
    luma = luma8(shrunk(view.pixels, LONGEST))
    missing = -(-_SMALLEST // min(luma.shape))
    if missing > 1:
        luma = luma.repeat(missing, axis=0).repeat(missing, axis=1)
    values: list[float] = []
    for radius in FINE_RADII:
        structure = fine_structure(luma, radius)
        values += astuple(replace(structure, tilt_deg=abs(structure.tilt_deg)))
    for radius in MARK_RADII:
        values += astuple(round_marks(luma, radius))
    values += [*astuple(focus(luma)), unevenness_of_detail(luma)]
    values += [float(luma.mean(dtype=np.float64)) / 255, float(luma.std(dtype=np.float64)) / 255]
    return [float(value) for value in values]


NIGHT_NAMES = LIGHT_NAMES
FORM_NAMES = (
    *(f"fine_{radius}_{field.name}" for radius in FINE_RADII for field in fields(FineStructure)),
    *(f"marks_{radius}_{field.name}" for radius in MARK_RADII for field in fields(RoundMarks)),
    *(f"focus_{field.name}" for field in fields(Focus)),
    "detail_unevenness",
    "mean",
    "contrast",
)


def coefficients_path() -> Path:
    """The file of the regressions that come with the package; `benchmarks/train_rain_type.py --write` makes it."""
    return Path(__file__).with_name("rain_type.json")


@cache
def shipped_model() -> TypeModel:
    """The regressions that come with the package."""
    parts = json.loads(coefficients_path().read_text(encoding="utf-8"))
    return TypeModel(night=_logistic(parts["night"], NIGHT_NAMES), drops=_logistic(parts["drops"], FORM_NAMES))


def _logistic(part: dict[str, Any], names: tuple[str, ...]) -> Logistic:
    """A regression from its JSON object, which names each of its values."""
    if tuple(part["names"]) != names:
        raise ValueError("rain_type.json was made for other measures than these; run benchmarks/train_rain_type.py")
    return Logistic(
        names=names,
        means=tuple(part["means"]),
        deviations=tuple(part["deviations"]),
        weights=tuple(part["weights"]),
        bias=float(part["bias"]),
    )
