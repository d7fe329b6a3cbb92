"""Weights of the rain types while they are learnt together: losses in, weights out, tick by tick.

UniRain (CVPR 2026), section 3.2, Eq. 6-10, with corrections; docs/reweighting.md describes the method and its reasons.
A tick is one look at the loss of every type. The equations are in `derain.objectives.slopes`, their constant-work form
in `derain.objectives.streams`, and what can be chosen in `derain.objectives.methods`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from derain.errors import CheckpointError, SettingsError, TrainingError
from derain.objectives import former_names
from derain.objectives.methods import Plan, ReweightSettings
from derain.objectives.slopes import (
    EPSILON,
    EPSILON_RELEASED,
    balance_scores,
    blend_weights,
    mix,
    raise_to_floor,
    softmax,
    weights_released,
)
from derain.objectives.streams import AdaptiveFactor, ConstantFactor, Factor, ReleasedFactor, Window

__all__ = ["Plan", "ReweightSettings", "Reweighting", "Tick"]

BAD_TICKS = 3
"""So many ticks in a row with a loss that is not finite end the run."""
SMALLEST_FIRST_LOSS = 1e-8
"""Least divisor of the loss ratios."""
LARGEST_LOSS = 3.4028234663852886e38
"""What a 32-bit float holds; a larger loss has overflowed and counts as not finite."""
ROUNDING = 1e-9
"""By so much may an equal share fall short of 1/K."""
SHARPNESS = ("tau", "forget", "floor", "warmup")
"""Parts of a plan that may change while a run goes on; with others a stored history means something else."""
LEGACY_DEFAULTS = {"significance": 0.0, "tbs_horizon": "window", "weight_momentum": 0.0}
"""Values of settings that stored plans of earlier versions lack."""


@dataclass(frozen=True)
class Tick:
    """What one tick measured and decided; by type, None where there is no value yet."""

    losses: dict[str, float | None]
    """As they came; None for a type of which no loss has been seen."""
    ratios: dict[str, float] | None
    """What the slopes are taken of: loss over first loss (the released program: the loss itself)."""
    slopes: dict[str, float] | None
    """Eq. 6, per tick; negative while a loss falls. None during warm-up."""
    tbs: dict[str, float] | None
    """Eq. 7, adds up to 1. None where the method has none."""
    tss: dict[str, float] | None
    """Eq. 8, adds up to 1. None where the method has none."""
    af: float | None
    """Eq. 9, in [0, 1]. None where the method has none."""
    weights: dict[str, float]
    """The weights that hold from now on; they add up to 1."""
    skipped: bool
    """Nothing was learnt from this tick: a loss was not finite, or a type has not been seen yet."""

    def row(self) -> dict[str, Any]:
        """For a log: losses, alpha (the slopes), tbs, tss and weights as {type: number}, and af; finite, or None."""
        return {
            "losses": {label: _finite(loss) for label, loss in self.losses.items()},
            "alpha": self._by_type(self.slopes),
            "tbs": self._by_type(self.tbs),
            "tss": self._by_type(self.tss),
            "af": self.af,
            "weights": dict(self.weights),
        }

    def _by_type(self, values: dict[str, float] | None) -> dict[str, float | None]:
        return {label: None if values is None else values[label] for label in self.losses}


class Reweighting:
    """Weights over any types by name; O(K) work a tick (`released`: O(K + window)).

    `tick` is to be called with the losses of the signal, every `plan.every_steps` steps. With the training signal the
    losses may lack types, as a batch does: the last loss of such a type stands in. Until every type has been seen once,
    ticks are skipped and the weights stay 1/K.
    """

    def __init__(self, types: Sequence[str], settings: ReweightSettings) -> None:
        """`types` are K >= 1 different names; SettingsError if not, or if the settings do not fit so many types."""
        if not types or len(set(types)) != len(types):
            raise SettingsError(f"reweighting: wanted one or more different types, got {list(types)}")
        self.types: tuple[str, ...] = tuple(str(label) for label in types)
        self.plan = settings.plan(len(self.types))
        self.weights: dict[str, float] = dict.fromkeys(self.types, 1 / len(self.types))
        self._last: dict[str, float | None] = dict.fromkeys(self.types)
        self._first: dict[str, float] = {}
        self._curves = {label: Window(self.plan.window) for label in self.types}
        self._largest_curve = Window(self.plan.window)
        self._moves = {label: Window(self.plan.window) for label in self.types}
        self._factor = _factor_of(self.plan)
        self._ticks = 0
        self._bad_ticks = 0

    def factor(self, label: str) -> float:
        """K w: what a sample's loss is multiplied by, 1 on average over the types; 1 for a label that is no type."""
        return len(self.types) * self.weights[label] if label in self.weights else 1.0

    def tick(self, losses: Mapping[str, float]) -> Tick:
        """Learn from the losses of now and set `weights`.

        A loss that is not finite skips the tick: the weights stay, and no loss of the tick is remembered.

        Raises:
            TrainingError: a loss was not finite for the third tick in a row; the probe's losses lack a type; there is
                a loss of something that is no type.
        """
        seen = self._seen(losses)
        broken = [label for label, loss in seen.items() if loss is not None and not abs(loss) <= LARGEST_LOSS]
        if broken:
            self._count_bad_tick(broken, losses)
            return self._skipped(seen)
        self._bad_ticks = 0
        self._last = dict(seen)
        known = {label: loss for label, loss in seen.items() if loss is not None}
        if len(known) < len(self.types):
            return self._skipped(seen)
        return self._learn(known)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next tick depends on, as plain numbers, strings, lists and dictionaries."""
        return {
            "types": list(self.types),
            "plan": asdict(self.plan),
            "weights": dict(self.weights),
            "first": dict(self._first),
            "last": dict(self._last),
            "curves": {label: curve.state_dict() for label, curve in self._curves.items()},
            "largest_curve": self._largest_curve.state_dict(),
            "moves": {label: moves.state_dict() for label, moves in self._moves.items()},
            "factor": {} if self._factor is None else self._factor.state_dict(),
            "ticks": self._ticks,
            "bad_ticks": self._bad_ticks,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state`; the next ticks are exactly those of the object that gave it.

        Other values of tau, forget, floor and warmup are taken from now on.

        Raises:
            CheckpointError: the state is of other types, of a plan that differs in anything else, or damaged; nothing
                has changed then.
        """
        before = self.state_dict()
        try:
            self._refuse_foreign(state)
            self._take(state)
        except (KeyError, TypeError, ValueError) as error:
            self._take(before)
            raise CheckpointError(
                f"reweighting: the stored state is damaged ({type(error).__name__}: {error}); resume from another "
                "checkpoint"
            ) from error

    def _take(self, state: Mapping[str, Any]) -> None:
        self.weights = {label: float(state["weights"][label]) for label in self.types}
        first = state["first"]
        self._first = {label: float(first[label]) for label in self.types} if first else {}
        for label in self.types:
            last = state["last"][label]
            self._last[label] = None if last is None else float(last)
            self._curves[label].load_state_dict(state["curves"][label])
            self._moves[label].load_state_dict(state["moves"][label])
        self._largest_curve.load_state_dict(state["largest_curve"])
        if self._factor is not None:
            self._factor.load_state_dict(state["factor"])
        self._ticks, self._bad_ticks = int(state["ticks"]), int(state["bad_ticks"])

    def _seen(self, losses: Mapping[str, float]) -> dict[str, float | None]:
        """The loss of every type: as given, else (training signal) the last one; None if there has been none."""
        self._reject_unknown_types(losses)
        missing = [label for label in self.types if label not in losses]
        if missing and self.plan.signal == "probe":
            raise TrainingError(
                f"reweighting: the probe gave no loss of {', '.join(missing)}; it needs crops of every type"
            )
        return {label: float(losses[label]) if label in losses else self._last[label] for label in self.types}

    def _reject_unknown_types(self, losses: Mapping[str, float]) -> None:
        unknown = [label for label in losses if label not in self.weights]
        if unknown:
            raise TrainingError(
                f"reweighting: got a loss of {', '.join(unknown)}, which is none of the types "
                f"{', '.join(self.types)}; give losses of these alone"
            )

    def _count_bad_tick(self, broken: Sequence[str], losses: Mapping[str, float]) -> None:
        self._bad_ticks += 1
        if self._bad_ticks >= BAD_TICKS:
            named = ", ".join(f"{label} ({losses[label]})" for label in broken)
            raise TrainingError(
                f"reweighting: the loss of {named} was not finite at {self._bad_ticks} ticks in a row; resume from a "
                "checkpoint before that, with a lower learning rate"
            )

    def _skipped(self, seen: dict[str, float | None]) -> Tick:
        return Tick(seen, None, None, None, None, None, dict(self.weights), skipped=True)

    def _learn(self, losses: dict[str, float]) -> Tick:
        """One tick of section 3.2 on finite losses of all types."""
        self._ticks += 1
        ratios = self._ratios(losses)
        for label, ratio in ratios.items():
            self._curves[label].push(ratio)
        self._largest_curve.push(max(ratios.values()))
        seen: dict[str, float | None] = dict(losses)
        if self._ticks <= self.plan.warmup:
            return Tick(seen, ratios, None, None, None, None, dict(self.weights), skipped=False)
        slopes = {label: curve.slope for label, curve in self._curves.items()}
        if self._factor is None:
            return Tick(seen, ratios, slopes, None, None, None, dict(self.weights), skipped=False)

        released = self.plan.method == "released"
        epsilon = EPSILON_RELEASED if released else EPSILON
        balance = self._balance(slopes, epsilon)
        stability = softmax([self._stability_logit(label, slope, epsilon) for label, slope in slopes.items()])
        if released:
            factor = self._factor.push(self._largest_curve.slope)
            wanted = weights_released(factor, balance, stability, self.plan.floor)
        else:
            factor = self._factor.push(*self._largest(slopes))
            wanted = raise_to_floor(mix(factor, balance, stability), self.plan.floor)
        self.weights = self._named(blend_weights(list(self.weights.values()), wanted, self.plan.weight_momentum))
        tbs, tss = self._named(balance), self._named(stability)
        return Tick(seen, ratios, slopes, tbs, tss, factor, dict(self.weights), skipped=False)

    def _ratios(self, losses: dict[str, float]) -> dict[str, float]:
        """Losses over the first ones, so that easy and hard types compare; the released program takes them raw."""
        if not self._first:
            self._first = dict(losses)
        return _over(losses, self._first, self.plan)

    def _balance(self, slopes: Mapping[str, float], epsilon: float) -> list[float]:
        """TBS of the window's slopes, or of what the whole run has done to each type (`slopes.change_since_start`)."""
        curves = self._curves
        if self.plan.tbs_horizon == "window":
            courses, errors = list(slopes.values()), [curve.slope_error for curve in curves.values()]
        else:
            starts = _over(self._first, self._first, self.plan)
            courses = [curve.mean - starts[label] for label, curve in curves.items()]
            errors = [curve.change_error for curve in curves.values()]
        return balance_scores(courses, epsilon, errors, self.plan.significance)

    def _largest(self, slopes: Mapping[str, float]) -> tuple[float, float]:
        """The slope that AF looks at, and its standard error: the most divergent of `af_types`."""
        share = (1 - ROUNDING) / len(self.types) if self.plan.af_types == "upweighted" else 0.0
        considered = [label for label in self.types if self.weights[label] >= share]
        found = [(slopes[label], self._curves[label].slope_error) for label in considered]
        return max(found, key=lambda one: (one[0] - self.plan.significance * one[1], one[0]))

    def _stability_logit(self, label: str, slope: float, epsilon: float) -> float:
        """What Eq. 8 takes the softmax of, after the type's newest slope."""
        moves = self._moves[label]
        moves.push(abs(slope))
        return -len(moves) * slope / (moves.total + epsilon)

    def _named(self, values: Sequence[float]) -> dict[str, float]:
        return dict(zip(self.types, values, strict=True))

    def _refuse_foreign(self, state: Mapping[str, Any]) -> None:
        if list(state["types"]) != list(self.types):
            raise CheckpointError(
                f"reweighting: the stored state is of the types {', '.join(state['types'])}, this run has "
                f"{', '.join(self.types)}; resume with the same types in the same order"
            )
        before = LEGACY_DEFAULTS | former_names.translate(dict(state["plan"]))
        plan = {name: value for name, value in asdict(self.plan).items() if name not in SHARPNESS}
        others = {name: before[name] for name, wanted in plan.items() if before[name] != wanted}
        if others:
            message = "; ".join(
                f"reweighting.{name}: the stored state has {stored}, this run {plan[name]}"
                for name, stored in others.items()
            )
            back = " ".join(f"--set reweighting.{name}={stored}" for name, stored in others.items())
            raise CheckpointError(f"{message}; resume with {back}, or start a new run")


def _over(losses: Mapping[str, float], first: Mapping[str, float], plan: Plan) -> dict[str, float]:
    """Losses over the first ones, or as they are for the released program."""
    if plan.method == "released":
        return dict(losses)
    return {label: loss / max(first[label], SMALLEST_FIRST_LOSS) for label, loss in losses.items()}


def _factor_of(plan: Plan) -> Factor | None:
    """AF as the method has it; None where there are no scores to choose between."""
    match plan.method:
        case "uniform":
            return None
        case "fixed-af":
            return ConstantFactor(0.5)
        case "no-tss":
            return ConstantFactor(1.0)
        case "no-tbs":
            return ConstantFactor(0.0)
        case "released":
            return ReleasedFactor(plan.tau, plan.window)
        case "full" | "paper":
            return AdaptiveFactor(plan.tau, plan.forget, plan.significance, printed=plan.method == "paper")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
