"""Judges on this machine: real networks of four kinds, small and random, from folders like published ones."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from safetensors.torch import load_file, save_file
from tiny_vision_models import CHAT_TEMPLATE, NO_SYSTEM, save_internvl, save_llava, save_qwen

from derain.backends.chat import Answer
from derain.backends.known_models import KNOWN_MODELS, showing_of
from derain.backends.prompted import PromptedCaptioner
from derain.backends.view import Pixels8, View
from derain.backends.vision_language import VisionModel
from derain.distill.describe.prompts import CAPTION_PROMPT
from derain.distill.judges.interface import Case, Decision
from derain.distill.judges.local import LocalJudge, weigh
from derain.distill.judges.question import chat_of
from derain.errors import ModelError, QuestionError

KINDS: dict[str, Callable[[Path], Path]] = {
    "llava-interleave": save_llava,
    "llava-clip": lambda folder: save_llava(folder, "clip"),
    "internvl": save_internvl,
    "qwen2_5_vl": save_qwen,
}
SHOWN_SEVERAL = {"llava-interleave": True, "llava-clip": False, "internvl": True, "qwen2_5_vl": True}


def view(pixels: Pixels8, name: str) -> View:
    return View(name, np.ascontiguousarray(pixels))


CAT = view(skimage.data.chelsea()[::3, ::3], "cat")
COFFEE = view(skimage.data.coffee()[::4, ::4], "coffee")
ROCKET = view(skimage.data.rocket()[::4, ::4], "rocket")
CASE = Case(CAT, None, "drs", (COFFEE, ROCKET))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: save(root / name) for name, save in KINDS.items()}


@pytest.fixture(scope="session")
def judges(folders: dict[str, Path]) -> dict[str, LocalJudge]:
    return {name: LocalJudge(str(folder), least_mass=0.0, device="cpu") for name, folder in folders.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_verdict_has_a_margin_and_follows_what_is_shown(judges: dict[str, LocalJudge], kind: str) -> None:
    judge = judges[kind]
    cases = [
        CASE,
        replace(CASE, candidate=ROCKET, references=(COFFEE, CAT)),
        replace(CASE, references=(ROCKET, COFFEE)),
        replace(CASE, references=(COFFEE,)),
        replace(CASE, references=()),
        replace(CASE, type="nrd"),
    ]
    verdicts = judge.judge(cases)
    scores = [verdict.score for verdict in verdicts]
    assert len(set(scores)) == len(cases), "each change of a picture, its place or the question changes the margin"
    for verdict in verdicts:
        assert verdict.score is not None
        assert math.isfinite(verdict.score)
        assert verdict.decision is (Decision.KEEP if verdict.score > 0 else Decision.DROP)
        assert verdict.reply
    # Alone, in another order, or again: the same answers.
    assert [judge.judge([case])[0] for case in reversed(cases)] == verdicts[::-1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_margin_is_the_networks_own(judges: dict[str, LocalJudge], folders: dict[str, Path], kind: str) -> None:
    """Against one plain forward pass, with the answers' tokens listed by hand."""
    model = VisionModel(str(folders[kind]), device="cpu")
    chat = chat_of(CASE, not SHOWN_SEVERAL[kind], 896, 8)
    assert len(chat.pictures) == (3 if SHOWN_SEVERAL[kind] else 1)
    with torch.inference_mode():
        probabilities = model._network(**model._inputs(chat)).logits[0, -1].double().softmax(-1)
    vocabulary = model._processor.tokenizer.get_vocab()
    yes = sum(
        float(probabilities[vocabulary[token]]) for token in ("True", "Yes", "ĠTrue", "ĠYes") if token in vocabulary
    )
    no = sum(
        float(probabilities[vocabulary[token]]) for token in ("False", "No", "ĠFalse", "ĠNo") if token in vocabulary
    )
    (verdict,) = judges[kind].judge([CASE])
    assert verdict.score == pytest.approx(math.log(yes / no), abs=3e-4)
    assert verdict.reply == model.token_text(int(probabilities.argmax()))


def test_a_local_model_answers_chats_as_a_server_does(folders: dict[str, Path]) -> None:
    model = VisionModel(str(folders["llava-interleave"]), device="cpu")
    chat = chat_of(CASE, False, 896, 3)
    ((place, answer),) = model.answers([chat])
    assert isinstance(answer, Answer)
    assert (place, len(answer.tokens)) == (0, answer.reply_tokens)
    first = answer.tokens[0]
    weights = model.next_log_probabilities(chat)
    assert max(first.alternatives.values()) == pytest.approx(float(weights.max()), abs=1e-5)
    assert first.text == model.token_text(int(weights.argmax()))
    captioner = PromptedCaptioner(model, CAPTION_PROMPT, max_tokens=3)
    (caption,) = captioner.caption([CAT])
    assert caption
    assert captioner.identity.parameters["prompt"] == CAPTION_PROMPT.text
    assert captioner.identity.revision == model.source.revision


