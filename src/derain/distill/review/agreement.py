"""How far judges and persons agree: the agreement study of UniRain's supplement (Table 2), with its uncertainty."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from derain.distill.judges.interface import Decision, Outcome
from derain.distill.results import ResultRow, check_run, rows_of
from derain.distill.review.votes import VOTES_NAME, read_votes
from derain.errors import DistillError

VOTE = "vote"
"""Stands among the judges for what came of their votes."""
ALL_PERSONS = "all persons"
"""Every vote of every person counts once. Votes on one pair are correlated, so the true interval is wider."""
MAJORITY = "majority"
"""Every pair counts once, with the answer of most persons; pairs on which they are evenly split are left out."""


@dataclass(frozen=True)
class AgreementTable:
    """How two raters agree on the pairs that both rated."""

    first: str
    """Name of a judge, or `VOTE`."""
    second: str
    """Name of another judge or of a person, `ALL_PERSONS` or `MAJORITY`."""
    both_yes: int
    only_first: int
    """The first took the rain for real, the second did not."""
    only_second: int
    both_no: int

    @property
    def rated(self) -> int:
        return self.both_yes + self.only_first + self.only_second + self.both_no

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
        """Cohen's kappa, (p_o - p_e) / (1 - p_e); None where it is not defined: no pairs, or one answer to all.

        p_o is the share they agree on, p_e the share they would agree on if each kept its habit and chose blindly
        (Cohen, "A coefficient of agreement for nominal scales", 1960). 1 is full agreement, 0 what chance gives.
        """
        if not self.rated:
            return None
        first, second = ((self.both_yes + only) / self.rated for only in (self.only_first, self.only_second))
        return _beyond_chance(self.agreed / self.rated, first * second + (1 - first) * (1 - second))


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, as (low, high) within [0, 1]; (0, 1) without trials.

    It stays sensible for few trials and for shares of 0 and 1 (Wilson, "Probable inference, the law of succession, and
    statistical inference", 1927).
    """
    from scipy.stats import binomtest

    if trials == 0:
        return 0.0, 1.0
    low, high = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(low), float(high)


def fleiss_kappa(ratings: Sequence[tuple[int, int]]) -> float | None:
    """Agreement of several raters beyond chance; `ratings` are the (yes, no) counts of each item.

    Fleiss, "Measuring nominal scale agreement among many raters", 1971. Items need not be rated by equally many:
    each counts with the share of pairs of its raters that agree, and those rated by fewer than two are left out. None
    where it is not defined: nothing is left, or all answers are the same.
    """
    rated = [(yes, no) for yes, no in ratings if yes + no >= 2]
    if not rated:
        return None
    agreeing = [(yes * (yes - 1) + no * (no - 1)) / ((yes + no) * (yes + no - 1)) for yes, no in rated]
    share = sum(yes for yes, _ in rated) / sum(yes + no for yes, no in rated)
    return _beyond_chance(math.fsum(agreeing) / len(rated), share**2 + (1 - share) ** 2)


def _beyond_chance(observed: float, chance: float) -> float | None:
    return None if math.isclose(chance, 1) else (observed - chance) / (1 - chance)


@dataclass(frozen=True)
class Agreement:
    """What an agreement study found."""

    persons: tuple[str, ...]
    pairs: int
    """Pairs that at least one person voted on, and that the run still holds as kept or dropped."""
    votes: int
    """Votes on these pairs that count: the last of each person."""
    tables: tuple[AgreementTable, ...]
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

    def table(self, judge: str, person: str) -> AgreementTable:
        """That of a judge and a person by name."""
        return next(each for each in self.tables if (each.first, each.second) == (judge, person))


def agreement(out: Path) -> Agreement:
    """Compare the votes beside a run with the verdicts of its judges.

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
    ratings: dict[str, dict[str, bool]] = defaultdict(dict)
    for (person, pair), line in sorted(votes.latest.items()):
        if pair in rows:
            ratings[pair][person] = line.real
    persons = tuple(sorted({person for rating in ratings.values() for person in rating}))
    counted = sum(len(rating) for rating in ratings.values())
    return Agreement(
        persons=persons,
        pairs=len(ratings),
        votes=counted,
        tables=tuple(_tables(rows, ratings, persons)),
        between=tuple(_between(ratings, persons)),
        fleiss=fleiss_kappa(
            [(sum(rating.values()), len(rating) - sum(rating.values())) for rating in ratings.values()]
        ),
        unmatched_votes=len(votes.latest) - counted,
        unreadable_lines=votes.unreadable_lines,
    )


def opinion_of(judge: str, row: ResultRow) -> bool | None:
    """Whether a judge (or `VOTE`) took a candidate for real; None where it abstained."""
    if judge == VOTE:
        return row.outcome is Outcome.KEPT
    for verdict in row.verdicts:
        if verdict.judge == judge and verdict.decision is not Decision.ABSTAIN:
            return verdict.decision is Decision.KEEP
    return None


def majority(rating: dict[str, bool]) -> bool | None:
    """The answer of most persons about a pair; None where they are evenly split."""
    margin = 2 * sum(rating.values()) - len(rating)
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
    for table in found.tables:
        low, high = table.interval
        share = "-" if table.share is None else f"{100 * table.share:.1f} %"
        interval = "-" if table.share is None else f"{100 * low:.1f} to {100 * high:.1f} %"
        lines.append(
            f"| {_cell(table.first)} | {_cell(table.second)} | {table.rated} | {share} | {interval} | "
            f"{_kappa(table.kappa)} |"
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


def _tables(
    rows: dict[str, ResultRow], ratings: dict[str, dict[str, bool]], persons: Sequence[str]
) -> Iterable[AgreementTable]:
    judges = sorted({verdict.judge for row in rows.values() for verdict in row.verdicts})
    for judge in (VOTE, *judges):
        opinions = {pair: opinion_of(judge, rows[pair]) for pair in ratings}
        if len(persons) > 1:
            votes = [(opinions[pair], vote) for pair, rating in ratings.items() for vote in rating.values()]
            yield _table(judge, ALL_PERSONS, votes)
            yield _table(judge, MAJORITY, [(opinions[pair], majority(rating)) for pair, rating in ratings.items()])
        for person in persons:
            yield _table(judge, person, [(opinions[pair], rating.get(person)) for pair, rating in ratings.items()])


def _table(judge: str, person: str, opinions: Iterable[tuple[bool | None, bool | None]]) -> AgreementTable:
    rated = [pair for pair in opinions if None not in pair]
    count: Callable[[tuple[bool, bool]], int] = rated.count
    return AgreementTable(
        judge, person, count((True, True)), count((True, False)), count((False, True)), count((False, False))
    )


def _between(ratings: dict[str, dict[str, bool]], persons: Sequence[str]) -> Iterable[tuple[str, str, int, int]]:
    for first, second in combinations(persons, 2):
        common = [rating for rating in ratings.values() if first in rating and second in rating]
        yield first, second, sum(rating[first] == rating[second] for rating in common), len(common)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _kappa(kappa: float | None) -> str:
    return "-" if kappa is None else f"{kappa:.2f}"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")
