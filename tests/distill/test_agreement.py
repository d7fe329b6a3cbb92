"""Agreement of judges and persons: the numbers against slow or known ones; votes that change, break or stray."""

import itertools
import json
import math

import numpy as np
import pytest
from run_samples import JUDGES, Pictures, iterate_rows, result_row, write_pictures, write_rows, write_run
from scipy.stats import norm

from derain.distill.judges.interface import Outcome
from derain.distill.review.agreement import (
    ALL_PERSONS,
    MAJORITY,
    VOTE,
    AgreementTable,
    agreement,
    agreement_lines,
    fleiss_kappa,
    majority,
    wilson_interval,
)
from derain.distill.review.votes import VOTES_NAME, VoteFile, read_votes, tidy_name
from derain.errors import DistillError


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Pictures:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def out(tmp_path, pictures):
    write_run(tmp_path / "run", pictures, kept=6, dropped=6)
    return tmp_path / "run"


def kappa(*counts: int) -> float | None:
    return AgreementTable("a", "b", *counts).kappa


def solved_interval(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Wilson's bounds as where |p^ - p| = z sqrt(p (1 - p) / n), found by halving."""
    z, share = norm.ppf(0.5 + confidence / 2), successes / trials

    def excess(p: float) -> float:
        return abs(share - p) - z * math.sqrt(p * (1 - p) / trials)

    def bound(inside: float, outside: float) -> float:
        for _ in range(200):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if excess(middle) <= 0 else (inside, middle)
        return inside

    return bound(share, 0.0), bound(share, 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(18, 20), (1, 2), (9, 10), (774, 860), (3, 50)])
def test_wilsons_interval_is_where_the_normal_test_turns(successes, trials):
    assert wilson_interval(successes, trials) == pytest.approx(solved_interval(successes, trials, 0.95), abs=1e-9)


def test_wilsons_interval_at_the_ends():
    low, high = wilson_interval(20, 20)
    assert (round(low, 4), high) == (0.8389, 1.0)  # 20 / (20 + 1.96^2)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 1 - low))
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_cohens_kappa_equals_what_lists_of_ratings_say():
    assert kappa(20, 5, 10, 15) == pytest.approx(0.4)  # the usual textbook table
    random = np.random.default_rng(0)
    for _ in range(50):
        first, second = random.random((2, 12)) < 0.5
        observed = np.mean(first == second)
        chance = np.mean([a == b for a, b in itertools.product(first, second)])
        found = kappa(*(int(((first == a) & (second == b)).sum()) for a, b in ((1, 1), (1, 0), (0, 1), (0, 0))))
        if chance == 1:
            assert found is None
        else:
            assert found == pytest.approx((observed - chance) / (1 - chance))


def test_kappas_that_are_not_defined():
    assert kappa(0, 0, 0, 0) is None
    assert kappa(7, 0, 0, 0) is None
    assert fleiss_kappa([(1, 0), (0, 1)]) is None
    assert fleiss_kappa([(3, 0), (2, 0)]) is None


def test_fleiss_kappa_equals_what_pairs_of_raters_say():
    random = np.random.default_rng(1)
    ratings = random.random((14, 5)) < 0.6
    agreeing = [np.mean([a == b for a, b in itertools.permutations(row, 2)]) for row in [list(row) for row in ratings]]
    chance = np.mean([a == b for a, b in itertools.product(ratings.ravel(), repeat=2)])
    expected = (np.mean(agreeing) - chance) / (1 - chance)
    counts = [(int(row.sum()), int((~row).sum())) for row in ratings]
    assert fleiss_kappa(counts) == pytest.approx(expected)
    assert fleiss_kappa([(4, 0), (0, 4)]) == pytest.approx(1)
    assert fleiss_kappa([(2, 2), (2, 2)]) == pytest.approx(-1 / 3)


def vote_as(out, person, opinions):
    votes = VoteFile(out / VOTES_NAME)
    for row, real in opinions:
        votes.add(person, row.key, row.id, real)


def rows(out):
    return [row for outcome in (Outcome.KEPT, Outcome.DROPPED) for row in iterate_rows(out, outcome)]


def test_a_person_who_says_what_the_vote_says_agrees_fully(out):
    vote_as(out, "Ada", [(row, row.outcome is Outcome.KEPT) for row in rows(out)])
    found = agreement(out)
    table = found.table(VOTE, "Ada")
    assert (table.rated, table.share, table.kappa) == (12, 1.0, 1.0)
    assert table.interval == wilson_interval(12, 12)
    # One person alone is told of once, not as all and as a majority besides.
    assert [(each.first, each.second) for each in found.tables] == [(name, "Ada") for name in (VOTE, *sorted(JUDGES))]
    assert [line for line in agreement_lines(found) if "| vote |" in line] == [
        "| vote | Ada | 12 | 100.0 % | 75.8 to 100.0 % | 1.00 |"
    ]


