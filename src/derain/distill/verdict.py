"""What a judge answers: keep, drop, or no answer; each with its named reason."""

from dataclasses import dataclass
from enum import StrEnum


class Decision(StrEnum):
    """Whether a candidate is to be trusted. Abstaining is no vote."""

    KEEP = "keep"
    DROP = "drop"
    ABSTAIN = "abstain"


@dataclass(frozen=True)
class Verdict:
    """One judge's answer on one candidate."""

    judge: str
    """The judge's name."""
    decision: Decision
    score: float | None
    """How far the judge is from changing its mind, above 0 for keep, in the judge's own unit (for a language model,
    log P(yes) - log P(no) - bias); None where it gives none."""
    reason: str
    """A short name for why, such as `looks_real`, `blurred_background`, `unreadable_reply`."""
    reply: str = ""
    """What a language model said, word for word."""

    def __post_init__(self) -> None:
        if not self.reason:
            raise ValueError(f"verdict of {self.judge} has no reason")
