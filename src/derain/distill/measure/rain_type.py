"""Day or night, streaks or drops: two logistic regressions on what is measured on a picture, with products by twos.

The coefficients lie beside this file; `benchmarks/train_rain_type.py` makes them.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from derain.backends.view import View
from derain.distill.measure.logistic import LogisticModel
from derain.distill.measure.planes import luma8, shrunk
from derain.distill.measure.rain_form import (
    FineStructure,
    Focus,
    RoundMarks,
    fine_structure,
    focus,
    round_marks,
    unevenness_of_detail,
)
from derain.distill.measure.scene import LightMeasure, measure_light
from derain.types import RainType

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
class TypeModel:
    """The two regressions."""

    night: LogisticModel
    drops: LogisticModel


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
    return [float(value) for value in measure_light(view).vector()]


def form_features(view: View) -> list[float]:
    """Values for the regression of the form, in the order of `FORM_NAMES`."""
    luma = luma8(shrunk(view.pixels, LONGEST))
    missing = -(-_SMALLEST // min(luma.shape))
    if missing > 1:
        luma = luma.repeat(missing, axis=0).repeat(missing, axis=1)
    values: list[float] = []
    for radius in FINE_RADII:
        structure = fine_structure(luma, radius)
        values += replace(structure, tilt_deg=abs(structure.tilt_deg)).vector().tolist()
    for radius in MARK_RADII:
        values += round_marks(luma, radius).vector().tolist()
    values += [*focus(luma).vector().tolist(), unevenness_of_detail(luma)]
    return [*values, float(luma.mean(dtype=np.float64)) / 255, float(luma.std(dtype=np.float64)) / 255]


NIGHT_NAMES = LightMeasure.names()
FORM_NAMES = (
    *(f"fine_{radius}_{name}" for radius in FINE_RADII for name in FineStructure.names()),
    *(f"marks_{radius}_{name}" for radius in MARK_RADII for name in RoundMarks.names()),
    *(f"focus_{name}" for name in Focus.names()),
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


def _logistic(part: dict[str, Any], names: tuple[str, ...]) -> LogisticModel:
    """A regression from its JSON object, which names each of its values."""
    if tuple(part["names"]) != names:
        raise ValueError("rain_type.json was made for other measures than these; run benchmarks/train_rain_type.py")
    usual, scale, weights = (np.array(part[name], np.float64) for name in ("means", "deviations", "weights"))
    both, bias = np.stack([weights, np.zeros_like(weights)]), np.array([part["bias"], 0.0])
    return LogisticModel(names, ("yes", "no"), usual, scale, both, bias, terms="products")
