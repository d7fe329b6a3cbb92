"""How far judges and persons agree: the agreement study of UniRain's supplement (Table 2), with its uncertainty."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from derain.distill.judges.interface import Decision
from derain.distill.pipeline.schema import Outcome
from derain.distill.results import ResultRow, check_run, rows_of
from derain.distill.review.statistics import cohen_kappa, fleiss_kappa, wilson_interval
from derain.distill.review.votes import VOTES_NAME, read_votes
from derain.errors import DistillError

VOTE = "vote"
"""Stands among the judges for what came of their votes."""
ALL_PERSONS = "all persons"
"""Every vote of every person counts once. Votes on one pair are alike, so the true interval is wider."""
MAJORITY = "majority"
"""Every pair counts once, with what most persons said of it; pairs on which they are evenly split are left out."""


@dataclass(frozen=True)
class Concord:
    """How two raters agree on the pairs that both rated."""

    judge: str
    """A judge's name, or `VOTE`."""
    person: str
    """A person's name, `ALL_PERSONS` or `MAJORITY`."""
    both_yes: int
    judge_only: int
    """The judge took the rain for real, the person did not."""
    person_only: int
    both_no: int

    @property
    def rated(self) -> int:
        return self.both_yes + self.judge_only + self.person_only + self.both_no

    @property
    def agreed(self) -> int:
        return self.both_yes + self.both_no

    @property
    def share(self) -> float | None:
        """Share of the pairs on which they agree; None without pairs."""
        return self.agreed / self.rated if self.rated else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        return wilson_interval(self.agreed, self.rated)

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa; None where it is not defined."""
        return cohen_kappa(self.both_yes, self.judge_only, self.person_only, self.both_no)


@dataclass(frozen=True)
class Agreement:
    """What an agreement study found."""

    persons: tuple[str, ...]
    pairs: int
    """Pairs that at least one person voted on, and that the run still holds as kept or dropped."""
    votes: int
    """Votes on these pairs that count: the last of each person."""
    concords: tuple[Concord, ...]
    """`VOTE` first, then each judge; of each, `ALL_PERSONS`, `MAJORITY`, then each person. One person alone is neither
    all nor a majority."""
    between: tuple[tuple[str, str, int, int], ...]
    """(person, person, pairs on which they agree, pairs that both voted on)."""
    fleiss: float | None
    """Fleiss' kappa among the persons; None where it is not defined."""
    unmatched_votes: int
    """Votes on pairs that the run no longer holds as kept or dropped."""
    unreadable_lines: int
    """Lines of the file of votes that were broken off."""

    def concord(self, judge: str, person: str) -> Concord:
        """That of a judge and a person by name.

        Raises:
            KeyError: there is none.
        """
        for concord in self.concords:
            if (concord.judge, concord.person) == (judge, person):
                return concord
        raise KeyError((judge, person))


def agreement(out: Path) -> Agreement:
    """Compare the votes beside a run with what its judges said.

    The pairs of a study are half kept and half dropped, whatever their shares in the run are; the figures hold for such
    a mixture.

    Raises:
        DistillError: there is no run, no vote, or a file cannot be read.
    """
    check_run(out)
    votes = read_votes(out / VOTES_NAME)
    if not votes.latest:
        raise DistillError(
            f"{out / VOTES_NAME}: no votes yet; let persons vote with `derain distill review {out} --study 20`"
        )
    keys = sorted({pair for _, pair in votes.latest})
    rows = {row.key: row for outcome in (Outcome.KEPT, Outcome.DROPPED) for row in rows_of(out, outcome, keys)}
    ballots: dict[str, dict[str, bool]] = defaultdict(dict)
    for (person, pair), line in sorted(votes.latest.items()):
        if pair in rows:
            ballots[pair][person] = line.real
    persons = tuple(sorted({person for ballot in ballots.values() for person in ballot}))
    counted = sum(len(ballot) for ballot in ballots.values())
    return Agreement(
        persons=persons,
        pairs=len(ballots),
        votes=counted,
        concords=tuple(_concords(rows, ballots, persons)),
        between=tuple(_between(ballots, persons)),
        fleiss=fleiss_kappa(
            [(sum(ballot.values()), len(ballot) - sum(ballot.values())) for ballot in ballots.values()]
        ),
        unmatched_votes=len(votes.latest) - counted,
        unreadable_lines=votes.unreadable_lines,
    )


