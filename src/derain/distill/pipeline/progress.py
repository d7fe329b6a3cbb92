"""How far a run is: what its callback is given."""

import time
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["prepare", "judge"]


@dataclass(frozen=True)
class Progress:
    """The state of one phase of a run."""

    phase: Phase
    """`prepare`: pictures are read, compared and thinned; `judge`: candidates go through the models."""
    done: int
    """Candidates that are finished, those of earlier runs among them."""
    total: int
    rate: float
    """Candidates a second in this run so far, 0 before the first."""
    remaining_s: float | None
    """At that rate; None before the first."""


@dataclass
class Pace:
    """Makes `Progress` of counts."""

    phase: Phase
    total: int
    done: int = 0
    """At first those that earlier runs finished."""
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._before = self.done

    def advance(self, count: int) -> Progress:
        """When so many more are finished."""
        self.done += count
        seconds, now = time.monotonic() - self.began, self.done - self._before
        rate = now / seconds if now and seconds > 0 else 0.0
        return Progress(self.phase, self.done, self.total, rate, (self.total - self.done) / rate if rate else None)
