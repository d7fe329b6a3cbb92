"""Count a run: outcomes by source, type and reason; judges against each other; seconds of the stages.

One pass over the tables, batch by batch, so a run of millions takes no more memory than one of thousands.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from derain.distill.judges.interface import Decision
from derain.distill.pipeline.schema import Outcome, family
from derain.distill.results import iterate_batches
from derain.distill.review.agreement import AgreementTable

if TYPE_CHECKING:
    import pyarrow as pa

_NO_VERDICT = -1
_CODES = {Decision.DROP: 0, Decision.KEEP: 1, Decision.ABSTAIN: 2}


@dataclass(frozen=True)
class JudgeTally:
    """What one judge said of all candidates it was asked about."""

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
    columns = ("source", "type", "reason", "verdicts", "stage_seconds")
    for outcome in Outcome:
        for batch in iterate_batches(out, outcome, columns):
            counted.add(outcome, batch)
    return counted.tally()


class _Counted:
    """Sums over the batches so far."""

    def __init__(self) -> None:
        self.sources: dict[str, Counter[Outcome]] = defaultdict(Counter)
        self.types: dict[str, Counter[Outcome]] = defaultdict(Counter)
        self.reasons: dict[Outcome, Counter[str]] = {outcome: Counter() for outcome in Outcome}
        self.rows: Counter[Outcome] = Counter()
        self.decisions: Counter[tuple[str, Decision]] = Counter()
        self.abstentions: dict[str, Counter[str]] = defaultdict(Counter)
        self.judge_seconds: dict[str, float] = defaultdict(float)
        self.both: Counter[tuple[str, str, int, int]] = Counter()
        self.stages: dict[str, tuple[int, float]] = {}

    def add(self, outcome: Outcome, batch: "pa.RecordBatch") -> None:
        self.rows[outcome] += batch.num_rows
        for name, table in (("source", self.sources), ("type", self.types)):
            for value, count in _counts(batch.column(name)):
                table[value][outcome] += count
        for reason, count in _counts(batch.column("reason")):
            self.reasons[outcome][family(reason)] += count
        self._add_verdicts(batch.column("verdicts"))
        self._add_stages(batch.column("stage_seconds"))

    def _add_verdicts(self, verdicts: "pa.Array") -> None:
        import pyarrow.compute as pc

        rows = pc.list_parent_indices(verdicts).to_numpy()
        flat = pc.list_flatten(verdicts)
        if len(flat) == 0:
            return
        names, judges = _encoded(pc.struct_field(flat, "judge"))
        said, decisions = _encoded(pc.struct_field(flat, "decision"))
        codes = np.array([_CODES[Decision(name)] for name in said])[decisions]
        seconds = pc.fill_null(pc.struct_field(flat, "seconds"), 0.0).to_numpy()
        for place, name in enumerate(names):
            for decision, code in _CODES.items():
                self.decisions[name, decision] += int(((judges == place) & (codes == code)).sum())
            self.judge_seconds[name] += float(seconds[judges == place].sum(dtype=np.float64))
        abstained = np.flatnonzero(codes == _CODES[Decision.ABSTAIN])
        because = pc.struct_field(flat, "reason").take(abstained).to_pylist()
        for row, reason in zip(abstained, because, strict=True):
            self.abstentions[names[judges[row]]][family(reason or "")] += 1
        matrix: npt.NDArray[np.int64] = np.full((len(verdicts), len(names)), _NO_VERDICT, np.int64)
        matrix[rows, judges] = codes
        in_order = sorted(range(len(names)), key=lambda place: names[place])
        for one, other in combinations(in_order, 2):
            for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
                count = int(((matrix[:, one] == a) & (matrix[:, other] == b)).sum())
                self.both[names[one], names[other], a, b] += count

    def _add_stages(self, stages: "pa.Array") -> None:
        for cells in stages.to_pylist():
            for stage, seconds in cells or ():
                if seconds is not None:
                    count, total = self.stages.get(stage, (0, 0.0))
                    self.stages[stage] = (count + 1, total + seconds)

    def tally(self) -> Tally:
        names = sorted({name for name, _ in self.decisions})
        return Tally(
            outcomes={outcome: self.rows[outcome] for outcome in Outcome},
            sources=dict(sorted(self.sources.items())),
            types=dict(sorted(self.types.items())),
            reasons={outcome: dict(_most_first(counter)) for outcome, counter in self.reasons.items()},
            judges=tuple(
                JudgeTally(
                    name,
                    {decision: self.decisions[name, decision] for decision in Decision},
                    dict(_most_first(self.abstentions[name])),
                    self.judge_seconds[name],
                )
                for name in names
            ),
            pairs=tuple(
                AgreementTable(one, other, *(self.both[one, other, a, b] for a, b in ((1, 1), (1, 0), (0, 1), (0, 0))))
                for one, other in combinations(names, 2)
            ),
            stages=tuple(StageTally(name, count, seconds) for name, (count, seconds) in self.stages.items()),
        )


def _counts(column: "pa.Array") -> list[tuple[str, int]]:
    return [(cell["values"] or "", cell["counts"]) for cell in column.value_counts().to_pylist()]


def _encoded(column: "pa.Array") -> tuple[list[str], npt.NDArray[np.int64]]:
    """The different values, and which of them each cell holds."""
    encoded = column.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def _most_first(counter: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))
