"""The methods of reweighting by name, and what each of them takes where the settings say nothing."""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import Field, model_validator

from derain.errors import SettingsError
from derain.objectives import former_names
from derain.settings import Settings

Method = Literal["full", "paper", "released", "fixed-af", "no-tss", "no-tbs", "uniform"]
Signal = Literal["probe", "training"]
ProbeWeights = Literal["ema", "current"]
AfTypes = Literal["all", "upweighted"]
TbsHorizon = Literal["window", "run"]
OURS: tuple[Method, ...] = ("full", "fixed-af", "no-tss", "no-tbs")
"""Eq. 6-10 as corrected here, and the same with a part taken out."""
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """Settings with every value filled in; the fields are those of `ReweightSettings`."""

    method: Method
    signal: Signal
    every_steps: int
    window: int
    warmup: int
    tau: float
    forget: float
    floor: float
    af_types: AfTypes
    significance: float
    tbs_horizon: TbsHorizon
    weight_momentum: float
    probe_crops: int
    probe_weights: ProbeWeights
    smoothing: float


class ReweightSettings(Settings):
    """How the types are weighted against each other; None takes the method's own value."""

    method: Method = "uniform"
    """`full`: Eq. 6-10 as corrected here. `paper`: as printed. `released`: as the paper's program computes them.
    `fixed-af`, `no-tss`, `no-tbs`: `full` with AF 0.5, 1, 0. `uniform`: all types weigh the same."""
    signal: Signal | None = None
    """Which losses are looked at: `probe`, of fixed held-out crops; `training`, of the batches. (`paper`: training, all
    others: probe.)"""
    every_steps: int | None = Field(default=None, ge=1)
    """Steps from tick to tick. (`paper`: 1. All others: 500 with the probe, 50 with the training losses; the released
    program ticks once an epoch of its data, for which 500 stands here.)"""
    window: int | None = Field(default=None, ge=2)
    """Ticks N over which a slope is taken. (10; 40 with the training losses, but for `paper`.)"""
    warmup: int | None = Field(default=None, ge=1)
    """Ticks during which all types weigh the same. (As many as the window; `released`: 20.)"""
    tau: float | None = Field(default=None, ge=0, le=1e6)
    """Sharpness of AF. (5. Of no effect where AF is fixed.)"""
    forget: float | None = Field(default=None, gt=0, le=1)
    """What AF's past counts a tick later; 1 forgets nothing. (0.98; `paper`: 1. Of no effect where AF is fixed, nor on
    `released`, which looks back over one window.)"""
    floor: float | None = Field(default=None, ge=0)
    """Least weight of a type, at most 1/K of K types. (0.4/K; `paper`: 0; `released`: 0.4/K, at most 0.1.)"""
    af_types: AfTypes | None = None
    """Types whose slopes AF is computed from: `all`, or the `upweighted` ones, whose weight is an equal share or more;
    a type that diverges with less weight is undertrained, not unstable. (all.)"""
    significance: float | None = Field(default=None, ge=0, le=1e6)
    """Standard errors that a slope must lie above 0 before AF falls; in TBS, the change of a type counts as at least so
    many of its standard errors. 0: AF compares slopes with earlier ones, as Eq. 9 does, and falls also where
    convergence slows down. (`full` and its ablations: 3. Of no effect on the others.)"""
    tbs_horizon: TbsHorizon | None = None
    """What TBS compares between the types: the slopes over the `window`, as Eq. 7 does, or the change of each loss over
    the whole `run`, since the first tick. (`full` and its ablations: run, all others: window.)"""
    weight_momentum: float | None = Field(default=None, ge=0, lt=1)
    """Share of the weights before in the weights after a tick; 0 takes the new ones at once. (`full` and its
    ablations: 1 - 1/window, all others: 0.)"""
    probe_crops: int = Field(default=16, ge=1)
    """Crops of each type in the probe."""
    probe_weights: ProbeWeights | None = None
    """Network whose losses the probe measures: the EMA (`ema`), which is what a run exports, or the `current` weights.
    (`released`: current, all others: ema; docs/reweighting.md gives the reason.)"""
    smoothing: float | None = Field(default=None, ge=0, lt=1)
    """What a training loss counts one batch of its type later; 0 takes the last loss alone. (0.99; `paper`: 0. Of no
    effect with the probe.)"""

    @model_validator(mode="before")
    @classmethod
    def _translate_former_names(cls, values: Any) -> Any:
        return former_names.translate(values) if isinstance(values, dict) else values

    def uses_probe(self, types_count: int) -> bool:
        """Whether losses of held-out crops are looked at."""
        plan = self.plan(types_count)
        return plan.method != "uniform" and plan.signal == "probe"

    def plan(self, types_count: int) -> Plan:
        """The settings with what they leave to the method filled in, for `types_count` >= 1 types.

        Raises:
            SettingsError: the floor is more than an equal share.
        """
        paper, released, ours = self.method == "paper", self.method == "released", self.method in OURS
        signal: Signal = self.signal or ("training" if paper else "probe")
        averaged = signal == "training" and not paper
        window = _or(self.window, 40 if averaged else 10)
        share = 1 / types_count
        own_floor = 0.0 if paper else min(0.1, 0.4 * share) if released else 0.4 * share
        floor = _or(self.floor, own_floor)
        if floor > share:
            raise SettingsError(
                f"reweighting.floor: wanted at most {share:.4g}, an equal share of {types_count} types, got {floor}; "
                "lower it, or leave it out"
            )
        return Plan(
            method=self.method,
            signal=signal,
            every_steps=_or(self.every_steps, 1 if paper else 50 if averaged else 500),
            window=window,
            warmup=_or(self.warmup, 20 if released else window),
            tau=_or(self.tau, 5.0),
            forget=_or(self.forget, 1.0 if paper or released else 0.98),
            floor=floor,
            af_types=_or(self.af_types, "all"),
            significance=_or(self.significance, 3.0) if ours else 0.0,
            tbs_horizon=_or(self.tbs_horizon, "run" if ours else "window"),
            weight_momentum=_or(self.weight_momentum, 1 - 1 / window if ours else 0.0),
            probe_crops=self.probe_crops,
            probe_weights=_or(self.probe_weights, "current" if released else "ema"),
            smoothing=_or(self.smoothing, 0.0 if paper else 0.99),
        )


def _or(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value
