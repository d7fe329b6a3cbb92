"""A small linear model that says which of several faults a case has, if any: multinomial logistic regression.

Which features, their usual values, the coefficients and the threshold are shipped as JSON in `coefficients/`; they are
fitted by `benchmarks/distill_judges.py --fit`. A feature that could not be measured counts as usual.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from derain.errors import DistillError

Matrix = npt.NDArray[np.float64]
"""(N, F) or (F,)."""

GOOD = "good"
"""Name of the class without fault."""

_FURTHEST = 4.0  # deviations beyond which a feature counts no more


@dataclass(frozen=True)
class SoftmaxModel:
    """P(class | x) = softmax(W e(z) + b), z = (x - usual) / scale clipped to +-4, e(z) = (z, |z|)."""

    features: tuple[str, ...]
    classes: tuple[str, ...]
    """`good` first, then the faults."""
    usual: Matrix
    """(F,) median of each feature over good cases."""
    scale: Matrix
    """(F,) their median absolute deviation as that of a normal distribution."""
    weights: Matrix
    """(C, 2 F)."""
    bias: Matrix
    """(C,)."""
    threshold: float
    """Log odds of good below which a case is dropped."""

    def log_odds(self, values: Matrix) -> tuple[float, str]:
        """ln P(good) / (1 - P(good)) - threshold of one case (F,), above 0 for keep; and the likeliest fault."""
        logits = (self.weights @ expanded(values[None], self.usual, self.scale)[0]) + self.bias
        fault = self.classes[1 + int(np.argmax(logits[1:]))]
        others = logits[1:].max() + np.log(np.exp(logits[1:] - logits[1:].max()).sum())
        return float(logits[0] - others) - self.threshold, fault

    def to_json(self) -> str:
        """Text that `read_model` reads."""
        whole = {
            "features": list(self.features),
            "classes": list(self.classes),
            "usual": _rounded(self.usual),
            "scale": _rounded(self.scale),
            "weights": [_rounded(row) for row in self.weights],
            "bias": _rounded(self.bias),
            "threshold": round(self.threshold, 4),
        }
        return "{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in whole.items()) + "\n}\n"


def expanded(values: Matrix, usual: Matrix, scale: Matrix) -> Matrix:
    """(N, F) features to (N, 2 F): standardised, clipped, NaN as usual; and their distance from usual, which lets a
    linear model hold both too little and too much against a case."""
    z = np.nan_to_num(np.clip((values - usual) / scale, -_FURTHEST, _FURTHEST), nan=0.0)
    return np.concatenate([z, np.abs(z)], axis=1)


def fit(
    features: Sequence[str],
    values: Matrix,
    labels: Sequence[str],
    classes: Sequence[str],
    penalty: float = 0.02,
) -> SoftmaxModel:
    """Fit the coefficients; good cases weigh as much as all faults together, and each fault as much as any other.

    Args:
        values: (N, F); NaN where a feature could not be measured.
        labels: (N,) the class of each case.
        classes: `good` first.
        penalty: weight of the squared coefficients beside the mean log loss.

    Raises:
        DistillError: a class has no case.
    """
    missing = [name for name in classes if name not in labels]
    if missing or classes[0] != GOOD:
        raise DistillError(f"wanted cases of every class, {GOOD} first; none of {', '.join(missing) or GOOD}; add some")
    good = values[[label == GOOD for label in labels]]
    usual = np.nan_to_num(np.nanmedian(good, axis=0))
    spread = 1.4826 * np.nanmedian(np.abs(good - usual), axis=0)
    scale = np.maximum(np.nan_to_num(spread, nan=1.0), 1e-3)
    x = torch.from_numpy(expanded(values, usual, scale))
    y = torch.tensor([list(classes).index(label) for label in labels])
    share = torch.bincount(y, minlength=len(classes)).double()
    per_class = torch.full((len(classes),), 0.5 / (len(classes) - 1), dtype=torch.float64)
    per_class[0] = 0.5
    case_weight = (per_class / share)[y]
    weights, bias = _minimise(x, y, case_weight, len(classes), penalty)
    return SoftmaxModel(tuple(features), tuple(classes), usual, scale, weights.numpy(), bias.numpy(), 0.0)


def _minimise(x: Tensor, y: Tensor, case_weight: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    weights = torch.zeros(classes, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logs = torch.log_softmax(x @ weights.T + bias, dim=1)[torch.arange(len(y)), y]
        value = -(case_weight * logs).sum() + penalty * weights.square().sum() / 2
        value.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]  # torch has no types for it
    return weights.detach(), bias.detach()


@cache
def read_model(name: str) -> SoftmaxModel:
    """The shipped coefficients of this name.

    Raises:
        DistillError: there are none.
    """
    return parse_model(shipped_text(name))


def parse_model(text: str) -> SoftmaxModel:
    """What `SoftmaxModel.to_json` wrote."""
    whole = json.loads(text)
    return SoftmaxModel(
        features=tuple(whole["features"]),
        classes=tuple(whole["classes"]),
        usual=np.array(whole["usual"], np.float64),
        scale=np.array(whole["scale"], np.float64),
        weights=np.array(whole["weights"], np.float64),
        bias=np.array(whole["bias"], np.float64),
        threshold=float(whole["threshold"]),
    )


def coefficients_digest(*names: str) -> str:
    """12 hexadecimal digits of the shipped coefficients of these names."""
    return hashlib.sha256("".join(shipped_text(name) for name in names).encode()).hexdigest()[:12]


def shipped_text(name: str) -> str:
    """The text of a shipped file of `coefficients/`, by its name without ending."""
    file = resources.files("derain.distill.judges").joinpath("coefficients", f"{name}.json")
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise DistillError(f"{name}: wanted shipped coefficients, {file} cannot be read; reinstall derain") from error


def _rounded(values: Matrix) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