def opinion_of(judge: str, row: ResultRow) -> bool | None:
    """Whether a judge (or `VOTE`) took a candidate for real; None where it did not say."""
    if judge == VOTE:
        return row.outcome is Outcome.KEPT
    for verdict in row.verdicts:
        if verdict.judge == judge and verdict.decision is not Decision.ABSTAIN:
            return verdict.decision is Decision.KEEP
    return None


def majority(ballot: dict[str, bool]) -> bool | None:
    """What most persons said of a pair; None where they are evenly split."""
    margin = 2 * sum(ballot.values()) - len(ballot)
    return None if margin == 0 else margin > 0


def agreement_lines(found: Agreement) -> list[str]:
    """The study as lines of text: a table in Markdown, and what persons have in common."""
    lines = [
        f"{_number(found.votes, 'vote')} of {_number(len(found.persons), 'person')} on {_number(found.pairs, 'pair')}; "
        "intervals are Wilson's at 95 %",
        "",
        "| judge | person | pairs | agreement | interval | kappa |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for concord in found.concords:
        low, high = concord.interval
        share = "-" if concord.share is None else f"{100 * concord.share:.1f} %"
        interval = "-" if concord.share is None else f"{100 * low:.1f} to {100 * high:.1f} %"
        lines.append(
            f"| {_cell(concord.judge)} | {_cell(concord.person)} | {concord.rated} | {share} | {interval} | "
            f"{_kappa(concord.kappa)} |"
        )
    agreed, common = (
        (sum(counts) for counts in zip(*(row[2:] for row in found.between), strict=True)) if (found.between) else (0, 0)
    )
    if common:
        low, high = wilson_interval(agreed, common)
        lines += [
            "",
            f"two persons agree on {100 * agreed / common:.1f} % of the pairs that both saw "
            f"({100 * low:.1f} to {100 * high:.1f} %); Fleiss' kappa {_kappa(found.fleiss)}",
        ]
    if found.unmatched_votes:
        lines += ["", f"left out: {_number(found.unmatched_votes, 'vote')} on pairs that the run no longer holds"]
    if found.unreadable_lines:
        lines += ["", f"left out: {_number(found.unreadable_lines, 'broken line')} of {VOTES_NAME}"]
    return lines


def _concords(
    rows: dict[str, ResultRow], ballots: dict[str, dict[str, bool]], persons: Sequence[str]
) -> Iterable[Concord]:
    judges = sorted({verdict.judge for row in rows.values() for verdict in row.verdicts})
    for judge in (VOTE, *judges):
        opinions = {pair: opinion_of(judge, rows[pair]) for pair in ballots}
        if len(persons) > 1:
            votes = [(opinions[pair], vote) for pair, ballot in ballots.items() for vote in ballot.values()]
            yield _concord(judge, ALL_PERSONS, votes)
            yield _concord(judge, MAJORITY, [(opinions[pair], majority(ballot)) for pair, ballot in ballots.items()])
        for person in persons:
            yield _concord(judge, person, [(opinions[pair], ballot.get(person)) for pair, ballot in ballots.items()])


def _concord(judge: str, person: str, opinions: Iterable[tuple[bool | None, bool | None]]) -> Concord:
    rated = [pair for pair in opinions if None not in pair]
    count: Callable[[tuple[bool, bool]], int] = rated.count
    return Concord(
        judge, person, count((True, True)), count((True, False)), count((False, True)), count((False, False))
    )


def _between(ballots: dict[str, dict[str, bool]], persons: Sequence[str]) -> Iterable[tuple[str, str, int, int]]:
    for first, second in combinations(persons, 2):
        common = [ballot for ballot in ballots.values() if first in ballot and second in ballot]
        yield first, second, sum(ballot[first] == ballot[second] for ballot in common), len(common)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _kappa(kappa: float | None) -> str:
    return "-" if kappa is None else f"{kappa:.2f}"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")
