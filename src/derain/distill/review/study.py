"""A blind study: which pairs of a run persons are shown, and in which order."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from derain.distill.pipeline.schema import Outcome
from derain.distill.results import ResultRow, check_run, sample_rows
from derain.errors import DistillError


@dataclass(frozen=True)
class Study:
    """Pairs to vote on."""

    pairs: tuple[ResultRow, ...]
    """Sorted by `ResultRow.key`, which says nothing of the outcome."""
    wanted: int
    """How many were asked for; fewer are there where the run has too few of one outcome."""
    seed: int

    @property
    def kept(self) -> int:
        """How many of the pairs the run kept."""
        return sum(row.outcome is Outcome.KEPT for row in self.pairs)


def draw_study(out: Path, count: int, seed: int = 0) -> Study:
    """Draw pairs of a run that were judged: half kept, half dropped, each half spread evenly over the types of rain.

    With an odd count, one more is kept. Where one half has too few, the other is not made larger: in a lopsided study,
    who always says yes would look wise. The same run and seed give the same pairs.

    Raises:
        DistillError: fewer than two pairs are asked for, there is no run, or it has no judged pair of one outcome.
    """
    if count < 2:
        raise DistillError(f"wanted a study of at least 2 pairs, one kept and one dropped; got {count}")
    check_run(out)
    halves = {Outcome.KEPT: count - count // 2, Outcome.DROPPED: count // 2}
    drawn = {outcome: sample_rows(out, outcome, size, seed, judged_only=True) for outcome, size in halves.items()}
    for outcome, rows in drawn.items():
        if not rows:
            raise DistillError(
                f"{out}: wanted {halves[outcome]} {outcome.value} pairs that were judged, and the run has none; "
                "a study needs pairs of both outcomes, so take a run over more candidates"
            )
    pairs = sorted((row for rows in drawn.values() for row in rows), key=lambda row: row.key)
    return Study(tuple(pairs), count, seed)


def order_for(study: Study, person: str) -> list[ResultRow]:
    """The pairs in a person's own order: the same whenever that person comes back, another for others."""

    def rank(row: ResultRow) -> bytes:
        return hashlib.sha256(f"{study.seed}\0{person}\0{row.key}".encode()).digest()

    return sorted(study.pairs, key=rank)