def test_each_judge_is_compared_on_what_it_voted_on(out):
    vote_as(out, "Ada", [(row, True) for row in rows(out)])
    found = agreement(out)
    for judge in JUDGES:
        said = [v.decision for row in rows(out) for v in row.verdicts if v.judge == judge]
        table = found.table(judge, "Ada")
        assert (table.both_yes, table.only_second) == (said.count("keep"), said.count("drop"))
        assert table.rated == len(said) - said.count("abstain")
    assert found.table("rain-layer", "Ada").rated < 12, "abstentions are there, and are no votes"


def test_persons_are_pooled_by_vote_and_by_majority(out):
    listed = rows(out)
    vote_as(out, "Ada", [(row, True) for row in listed])
    vote_as(out, "Bob", [(row, row.outcome is Outcome.KEPT) for row in listed])
    vote_as(out, "Cem", [(row, row.outcome is Outcome.KEPT) for row in listed[:8]])
    found = agreement(out)
    pooled, joined = found.table(VOTE, ALL_PERSONS), found.table(VOTE, MAJORITY)
    assert (found.persons, found.pairs, found.votes) == (("Ada", "Bob", "Cem"), 12, 32)
    assert (pooled.rated, pooled.agreed) == (32, 6 + 12 + 8)
    # Of the dropped pairs Ada and Bob are split on the four that Cem did not see.
    assert (joined.rated, joined.agreed) == (8, 8)
    assert found.between == (("Ada", "Bob", 6, 12), ("Ada", "Cem", 6, 8), ("Bob", "Cem", 8, 8))
    assert found.fleiss == fleiss_kappa([(3, 0)] * 6 + [(1, 2)] * 2 + [(1, 1)] * 4)
    assert [each.second for each in found.tables[:5]] == [ALL_PERSONS, MAJORITY, "Ada", "Bob", "Cem"]
    text = "\n".join(agreement_lines(found))
    assert "32 votes of 3 persons on 12 pairs" in text
    assert "| vote | all persons | 32 | 81.2 % |" in text
    assert "two persons agree on 71.4 %" in text


def test_the_majority_of_a_tie_is_none():
    assert [majority(dict(zip("abc", votes, strict=False))) for votes in ([1, 1, 0], [0, 0, 1], [1, 0])] == [
        True,
        False,
        None,
    ]


def test_the_last_vote_counts_and_broken_lines_are_named(out):
    row = rows(out)[0]
    vote_as(out, "Ada", [(row, False)])
    with (out / VOTES_NAME).open("ab") as file:
        file.write(b'{"person": "Ada", "pair": ')  # the power went
    vote_as(out, "Ada", [(row, True)])
    assert (out / VOTES_NAME).read_text().count("\n") == 3
    found = agreement(out)
    assert (found.votes, found.unreadable_lines) == (1, 1)
    assert found.table(VOTE, "Ada").both_yes == 1
    assert "left out: 1 broken line of votes.jsonl" in agreement_lines(found)


def test_lines_that_are_json_but_no_votes_are_counted(tmp_path):
    path = tmp_path / VOTES_NAME
    good = {"person": "A", "pair": "p", "id": "i", "real": True, "at": "2026-01-01T00:00:00+00:00"}
    lines = [good, [1], {**good, "real": "yes"}, {**good, "pair": 3}, {"person": "A"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    votes = read_votes(path)
    assert votes.unreadable_lines == 4
    assert list(votes.latest) == [("A", "p")]


def test_votes_on_pairs_that_the_run_no_longer_holds_are_left_out_and_counted(out, pictures):
    vote_as(out, "Ada", [(row, True) for row in rows(out)])
    write_rows(out, Outcome.KEPT, [result_row(pictures, Outcome.KEPT, number) for number in range(4)])
    found = agreement(out)
    assert (found.pairs, found.unmatched_votes) == (10, 2)
    assert "left out: 2 votes on pairs that the run no longer holds" in agreement_lines(found)


def test_without_votes_or_run_it_is_said_what_to_do(out, tmp_path):
    with pytest.raises(DistillError, match=r"no votes yet.*--study 20"):
        agreement(out)
    with pytest.raises(DistillError, match=r"kept\.parquet, .* and pyramid\.json are not there"):
        agreement(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["", "  ", "a" * 65, "A\x00B"])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(DistillError, match="wanted a name"):
        tidy_name(name)


def test_names_are_tidied():
    assert tidy_name("  Ada \n Lovelace ") == "Ada Lovelace"


def test_writers_of_one_file_do_not_mix_their_lines(out):
    from concurrent.futures import ThreadPoolExecutor

    files = [VoteFile(out / VOTES_NAME) for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: files[n % 3].add(f"person {n}", "p" * 200, "i", n % 2 == 0), range(60)))
    votes = read_votes(out / VOTES_NAME)
    assert (len(votes.latest), votes.unreadable_lines) == (60, 0)
    assert all(line.real == (int(person.split()[1]) % 2 == 0) for (person, _), line in votes.latest.items())