def teach(folder: Path, copy: Path, word: str) -> Path:
    """A copy of a model that answers the case with a word, and goes on saying it."""
    model = VisionModel(str(folder), device="cpu")
    with torch.inference_mode():
        inputs = model._inputs(chat_of(CASE, False, 896, 8))
        hidden = model._network.model(**inputs).last_hidden_state[0, -1]
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    (name,) = [name for name in weights if name.endswith("lm_head.weight")]
    (token,) = model.token_ids(word)
    weights[name] = torch.zeros_like(weights[name])
    weights[name][token] = 20 * hidden / hidden.square().sum()
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    return copy


@pytest.mark.parametrize(
    ("word", "decision"), [(" True", Decision.KEEP), (" False", Decision.DROP), (" rain", Decision.ABSTAIN)]
)
def test_words_and_log_probabilities_agree(
    folders: dict[str, Path], tmp_path: Path, word: str, decision: Decision
) -> None:
    folder = teach(folders["llava-interleave"], tmp_path / "interleave", word)
    by_words = LocalJudge(str(folder), reply="text", device="cpu").judge([CASE])[0]
    by_logits = LocalJudge(str(folder), device="cpu").judge([CASE])[0]
    assert by_words.decision is by_logits.decision is decision
    assert by_words.reply.startswith(word.strip())
    assert by_words.score is None
    assert by_logits.reply == word
    if decision is Decision.ABSTAIN:
        assert by_logits.reason == by_words.reason == "unreadable_reply"  # " rain" is as good as certain


def test_a_template_without_a_system_is_told_in_the_question(tmp_path: Path) -> None:
    model = VisionModel(str(save_llava(tmp_path / "m", template=NO_SYSTEM + CHAT_TEMPLATE)), device="cpu")
    chat = chat_of(CASE, False, 896, 8)
    said = model._processor.tokenizer.decode(model._inputs(chat)["input_ids"][0])
    assert f"{chat.system}\n{chat.parts[-1]}" in said
    assert said.count("<image>") == 3 * 16


def test_the_identity_names_the_files_and_what_else_decides(
    judges: dict[str, LocalJudge], folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = folders["llava-clip"]
    whole = LocalJudge(str(folder), least_mass=0.0, device="cpu")
    assert whole.identity == judges["llava-clip"].identity
    assert whole.identity.parameters["mosaic"] is True
    several = LocalJudge(str(folder), least_mass=0.0, mosaic=False, device="cpu")
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    changed = LocalJudge(str(copy), least_mass=0.0, device="cpu")
    assert changed.identity.revision != whole.identity.revision
    assert len({judge.identity.digest for judge in (whole, several, changed)}) == 3


def test_models_that_do_not_load_say_what_to_take_instead() -> None:
    for known in KNOWN_MODELS:
        if not known.native:
            with pytest.raises(ModelError, match=r"does not load natively: .*take "):
                LocalJudge(known.name)


def test_what_is_no_vision_language_model_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    silent = shutil.copytree(folders["llava-clip"], tmp_path / "silent")
    (silent / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        LocalJudge(str(silent), device="cpu").judge([CASE])
    with pytest.raises(ModelError, match="nowhere"):
        LocalJudge(str(tmp_path / "nowhere"))


def test_how_models_are_shown_pictures() -> None:
    assert showing_of("llava-hf/llava-interleave-qwen-7b-hf", "llava") == "several"
    assert showing_of("llava-hf/llava-1.5-7b-hf", "llava") == "mosaic"
    assert showing_of("llava-hf/llava-v1.6-mistral-7b-hf", "llava_next") == "mosaic"
    assert showing_of("OpenGVLab/InternVL3-8B-hf", "internvl") == "several"
    assert showing_of("somebody/something", "never_heard_of") == "mosaic"


def test_a_model_that_answers_something_else_abstains() -> None:
    assert weigh(math.log(0.004), math.log(0.005), least_mass=0.01).reason == "unreadable_reply"
    assert weigh(math.log(0.007), math.log(0.005), least_mass=0.01).decision is Decision.KEEP


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_network_that_overflowed_gives_no_vote(bad: float) -> None:
    for log_yes, log_no in ((bad, bad), (bad, -0.1), (-0.1, bad)):
        reading = weigh(log_yes, log_no, least_mass=0.01)
        assert (reading.decision, reading.score, reading.reason) == (Decision.ABSTAIN, None, "unreadable_reply")


def test_a_network_whose_weights_are_no_numbers_gives_no_vote(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["llava-interleave"], tmp_path / "overflown")
    weights = load_file(copy / "model.safetensors")
    (name,) = [name for name in weights if name.endswith("lm_head.weight")]
    weights[name] = torch.full_like(weights[name], math.nan)
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    for least_mass in (0.0, 0.01):
        (verdict,) = LocalJudge(str(copy), least_mass=least_mass, device="cpu").judge([CASE])
        assert (verdict.decision, verdict.score, verdict.reason) == (Decision.ABSTAIN, None, "unreadable_reply")


def test_a_turn_that_a_model_cannot_be_shown_is_that_questions_fault(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["internvl"], tmp_path / "misread")
    template = (copy / "chat_template.jinja").read_text()
    (copy / "chat_template.jinja").write_text(template.replace("<image>", "").replace("<IMG_CONTEXT>", ""))
    with pytest.raises(QuestionError, match="cannot be shown 3 pictures"):
        LocalJudge(str(copy), device="cpu").judge([CASE])
