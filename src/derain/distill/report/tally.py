"""Count a run: outcomes by source, type and reason; judges against each other; seconds of the stages.

One pass over the tables, batch by batch, so a run of millions takes no more memory than one of thousands.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from derain.distill.judges.interface import Decision, Outcome
from derain.distill.pipeline.schema import family
from derain.distill.results import iterate_batches
from derain.distill.review.agreement import AgreementTable


@dataclass(frozen=True)
class JudgeTally:
    """The verdicts of one judge on all candidates that it was asked about."""

    name: str
    decisions: Mapping[Decision, int]
    abstained_because: Mapping[str, int]
    """Reason of the abstention -> how often."""
    seconds: float
    """Altogether, of the verdicts whose time is known."""

    @property
    def asked(self) -> int:
        return sum(self.decisions.values())


@dataclass(frozen=True)
class StageTally:
    """The seconds a stage took."""

    name: str
    candidates: int
    seconds: float

    @property
    def seconds_each(self) -> float:
        return self.seconds / self.candidates if self.candidates else 0.0


@dataclass(frozen=True)
class Tally:
    """A run in numbers."""

    outcomes: Mapping[Outcome, int]
    sources: Mapping[str, Mapping[Outcome, int]]
    types: Mapping[str, Mapping[Outcome, int]]
    """An empty name stands for candidates whose type was not found out."""
    reasons: Mapping[Outcome, Mapping[str, int]]
    """Names of reasons without their particulars, most frequent first."""
    judges: tuple[JudgeTally, ...]
    pairs: tuple[AgreementTable, ...]
    """Two judges each, on the candidates on which both voted."""
    stages: tuple[StageTally, ...]
    """In the order in which a candidate goes through them."""

    @property
    def candidates(self) -> int:
        return sum(self.outcomes.values())


def tally_run(out: Path) -> Tally:
    """Count the tables of a run.

    Raises:
        DistillError: a table is damaged.
    """
    counted = _Counted()
    for outcome in Outcome:
        for batch in iterate_batches(out, outcome, ("source", "type", "reason", "verdicts", "stage_seconds")):
            for row in batch.to_pylist():
                counted.add(outcome, row)
    return counted.tally()


_BOTH_VOTES = ((True, True), (True, False), (False, True), (False, False))
"""Whether the one keeps, and the other: in the order of an `AgreementTable`."""


class _Counted:
    """Sums over the rows so far."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.sources: dict[str, Counter[Outcome]] = defaultdict(Counter)
        self.types: dict[str, Counter[Outcome]] = defaultdict(Counter)
        self.reasons: dict[Outcome, Counter[str]] = {outcome: Counter() for outcome in Outcome}
        self.decisions: dict[str, Counter[Decision]] = defaultdict(Counter)
        self.abstentions: dict[str, Counter[str]] = defaultdict(Counter)
        self.judge_seconds: dict[str, float] = defaultdict(float)
        self.pairs: dict[tuple[str, str], Counter[tuple[bool, bool]]] = defaultdict(Counter)
        self.stages: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])

    def add(self, outcome: Outcome, row: dict[str, Any]) -> None:
        self.outcomes[outcome] += 1
        self.sources[row["source"] or ""][outcome] += 1
        self.types[row["type"] or ""][outcome] += 1
        self.reasons[outcome][family(row["reason"] or "")] += 1
        votes: dict[str, bool] = {}
        for verdict in row["verdicts"] or ():
            judge, decision = verdict["judge"], Decision(verdict["decision"])
            self.decisions[judge][decision] += 1
            self.judge_seconds[judge] += verdict["seconds"] or 0.0
            if decision is Decision.ABSTAIN:
                self.abstentions[judge][family(verdict["reason"] or "")] += 1
            else:
                votes[judge] = decision is Decision.KEEP
        for one, other in combinations(sorted(votes), 2):
            self.pairs[one, other][votes[one], votes[other]] += 1
        for stage, seconds in row["stage_seconds"] or ():
            if seconds is not None:
                self.stages[stage][0] += 1
                self.stages[stage][1] += seconds

    def tally(self) -> Tally:
        names = sorted(self.decisions)
        return Tally(
            outcomes={outcome: self.outcomes[outcome] for outcome in Outcome},
            sources=dict(sorted(self.sources.items())),
            types=dict(sorted(self.types.items())),
            reasons={outcome: _most_first(counter) for outcome, counter in self.reasons.items()},
            judges=tuple(
                JudgeTally(
                    name,
                    {decision: self.decisions[name][decision] for decision in Decision},
                    _most_first(self.abstentions[name]),
                    self.judge_seconds[name],
                )
                for name in names
            ),
            pairs=tuple(
                AgreementTable(*pair, *(self.pairs[pair][votes] for votes in _BOTH_VOTES))
                for pair in combinations(names, 2)
            ),
            stages=tuple(StageTally(name, int(count), seconds) for name, (count, seconds) in self.stages.items()),
        )


def _most_first(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))
