"""The question to a judge: every type and layout, nothing that is not there spoken of."""

import re
from itertools import product

import pytest

from derain.distill.judges import prompt as prompts
from derain.distill.judges.prompt import judge_prompt, prompt_digest
from derain.distill.judges.reply import UNREADABLE, read_words
from derain.types import RainType

CASES = list(product([rain_type.value for rain_type in RainType], range(5), (False, True)))


@pytest.mark.parametrize(("rain_type", "references", "mosaic"), CASES)
def test_every_variant(rain_type: str, references: int, mosaic: bool) -> None:
    prompt = judge_prompt(rain_type, references, mosaic)
    question = prompt.question
    assert ("drops sit on a lens" in question) == (rain_type in ("drd", "nrd"))
    assert ("streaks" in question) == (rain_type in ("drs", "nrs"))
    assert ("light of the night" in question) == (rain_type in ("nrs", "nrd"))
    assert ("light of the day" in question) == (rain_type in ("drs", "drd"))
    assert re.findall(r"^\((\w)\)", question, re.MULTILINE) == ["a", "b", "c", "d"]
    assert ("taken in rain" in question) == (references > 0)
    assert ("as in the real photographs" in question) == (references > 0)
    assert question.endswith("answer True. Otherwise answer False. Answer:")
    assert read_words(question) is UNREADABLE, "a model that repeats the question has said nothing"
    assert read_words(prompt.system) is UNREADABLE
    assert not re.search(r"[{}]|  |\.\.|;\.", question)


def test_pictures_are_counted() -> None:
    assert "Pictures 1 to 3 are real" in judge_prompt("drs", 3, False).question
    assert "Picture 4, the last one, is the candidate" in judge_prompt("drs", 3, False).question
    assert "Picture 1 is a real photograph" in judge_prompt("drs", 1, False).question
    assert "Above are, side by side, 3 real photographs taken in rain." in judge_prompt("drs", 3, True).question
    assert "Above is one real photograph taken in rain." in judge_prompt("drs", 1, True).question


def test_without_references_there_is_nothing_beside_the_candidate() -> None:
    plain = judge_prompt("nrd", 0, False)
    assert plain == judge_prompt("nrd", 0, True)
    assert plain.question.startswith("You are shown one picture, the candidate.")


def test_all_variants_differ() -> None:
    questions = {judge_prompt(*case).question for case in CASES}
    assert len(questions) == len(CASES) - 4  # without references, a mosaic is the picture


@pytest.mark.parametrize("name", ["SYSTEM", "_STREAKS", "_DROPS", "_REFERENCES", "_NO_REFERENCES"])
def test_every_word_counts_in_the_digest(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = prompt_digest()
    monkeypatch.setattr(prompts, name, getattr(prompts, name) + "!")
    prompt_digest.cache_clear()
    changed = prompt_digest()
    monkeypatch.undo()
    prompt_digest.cache_clear()
    assert prompt_digest() == before != changed
