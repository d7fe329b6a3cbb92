"""Verdicts of several judges joined to one outcome (UniRain, Eq. 5: keep where at least two of three say so).

Only keep and drop are votes; an abstention is none. A candidate is

- kept where more judges keep it than drop it, and more than half of all judges voted: two of three, both of two when
  the third abstains or cannot be asked, the only one of one;
- dropped where that many voted otherwise (a tie keeps nothing), or, as `undecided`, where all were asked and too few
  voted;
- pending where a judge that could not be asked might still change that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from derain.distill.judges.interface import Decision, Outcome, Verdict

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Vote:
    """What became of a candidate, and why."""

    outcome: Outcome
    reason: str
    """Such as `two_of_three_keep`, `two_of_two_drop`, `tied_one_to_one`, `undecided`, `judge_unavailable`."""


def join(verdicts: Sequence[Verdict], judges: int) -> Vote:
    """The outcome of the verdicts that came, out of `judges` that a run has; those without a verdict are unavailable.

    Raises:
        ValueError: there are no judges, or more verdicts than judges, or two of one judge.
    """
    keeps, drops = _count(verdicts, judges)
    if not is_settled(verdicts, judges):
        return Vote(Outcome.PENDING, "judge_unavailable")
    if keeps + drops < quorum(judges):
        return Vote(Outcome.DROPPED, "undecided")
    if keeps == drops:
        return Vote(Outcome.DROPPED, f"tied_{_word(keeps)}_to_{_word(drops)}")
    if keeps > drops:
        return Vote(Outcome.KEPT, f"{_word(keeps)}_of_{_word(keeps + drops)}_keep")
    return Vote(Outcome.DROPPED, f"{_word(drops)}_of_{_word(keeps + drops)}_drop")


def is_settled(verdicts: Sequence[Verdict], judges: int) -> bool:
    """Whether no judge has to be asked any more: enough voted, and those left could not change the outcome.

    Of three judges, two that agree settle it.

    Raises:
        ValueError: there are no judges, or more verdicts than judges, or two of one judge.
    """
    keeps, drops = _count(verdicts, judges)
    left = judges - len(verdicts)
    return left == 0 or (keeps + drops >= quorum(judges) and (keeps > drops + left or keeps + left <= drops))


def quorum(judges: int) -> int:
    """Votes without which nothing is decided: more than half of the judges."""
    return judges // 2 + 1


def _count(verdicts: Sequence[Verdict], judges: int) -> tuple[int, int]:
    """How many keep and how many drop."""
    names = [verdict.judge for verdict in verdicts]
    if judges < 1 or len(verdicts) > judges or len(set(names)) < len(names):
        raise ValueError(f"verdicts of {names} do not come from {judges} different judges")
    decisions = [verdict.decision for verdict in verdicts]
    return decisions.count(Decision.KEEP), decisions.count(Decision.DROP)


def _word(count: int) -> str:
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)
