import shutil

import pytest
import torch
from tiny_models import tiny_qwen2

from derain.backends.chat_expander import ChatExpander, pad_left
from derain.distill.describe.prompts import EXPANSION_PROMPT
from derain.errors import ModelError, SettingsError

CAPTIONS = [
    "a wet street at night",
    "rain",
    "a photo of two people with an umbrella on a dark road, heavy rain falling and bright reflections of the lamps",
    "drops on a window",
    "mist",
]


def expander(**settings):
    return ChatExpander(EXPANSION_PROMPT, str(tiny_qwen2()), device="cpu", max_tokens=24, **settings)


@pytest.fixture(scope="module")
def expansions():
    return expander().expand(CAPTIONS)


def most_probable_words(caption, count):
    """The slow way: the whole text anew for every word, alone, without padding and without a cache."""
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

    model = Qwen2ForCausalLM.from_pretrained(tiny_qwen2()).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_qwen2())
    prompt = f"<|im_start|>user\n{EXPANSION_PROMPT.text.format(caption=caption)}<|im_end|>\n<|im_start|>assistant\n"
    tokens = tokenizer(prompt)["input_ids"]
    start = len(tokens)
    for _ in range(count):
        with torch.inference_mode():
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        if tokens[-1] in (tokenizer.eos_token_id, tokenizer.pad_token_id):
            break
    return " ".join(tokenizer.decode(tokens[start:], skip_special_tokens=True).split())


def test_the_most_probable_word_is_taken_each_time(expansions):
    """Although the model's own settings ask for sampling and a penalty on words that were said."""
    assert expansions[:3] == [most_probable_words(caption, 24) for caption in CAPTIONS[:3]]


def test_only_what_is_new_is_given_back(expansions):
    for caption, expansion in zip(CAPTIONS, expansions, strict=True):
        assert expansion
        assert expansion != caption
        assert "Caption:" not in expansion
        assert "assistant" not in expansion
        assert expansion == " ".join(expansion.split())


def test_expansions_follow_their_captions(expansions):
    assert len(set(expansions)) > 1


@pytest.mark.parametrize("rows", [2, 4, 16])
def test_an_expansion_does_not_depend_on_the_captions_beside_it(expansions, rows):
    model = expander(rows=rows)
    assert model.expand(CAPTIONS) == expansions
    assert model.expand(CAPTIONS[::-1]) == expansions[::-1]
    assert model.expand(CAPTIONS[1:2]) == expansions[1:2]


def test_a_model_that_says_nothing_gives_the_caption(tmp_path):
    """All words are as probable, so that the first is taken: the mark at the end of a text."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_qwen2(), tmp_path / "mute")
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"].zero_()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert ChatExpander(EXPANSION_PROMPT, str(folder), device="cpu").expand(CAPTIONS) == CAPTIONS


def test_no_captions_give_no_expansions():
    assert expander().expand([]) == []


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    folder = shutil.copytree(tiny_qwen2(), tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has no chat template; take a model tuned to follow instructions"):
        ChatExpander(EXPANSION_PROMPT, str(folder), device="cpu").expand(["rain"])


def test_padding_lies_on_the_left():
    rows, mask = pad_left([[5, 6], [7, 8, 9]], 4, padding=1)
    assert rows.tolist() == [[1, 1, 5, 6], [1, 7, 8, 9]]
    assert mask.tolist() == [[0, 0, 1, 1], [0, 1, 1, 1]]


def test_whatever_changes_an_expansion_changes_the_identity():
    plain = expander().identity
    assert plain.parameters["prompt"] == EXPANSION_PROMPT.text
    assert plain.digest == expander(rows=4).identity.digest
    assert (
        plain.digest != ChatExpander(EXPANSION_PROMPT, str(tiny_qwen2()), device="cpu", max_tokens=25).identity.digest
    )


def test_no_room_for_words_is_refused():
    with pytest.raises(SettingsError, match="at least 1, got 0"):
        ChatExpander(EXPANSION_PROMPT, str(tiny_qwen2()), max_tokens=0)
