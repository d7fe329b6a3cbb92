"""The methods of reweighting by name, and what each of them takes where the settings say nothing."""

from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import Field

from derain.errors import SettingsError
from derain.settings import Settings

Method = Literal["full", "paper", "released", "fixed-af", "no-tss", "no-tbs", "uniform"]
Signal = Literal["probe", "training"]
ProbedWeights = Literal["average", "present"]
Heard = Literal["all", "fed"]
Balanced = Literal["window", "run"]
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
    heard: Heard
    doubt: float
    balanced: Balanced
    inertia: float
    probe_crops: int
    probed: ProbedWeights
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
    heard: Heard | None = None
    """Whose slopes AF looks at: those of all types, or of those that are fed, which have an equal share of the weight
    or more; for a type that diverges with less is starved, not unstable. (all.)"""
    doubt: float | None = Field(default=None, ge=0, le=1e6)
    """So many of its standard errors must a slope lie above 0 before AF falls, and for so many of them a type's course
    counts in TBS at least. 0: AF compares slopes with those before, as Eq. 9 does, and falls also where convergence
    slows down. (`full` and its ablations: 3. Of no effect on the others.)"""
    balanced: Balanced | None = None
    """What TBS compares between the types: the slopes of the `window`, as Eq. 7 does, or what the whole `run` has done
    to each loss since the first tick. (`full` and its ablations: run, all others: window.)"""
    inertia: float | None = Field(default=None, ge=0, lt=1)
    """What the weights of one tick count at the next; 0 takes the new ones at once. (`full` and its
    ablations: 1 - 1/window, all others: 0.)"""
    probe_crops: int = Field(default=16, ge=1)
    """Crops of each type in the probe."""
    probed: ProbedWeights | None = None
    """Whose losses the probe measures: the running mean of the weights, which is what a run exports, or the weights as
    they are at that step. (`released`: present, all others: average. docs/reweighting.md tells why.)"""
    smoothing: float | None = Field(default=None, ge=0, lt=1)
    """What a training loss counts one batch of its type later; 0 takes the last loss alone. (0.99; `paper`: 0. Of no
    effect with the probe.)"""

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
            heard=_or(self.heard, "all"),
            doubt=_or(self.doubt, 3.0) if ours else 0.0,
            balanced=_or(self.balanced, "run" if ours else "window"),
            inertia=_or(self.inertia, 1 - 1 / window if ours else 0.0),
            probe_crops=self.probe_crops,
            probed=_or(self.probed, "present" if released else "average"),
            smoothing=_or(self.smoothing, 0.0 if paper else 0.99),
        )


def _or(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value
