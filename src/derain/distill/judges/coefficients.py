"""The shipped coefficients of the built-in judges; `benchmarks/distill_judges.py --fit` makes them."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from derain.distill.measure.logistic import LogisticModel, Matrix
from derain.errors import DistillError

GOOD = "good"
"""Name of the class without fault, the first one; the others are faults."""

BASIS = "typicality_basis"
"""Name of the shipped directions."""


@cache
def read_model(name: str) -> LogisticModel:
    """The shipped coefficients of this name.

    Raises:
        DistillError: there are none.
    """
    return parse_model(shipped_text(name))


def parse_model(text: str) -> LogisticModel:
    """A model from its JSON text."""
    whole = json.loads(text)
    usual, scale, weights, bias = (np.array(whole[name], np.float64) for name in ("usual", "scale", "weights", "bias"))
    names, classes = tuple(whole["features"]), tuple(whole["classes"])
    return LogisticModel(names, classes, usual, scale, weights, bias, float(whole["threshold"]))


@dataclass(frozen=True)
class FeatureBasis:
    """Directions in a visual encoder's space along which photographs of rain vary most: principal components."""

    encoder: str
    """Digest of the identity of the encoder whose vectors these are for."""
    mean: Matrix
    """(D,)."""
    directions: Matrix
    """(K, D), orthonormal."""

    def places(self, vector: Matrix) -> Matrix:
        """(K,) coordinates of a vector (D,)."""
        return np.asarray(self.directions @ (vector - self.mean))


def parse_basis(text: str) -> FeatureBasis:
    """Directions from their JSON text."""
    whole = json.loads(text)
    return FeatureBasis(whole["encoder"], np.array(whole["mean"], float), np.array(whole["directions"], float))


def read_basis(encoder: str) -> FeatureBasis | None:
    """The shipped directions, if they are those of the encoder with this digest.

    Raises:
        DistillError: the shipped file cannot be read.
    """
    basis = parse_basis(shipped_text(BASIS))
    return basis if basis.encoder == encoder else None


def coefficients_digest(*names: str) -> str:
    """12 hexadecimal digits of the shipped coefficients of these names."""
    return hashlib.sha256("".join(shipped_text(name) for name in names).encode()).hexdigest()[:12]


def shipped_text(name: str) -> str:
    """The text of a shipped file of `coefficients/`, by its name without extension."""
    file = resources.files("derain.distill.judges").joinpath("coefficients", f"{name}.json")
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise DistillError(f"{name}: wanted shipped coefficients, {file} cannot be read; reinstall derain") from error
