"""Votes joined: every combination of three judges, judges that are missing, and when a cascade may stop."""

from collections import Counter
from collections.abc import Sequence
from itertools import permutations, product

import pytest

from derain.distill.judges.interface import Decision, Outcome, Verdict
from derain.distill.judges.vote import Vote, is_settled, join

KEEP, DROP, ABSTAIN = Decision.KEEP, Decision.DROP, Decision.ABSTAIN

TABLE = {
    # keep, drop, abstain -> what becomes of the candidate
    (3, 0, 0): Vote(Outcome.KEPT, "three_of_three_keep"),
    (2, 1, 0): Vote(Outcome.KEPT, "two_of_three_keep"),
    (2, 0, 1): Vote(Outcome.KEPT, "two_of_two_keep"),
    (1, 2, 0): Vote(Outcome.DROPPED, "two_of_three_drop"),
    (0, 3, 0): Vote(Outcome.DROPPED, "three_of_three_drop"),
    (0, 2, 1): Vote(Outcome.DROPPED, "two_of_two_drop"),
    (1, 1, 1): Vote(Outcome.DROPPED, "tied_one_to_one"),
    (1, 0, 2): Vote(Outcome.DROPPED, "undecided"),
    (0, 1, 2): Vote(Outcome.DROPPED, "undecided"),
    (0, 0, 3): Vote(Outcome.DROPPED, "undecided"),
}
"""Of three judges that all answered."""


def verdicts(decisions: Sequence[Decision]) -> list[Verdict]:
    return [Verdict(f"judge {number}", decision, None, "said so") for number, decision in enumerate(decisions)]


@pytest.mark.parametrize("decisions", list(product(Decision, repeat=3)), ids="-".join)
def test_three_judges(decisions: tuple[Decision, ...]) -> None:
    counts = Counter(decisions)
    vote = join(verdicts(decisions), 3)
    assert vote == TABLE[counts[KEEP], counts[DROP], counts[ABSTAIN]]
    assert (vote.outcome is Outcome.KEPT) == (decisions.count(KEEP) >= 2)  # Eq. 5
    assert is_settled(verdicts(decisions), 3)


@pytest.mark.parametrize(
    ("decisions", "vote"),
    [
        ((KEEP, KEEP), Vote(Outcome.KEPT, "two_of_two_keep")),
        ((DROP, DROP), Vote(Outcome.DROPPED, "two_of_two_drop")),
        ((KEEP, DROP), Vote(Outcome.PENDING, "judge_unavailable")),
        ((KEEP, ABSTAIN), Vote(Outcome.PENDING, "judge_unavailable")),
        ((DROP, ABSTAIN), Vote(Outcome.PENDING, "judge_unavailable")),
        ((ABSTAIN, ABSTAIN), Vote(Outcome.PENDING, "judge_unavailable")),
        ((KEEP,), Vote(Outcome.PENDING, "judge_unavailable")),
        ((), Vote(Outcome.PENDING, "judge_unavailable")),
    ],
)
def test_three_judges_of_whom_some_are_unavailable(decisions: tuple[Decision, ...], vote: Vote) -> None:
    assert join(verdicts(decisions), 3) == vote
    assert is_settled(verdicts(decisions), 3) == (vote.outcome is not Outcome.PENDING)


@pytest.mark.parametrize(
    ("decisions", "outcome", "reason"),
    [
        ((KEEP,), Outcome.KEPT, "one_of_one_keep"),
        ((DROP,), Outcome.DROPPED, "one_of_one_drop"),
        ((ABSTAIN,), Outcome.DROPPED, "undecided"),
        ((KEEP, KEEP), Outcome.KEPT, "two_of_two_keep"),
        ((KEEP, DROP), Outcome.DROPPED, "tied_one_to_one"),
        ((KEEP, ABSTAIN), Outcome.DROPPED, "undecided"),
        ((KEEP, KEEP, DROP, DROP), Outcome.DROPPED, "tied_two_to_two"),
        ((KEEP, KEEP, DROP, ABSTAIN), Outcome.KEPT, "two_of_three_keep"),
        ((KEEP, KEEP, ABSTAIN, ABSTAIN), Outcome.DROPPED, "undecided"),
        ((KEEP, KEEP, KEEP, DROP, DROP), Outcome.KEPT, "three_of_five_keep"),
        ((KEEP, KEEP, DROP, ABSTAIN, ABSTAIN), Outcome.KEPT, "two_of_three_keep"),
        ((KEEP,) * 11, Outcome.KEPT, "11_of_11_keep"),
    ],
)
def test_other_numbers_of_judges(decisions: tuple[Decision, ...], outcome: Outcome, reason: str) -> None:
    assert join(verdicts(decisions), len(decisions)) == Vote(outcome, reason)


@pytest.mark.parametrize("judges", [1, 2, 3, 4, 5])
def test_settled_is_what_no_further_judge_can_change(judges: int) -> None:
    for asked in range(judges + 1):
        for decisions in product(Decision, repeat=asked):
            futures = {
                join(verdicts([*decisions, *rest]), judges).outcome for rest in product(Decision, repeat=judges - asked)
            }
            enough = sum(decision is not ABSTAIN for decision in decisions) > judges / 2
            settled = is_settled(verdicts(decisions), judges)
            assert settled == (asked == judges or (enough and len(futures) == 1))
            outcome = join(verdicts(decisions), judges).outcome
            assert futures == {outcome} if settled else outcome is Outcome.PENDING


def test_a_cascade_ends_as_the_full_vote_does_in_whatever_order() -> None:
    for decisions in product(Decision, repeat=3):
        full = join(verdicts(decisions), 3).outcome
        for order in permutations(verdicts(decisions)):
            asked = next(count for count in range(4) if is_settled(order[:count], 3))
            assert join(order[:asked], 3).outcome is full
            if order[0].decision is order[1].decision is not ABSTAIN:
                assert asked == 2


@pytest.mark.parametrize(("decisions", "judges"), [((), 0), ((KEEP, KEEP), 1), ((), -1)])
def test_verdicts_from_nowhere_are_refused(decisions: tuple[Decision, ...], judges: int) -> None:
    with pytest.raises(ValueError, match="different judges"):
        join(verdicts(decisions), judges)


def test_one_judge_has_one_vote() -> None:
    twice = [Verdict("same", KEEP, None, "said so"), Verdict("same", KEEP, None, "said so")]
    with pytest.raises(ValueError, match="different judges"):
        is_settled(twice, 3)
