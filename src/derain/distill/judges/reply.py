"""A language model's answer read as yes or no: by its words, or by the log-probabilities of the next token.

Neither ever guesses: what says both, or nothing, is an abstention.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from derain.backends.chat import Token
from derain.distill.judges.interface import Decision

READING = "2"
"""Part of the identity of judges: raise it when replies are read otherwise, for verdicts are cached and not replies."""

YES_WORDS = ("true", "yes", "real")
NO_WORDS = ("false", "no", "fake", "unreal", "synthetic")
"""Words that say whether the rain is real; "no" only where it is the answer itself (see `read_words`)."""

YES_TOKENS = ("true", "yes")
NO_TOKENS = ("false", "no")
"""Words whose log-probabilities are compared; what the prompt asks for."""

_YES = re.compile(rf"\b({'|'.join(YES_WORDS)})\b")
_NO = re.compile(rf"\b({'|'.join(NO_WORDS)})\b")
_DIGIT = re.compile(r"(?:answer\W*)?([01])\W*")
_SAID = r"(?:answer|verdict|decision)\W+(?:is\W+)?"
_MARK = r"(?:\W*$|[\"'*`)]*\s*(?:[.,;:!(\n–—]|</|-\s))"
_ANSWER_NO = re.compile(rf"(?:.*\b{_SAID}|\W*)no{_MARK}", re.DOTALL)
_LEADING = re.compile(rf"\W*(?:{_SAID})?(?:{'|'.join((*YES_WORDS, *NO_WORDS))}){_MARK}")
_NEGATION = re.compile(
    r"\b(not|never|neither|nor|none|nothing|cannot|hardly|barely|unlikely|without|missing|far from"
    r"|lack\w*|fail\w*|doubt\w*)\b|n['’]t\b"
)
_NEGATED = re.compile(rf"(?:{_NEGATION.pattern})\W+(?:\w+\W+){{0,2}}({'|'.join((*YES_WORDS, *NO_WORDS))})\b")
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_TOKEN_EDGES = " \t\r\n▁ĠĊ\"'`*._:,!"
"""Blanks as tokenizers spell them, and marks around a word."""


@dataclass(frozen=True)
class Reading:
    """What a reply comes down to."""

    decision: Decision
    reason: str
    """`looks_real`, `looks_unreal`, `unreadable_reply`, or `no_preference` where both weigh the same."""
    score: float | None = None
    """log P(yes) - log P(no), in nats; None where only words were read."""


UNREADABLE = Reading(Decision.ABSTAIN, "unreadable_reply")


def read_words(text: str) -> Reading:
    """Yes or no in plain words: one of `YES_WORDS` and none of `NO_WORDS`, or the other way round.

    A bare 1 or 0 counts as well. Digits in a sentence do not (they count pictures), and a sentence with a negation is
    not read, for "not real" and "lacks real streaks" would count as real, unless the reply begins with its answer and
    a mark: "False. The streaks lack depth". "No" is read only there, or where the reply says that it is the answer:
    "No, the streaks repeat", but not "No artifacts". What a model thought aloud before its answer is left out.
    """
    words = _plain(text)
    is_led = _LEADING.match(words) is not None and _NEGATED.search(words) is None
    if "<think>" in words or (not is_led and (_NEGATION.search(words) or _denies_a_thing(words))):
        return UNREADABLE
    if digit := _DIGIT.fullmatch(words):
        return _REAL if digit.group(1) == "1" else _UNREAL
    yes, no = _YES.search(words) is not None, _NO.search(words) is not None
    if yes == no:
        return UNREADABLE
    return _REAL if yes else _UNREAL


def read_margin(log_yes: float, log_no: float) -> Reading:
    """The sign of log P(yes) - log P(no), in nats; unreadable where that is no finite number."""
    score = log_yes - log_no
    if not math.isfinite(score):
        return UNREADABLE
    if score == 0:
        return Reading(Decision.ABSTAIN, "no_preference", 0.0)
    return Reading(Decision.KEEP, "looks_real", score) if score > 0 else Reading(Decision.DROP, "looks_unreal", score)


def read_reply(text: str, tokens: Sequence[Token]) -> Reading:
    """A reply by the margin at its first token, if that says yes or no, else by its words.

    A reply that says both is unreadable, whatever it begins with ("No pasted patterns, so True"), and so is one whose
    "no" belongs to the words after it ("No artifacts, streaks look natural").
    """
    words = _plain(text)
    if (_YES.search(words) and _NO.search(words)) or _denies_a_thing(words):
        return UNREADABLE
    return read_tokens(tokens) or read_words(text)


def read_tokens(tokens: Sequence[Token]) -> Reading | None:
    """The margin at the first token that is more than blanks and quotes; None if it says neither yes nor no.

    A word that is missing among the alternatives is given the most it can have: no more than the least listed one,
    and no more than what the listed ones leave over.
    """
    first = next((token for token in tokens if token.text.strip(_TOKEN_EDGES)), None)
    if first is None or token_answer(first.text) is None:
        return None
    most = _most_unlisted(first.alternatives)
    yes = [weight for word, weight in first.alternatives.items() if token_answer(word) is True]
    no = [weight for word, weight in first.alternatives.items() if token_answer(word) is False]
    return read_margin(log_sum(yes) if yes else most, log_sum(no) if no else most)


def token_answer(token: str) -> bool | None:
    """Whether a token is a variant of true or yes, of false or no, or of neither; case and blanks do not matter."""
    word = token.strip(_TOKEN_EDGES).lower()
    return True if word in YES_TOKENS else False if word in NO_TOKENS else None


def word_variants(words: Sequence[str]) -> list[str]:
    """Each word as a reply can begin with it: small, capital, all capitals, with and without a blank."""
    return [blank + spelt for word in words for blank in ("", " ") for spelt in (word, word.title(), word.upper())]


def log_sum(weights: Sequence[float]) -> float:
    """log of the sum of exp; minus infinity for none, NaN where one is NaN."""
    top = max(weights, default=-math.inf)
    if math.isinf(top) and not any(math.isnan(weight) for weight in weights):
        return top  # nothing at all, or more than can be added up
    return top + math.log(sum(math.exp(weight - top) for weight in weights))


def _plain(text: str) -> str:
    """In small letters, without thoughts."""
    return _THOUGHT.sub(" ", text).strip().lower()


def _denies_a_thing(words: str) -> bool:
    """Whether the first of `NO_WORDS` is a "no" that is not the answer: in "no artifacts" it speaks of artifacts."""
    first = _NO.search(words)
    return first is not None and first[0] == "no" and _ANSWER_NO.match(words) is None


def _most_unlisted(alternatives: Mapping[str, float]) -> float:
    """The largest log-probability that a token outside the list can have, in nats."""
    left = 1.0 - sum(math.exp(weight) for weight in alternatives.values())
    return min(min(alternatives.values()), math.log(max(left, 1e-9)))


_REAL = Reading(Decision.KEEP, "looks_real")
_UNREAL = Reading(Decision.DROP, "looks_unreal")
