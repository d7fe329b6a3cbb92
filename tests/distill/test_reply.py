"""Replies read as yes, no or neither: words by a table and by properties, log-probabilities against plain sums."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from derain.backends.chat import Token
from derain.distill.judges.interface import Decision
from derain.distill.judges.reply import (
    NO_WORDS,
    UNREADABLE,
    YES_WORDS,
    log_sum,
    read_margin,
    read_reply,
    read_words,
    token_answer,
    word_variants,
)

KEEP, DROP, ABSTAIN = Decision.KEEP, Decision.DROP, Decision.ABSTAIN


@pytest.mark.parametrize(
    ("reply", "decision"),
    [
        ("True", KEEP),
        ("true.", KEEP),
        (" YES!\n", KEEP),
        ("**True**", KEEP),
        ("1", KEEP),
        ("Answer: 1.", KEEP),
        ("Answer: True", KEEP),
        ("The rain looks real.", KEEP),
        ('{"answer": true}', KEEP),
        ("Yes, it is real", KEEP),
        ("<think>Could be false, or fake.</think>True", KEEP),
        ("False", DROP),
        ("no", DROP),
        ("0", DROP),
        ("It is fake", DROP),
        ("unreal", DROP),
        ("Synthetic rain.", DROP),
        ("False: the streaks look synthetic", DROP),
        ("<think>\nIs it real? Yes...\n</think>\n\nFalse", DROP),
        ("", ABSTAIN),
        ("   ", ABSTAIN),
        ("True or False?", ABSTAIN),
        ("Yes and no", ABSTAIN),
        ("Looks realistic", ABSTAIN),
        ("untrue", ABSTAIN),
        ("nothing", ABSTAIN),
        ("None", ABSTAIN),
        ("surreal", ABSTAIN),
        ("Not real", ABSTAIN),
        ("It isn't real", ABSTAIN),
        ("It isn’t fake", ABSTAIN),
        ("not true", ABSTAIN),
        ("10", ABSTAIN),
        ("0.5", ABSTAIN),
        ("1 0", ABSTAIN),
        ("In picture 1 the streaks are longer", ABSTAIN),
        ("I cannot answer that.", ABSTAIN),
        ("<think>It is true that", ABSTAIN),
        ("ja", ABSTAIN),
        ("True, the streaks look natural", KEEP),
        ("No.", DROP),
        ("**No**", DROP),
        ("**No**, the streaks repeat", DROP),
        ("No, the streaks repeat.", DROP),
        ("No - the streaks repeat", DROP),
        ("No\nThe streaks repeat", DROP),
        ("No... it is pasted", DROP),
        ("Answer: No", DROP),
        ("My answer is: no.", DROP),
        ("The answer is no, for the streaks repeat", DROP),
        ('{"answer": "no"}', DROP),
        ('{"answer": "no", "why": "streaks repeat"}', DROP),
        ("<answer>No</answer>", DROP),
        ("There are no blurred streaks. Answer: no", DROP),
        ("No, fake", DROP),
        ("False: no motion blur", DROP),
        ("The rain looks fake, with no blur", DROP),
        ("There are no pasted streaks.", ABSTAIN),
        ("No artifacts, streaks look natural", ABSTAIN),
        ("**No** artifacts", ABSTAIN),
        ("No  artifacts.", ABSTAIN),
        ("I see no problem", ABSTAIN),
        ("As far as I can see there are no", ABSTAIN),
        ("Picture no. 2 has longer streaks", ABSTAIN),
        ("Pasted patterns: no", ABSTAIN),
        ("Answer: no artifacts", ABSTAIN),
        ("There are no fake streaks", ABSTAIN),
        ("No sign of synthetic rain", ABSTAIN),
        ("Nothing looks fake", ABSTAIN),
        ("No real streaks", ABSTAIN),
        ("There is no real rain.", ABSTAIN),
        ("No one would call it true", ABSTAIN),
        ("It lacks real streaks", ABSTAIN),
        ("Real streaks are lacking", ABSTAIN),
        ("Real streaks are missing", ABSTAIN),
        ("Without real streaks", ABSTAIN),
        ("It fails to look real", ABSTAIN),
        ("Far from real", ABSTAIN),
        ("Unlikely to be real", ABSTAIN),
        ("I doubt that it is real", ABSTAIN),
        ("False. The streaks lack depth.", DROP),
        ("False, the rain fails to blur", DROP),
        ("No (the streaks repeat, none is blurred)", DROP),
        ("Verdict: No", DROP),
        ("True. The streaks do not repeat.", KEEP),
        ("True, without doubt", KEEP),
        ("True, but it is not real", ABSTAIN),
        ("True, but it lacks a real blur", ABSTAIN),
        ("False, it is not fake", ABSTAIN),
        ("No, it is real", ABSTAIN),
    ],
)
def test_words(reply: str, decision: Decision) -> None:
    reading = read_words(reply)
    assert reading.decision is decision
    assert reading.score is None
    names = {KEEP: "looks_real", DROP: "looks_unreal", ABSTAIN: "unreadable_reply"}
    assert reading.reason == names[decision]


SPACE = st.text(" \n\t.,!*\"'", max_size=4)


@given(st.sampled_from((*YES_WORDS, *NO_WORDS)), st.sampled_from((str.lower, str.upper, str.title)), SPACE, SPACE)
def test_a_word_alone_is_read_in_any_case_and_dress(word: str, spell: object, before: str, after: str) -> None:
    assert callable(spell)
    expected = KEEP if word in YES_WORDS else DROP
    assert read_words(f"{before}{spell(word)}{after}").decision is expected


@given(st.text(), st.sampled_from(YES_WORDS), st.text(), st.sampled_from(NO_WORDS), st.text())
def test_a_reply_that_says_both_is_never_a_vote(a: str, yes: str, b: str, no: str, c: str) -> None:
    assume("<think>" not in a + b + c)
    for first, second in ((yes, no), (no, yes)):
        reply = f"{a} {first} {b} {second} {c}"
        assert read_words(reply) is UNREADABLE
        assert read_reply(reply, [Token("True", {"True": -0.1, "False": -3.0})]) is UNREADABLE


@given(st.text())
def test_what_holds_no_known_word_is_never_a_vote(text: str) -> None:
    assume(not any(word in text.lower() for word in (*YES_WORDS, *NO_WORDS)))
    assume(not any(digit in text for digit in "01"))
    assert read_words(text) is UNREADABLE


@given(st.text(), st.sampled_from(YES_WORDS))
def test_a_negated_word_is_never_a_vote(text: str, word: str) -> None:
    assume("<think>" not in text)
    assert read_words(f"{text} not {word}") is UNREADABLE


def weights(probabilities: dict[str, float]) -> dict[str, float]:
    return {token: math.log(probability) for token, probability in probabilities.items()}


def test_the_margin_sums_over_spellings() -> None:
    listed = weights({"True": 0.3, " true": 0.1, "Yes": 0.05, "▁TRUE": 0.05, "False": 0.2, "Ġno": 0.05, "The": 0.2})
    reading = read_reply("True", [Token("True", listed)])
    assert reading.decision is KEEP
    assert reading.score == pytest.approx(math.log(0.5 / 0.25))


def test_blanks_and_quotes_before_the_word_do_not_matter() -> None:
    tokens = [Token("\n", weights({"\n": 0.9})), Token('"', weights({'"': 1.0})), Token("no", weights({"no": 0.6}))]
    assert read_reply('\n"no', tokens).score == pytest.approx(math.log(0.4 / 0.6))


def test_a_missing_word_is_given_the_most_it_can_have() -> None:
    least_listed = read_reply("True", [Token("True", weights({"True": 0.5, "The": 0.2, "A": 0.1}))])
    assert least_listed.score == pytest.approx(math.log(0.5 / 0.1))
    left_over = read_reply("False", [Token("False", weights({"False": 0.7, "The": 0.25}))])
    assert left_over.score == pytest.approx(math.log(0.05 / 0.7))
    certain = read_reply("True", [Token("True", {"True": 0.0})])
    assert certain.decision is KEEP
    assert certain.score is not None
    assert math.isfinite(certain.score)


def test_words_are_read_where_the_first_token_answer_nothing() -> None:
    assert read_reply("Answer: True", [Token("Answer", weights({"Answer": 0.9}))]).score is None
    assert read_reply("Answer: True", [Token("Answer", weights({"Answer": 0.9}))]).decision is KEEP
    assert read_reply("False", []).decision is DROP
    assert read_reply("", []) is UNREADABLE
    assert read_reply("No pasted patterns, so True", [Token("No", weights({"No": 0.9}))]) is UNREADABLE


@pytest.mark.parametrize(
    ("reply", "decision"),
    [
        ("No", DROP),
        ("No.", DROP),
        ("No, artifacts are everywhere", DROP),
        ("No artifacts, streaks look natural", ABSTAIN),
        ("No pasted patterns", ABSTAIN),
        ("No fake streaks", ABSTAIN),
    ],
)
def test_a_first_token_of_no_is_weighed_only_where_it_is_the_answer(reply: str, decision: Decision) -> None:
    reading = read_reply(reply, [Token("No", weights({"No": 0.9, "True": 0.05}))])
    assert reading.decision is decision
    assert reading.score == (pytest.approx(math.log(0.05 / 0.9)) if decision is DROP else None)


def test_words_after_a_clear_first_token_do_not_change_its_weight() -> None:
    for reply in ("False: no motion blur", "False, streaks are missing"):
        assert read_reply(reply, [Token("False", weights({"False": 0.9, "True": 0.05}))]).score == pytest.approx(
            math.log(0.05 / 0.9)
        )


def test_no_preference_is_no_vote() -> None:
    assert read_margin(-1.0, -1.0).decision is ABSTAIN
    assert read_margin(-1.0, -1.0).reason == "no_preference"


@pytest.mark.parametrize("log_yes", [math.nan, math.inf, -math.inf, -1.0])
@pytest.mark.parametrize("log_no", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_never_a_vote(log_yes: float, log_no: float) -> None:
    assert read_margin(log_yes, log_no) is UNREADABLE
    assert read_margin(log_no, log_yes) is UNREADABLE


@given(st.floats(-30, 0), st.floats(-30, 0))
def test_the_margin_is_antisymmetric(log_yes: float, log_no: float) -> None:
    one, other = read_margin(log_yes, log_no), read_margin(log_no, log_yes)
    swapped = {KEEP: DROP, DROP: KEEP, ABSTAIN: ABSTAIN}
    assert one.score == pytest.approx(-other.score, abs=1e-9) if other.score is not None else False
    if abs(one.score or 0.0) > 1e-9:
        assert other.decision is swapped[one.decision]


@given(st.lists(st.floats(-700, 0), min_size=1, max_size=20))
def test_log_sum_is_the_log_of_the_sum(logs: list[float]) -> None:
    exact = math.fsum(math.exp(value - max(logs)) for value in logs)
    assert log_sum(logs) == pytest.approx(math.log(exact) + max(logs), abs=1e-9)
    assert log_sum(logs) >= max(logs)


def test_log_sum_of_nothing() -> None:
    assert log_sum([]) == log_sum([-math.inf]) == log_sum([-math.inf, -math.inf]) == -math.inf


def test_log_sum_of_what_is_no_number_is_none() -> None:
    for logs in ([math.nan], [-1.0, math.nan], [math.nan, -1.0], [math.inf, math.nan], [-math.inf, math.nan]):
        assert math.isnan(log_sum(logs))


def test_variants_say_what_their_word_says() -> None:
    assert word_variants(("yes",)) == ["yes", "Yes", "YES", " yes", " Yes", " YES"]
    assert all(token_answer(variant) is True for variant in word_variants(("true", "yes")))
    assert all(token_answer(variant) is False for variant in word_variants(("false", "no")))
    assert [token_answer(other) for other in ("", " ", "not", "truth", "yesterday", "Nope", "1")] == [None] * 7
