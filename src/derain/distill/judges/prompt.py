"""The prompts of vision-language judges (UniRain, Eq. 4, whose prompt P is not published; this is ours)."""

import hashlib
from dataclasses import dataclass
from functools import cache

from derain.types import RainType

SYSTEM = "You are an expert on photographs taken in rain. You answer with one word: True or False."

_FEW_PICTURES = {
    0: "You are shown one picture, the candidate.",
    1: "Picture 1 is a real photograph taken in rain. Picture 2, the last one, is the candidate.",
}
_REFERENCES = "as in the real photographs"
_NO_REFERENCES = "as in a real photograph"

_STREAKS = (
    "the rain has streaks whose shape, blur, direction and density could come from falling drops; near streaks are "
    "larger and fainter than far ones"
)
_DROPS = (
    "the drops sit on a lens or a window: each has a plausible outline and shows a bent, blurred view of the scene "
    "behind it"
)


@dataclass(frozen=True)
class Prompt:
    """The words around the pictures."""

    system: str
    question: str
    """Follows the pictures."""


def judge_prompt(rain_type: str, references: int, mosaic: bool) -> Prompt:
    """The question on one candidate.

    `rain_type` is one of drs, drd, nrs, nrd; `references` is the number of real photographs that it is shown with, 0
    in the variant without retrieval; with `mosaic`, all of them are on one picture.
    """
    checks = (
        _DROPS if rain_type.endswith("d") else _STREAKS,
        f"its brightness agrees with the light of {'the night' if rain_type.startswith('n') else 'the day'} and with "
        "the lamps in the scene",
        "nothing looks pasted, drawn or repeated",
        "the scene behind the rain is sharp and free of damage by compression",
    )
    listed = "\n".join(f"({letter}) {check};" for letter, check in zip("abcd", checks, strict=True))
    like = _REFERENCES if references else _NO_REFERENCES
    return Prompt(
        SYSTEM,
        f"{_layout(references, mosaic)}\nDoes the rain in the candidate look physically real, {like}? Check that\n"
        f"{listed[:-1]}.\nIf all of this holds, answer True. Otherwise answer False. Answer:",
    )


@cache
def prompt_digest() -> str:
    """16 hexadecimal digits that change with every word of the prompts: answers to other words are others."""
    prompts = [
        judge_prompt(rain_type.value, references, mosaic)
        for rain_type in RainType
        for references in range(4)
        for mosaic in (False, True)
    ]
    return hashlib.sha256("\0".join(f"{one.system}\0{one.question}" for one in prompts).encode()).hexdigest()[:16]


def _layout(references: int, mosaic: bool) -> str:
    """Which picture is which."""
    if mosaic and references:
        above = "is one real photograph" if references == 1 else f"are, side by side, {references} real photographs"
        return f"The picture has two parts. Above {above} taken in rain. Below, large, is the candidate."
    if references in _FEW_PICTURES:
        return _FEW_PICTURES[references]
    return (
        f"Pictures 1 to {references} are real photographs taken in rain. Picture {references + 1}, the last one, is "
        "the candidate."
    )
