"""Names of reasons and judges in plain words, and what can be done for pending pairs."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from derain.distill.pipeline.schema import NO_REFERENCES, family

_WORDS = {
    "typical_of_references": "like the real ones",
    "target_of_another_scene": "other scene's target",
    "refused_by_server": "the server refused",
    "unreadable_reply": "unclear reply",
    "cannot_be_asked": "the model refused the question",
    "undecided": "too few judges voted",
    "duplicate_of": "the same as another pair",
    "conflicting_partner": "same rainy picture, other target",
    "registered_test_picture": "picture of a test set",
    "scene_has_enough": "its scene has enough pairs",
    "no_clean_partner": "no picture without rain",
    "unreadable_picture": "the picture cannot be read",
    "sizes_differ": "the two sizes differ",
    NO_REFERENCES: "no references (the base has no other photograph of this type: index some, and run with --fresh)",
    "picture_gone": "the picture is not where it was",
    "reference_gone": "a reference is not where it was",
    "no_answer": "a model gave no answer",
    "judge_unavailable": "a judge gave no answer",
    "error": "a model failed",
}
"""Reasons whose names are not enough; others are shown by their names."""

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_MODEL_IS_DOWN = "for the answer of a model: see that it is up, and run again"
_ADVICE = {
    "picture_gone": "for a picture that is not where it was: put it back, and run again (with --fresh if asked to)",
    "reference_gone": "for a photograph of the base that is not where it was: put it back, and run again",
    "no_answer": _MODEL_IS_DOWN,
    "not_asked": _MODEL_IS_DOWN,
    "judge_unavailable": _MODEL_IS_DOWN,
    "error": "for a model that failed on them: mend what the reason names, and run again",
}
_OTHER_ADVICE = "for what the table of reasons names: see to it, and run again"


def plain_reason(reason: str) -> str:
    """A reason in plain words, with its particulars: `2 of 3 votes to keep` for `two_of_three_keep`."""
    name = family(reason)
    particulars = reason.partition(":")[2].strip()
    if vote := re.fullmatch(r"(\w+)_of_(\w+)_(keep|drop)", name):
        words = f"{_digits(vote[1])} of {_digits(vote[2])} votes to {vote[3]}"
    elif tie := re.fullmatch(r"tied_(\w+)_to_(\w+)", name):
        words = f"votes tied {_digits(tie[1])} to {_digits(tie[2])}"
    else:
        words = _WORDS.get(name, name.replace("_", " "))
    return words if not particulars or name == NO_REFERENCES else f"{words}: {particulars}"


def plain_judges(names: Sequence[str]) -> dict[str, str]:
    """Short names of judges by their names in settings, where these differ."""
    short = {name: _short(name) for name in names}
    shared = [each for each in short.values() if list(short.values()).count(each) > 1]
    return {name: name if each in shared else each for name, each in short.items()}


def advice(waiting: Mapping[str, int]) -> list[tuple[int, str]]:
    """How many pairs are pending for what, and what to do about it, most first.

    Args:
        waiting: names of reasons without particulars -> how many pairs are pending for it.
    """
    counts: dict[str, int] = defaultdict(int)
    for name, count in waiting.items():
        counts[_ADVICE.get(name, _OTHER_ADVICE)] += count
    return sorted(((count, text) for text, count in counts.items()), key=lambda each: (-each[0], each[1]))


def _short(judge: str) -> str:
    kind, _, name = judge.partition(":")
    if kind == "builtin":
        return name.replace("-", " ")
    return {"hf": name, "openai": name.rpartition("#")[2]}.get(kind) or judge


def _digits(word: str) -> str:
    return str(_NUMBERS.index(word)) if word in _NUMBERS else word
