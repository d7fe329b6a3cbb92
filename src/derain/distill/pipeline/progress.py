"""How far a run is: what its callback is told."""

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
    """At that rate; None while nothing can be said."""


@dataclass
class Pace:
    """Makes `Progress` of counts."""

    phase: Phase
    total: int
    before: int = 0
    """Finished by earlier runs."""
    began: float = field(default_factory=time.monotonic)

    def at(self, done: int) -> Progress:
        """When so many of the total are finished, earlier ones among them."""
        seconds = time.monotonic() - self.began
        now = done - self.before
        rate = now / seconds if now and seconds > 0 else 0.0
        return Progress(self.phase, done, self.total, rate, (self.total - done) / rate if rate else None)
