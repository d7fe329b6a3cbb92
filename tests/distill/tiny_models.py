"""Small randomly initialised models, saved to disk as published ones are: weights, configuration, tokenizer.

Each is built once for all tests of a run. Their tokenizers are real ones, with a vocabulary that is made here.
"""

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

_TEXT = (
    "a photo of the street at night day in rain wet road car lamp light streaks drops on lens window mist two three "
    "with and falling heavy umbrella people sky tree house it is dark bright reflections , . :"
)
WORDS = _TEXT.split(" ")


@cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="tiny-models-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def _folder(name: str) -> Path:
    folder = _root() / name
    folder.mkdir()
    return folder


def _save(model_class: Any, configuration: Any, folder: Path, seed: int, spread: float = 0.0) -> None:
    """Save a model drawn from a seed; `spread` is the deviation of its large matrices, 0 keeps the usual one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(configuration)
        if spread:
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    torch.nn.init.normal_(parameter, std=spread)
    model.save_pretrained(folder)


@cache
def tiny_blip() -> Path:
    """A BLIP of 32 x 32 pixels whose start token lies outside of its tokenizer, as in the published ones."""
    from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipImageProcessorPil

    folder = _folder("blip")
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate(marks + WORDS)}
    tokenizer = BertTokenizerFast(vocab=vocabulary)
    tokenizer.save_pretrained(folder)
    size = len(vocabulary)
    text = {
        "vocab_size": size + 1, "hidden_size": 32, "encoder_hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64, "projection_dim": 16,
        "bos_token_id": size, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "image_size": 32, "patch_size": 8, "projection_dim": 16,
    }  # fmt: skip
    configuration = BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    _save(BlipForConditionalGeneration, configuration, folder, seed=1, spread=0.3)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@cache
def tiny_clip() -> Path:
    """A CLIP of 32 x 32 pixels and 77 tokens, with vectors of 24 numbers."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizerFast

    folder = _folder("clip")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    start, end = len(tokens) - 2, len(tokens) - 1
    CLIPTokenizerFast(vocab=vocabulary, merges=[]).save_pretrained(folder)
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = tower | {
        "vocab_size": len(tokens), "max_position_embeddings": 77, "projection_dim": 24,
        "bos_token_id": start, "eos_token_id": end, "pad_token_id": end,
    }  # fmt: skip
    vision = tower | {"image_size": 32, "patch_size": 8, "projection_dim": 24}
    configuration = CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    _save(CLIPModel, configuration, folder, seed=2)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@cache
def tiny_qwen2() -> Path:
    """A Qwen2 with a chat template, whose generation settings ask for sampling, as in the published ones."""
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    folder = _folder("qwen2")
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=marks, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    core.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    end, padding = core.token_to_id("<|im_end|>"), core.token_to_id("<|endoftext|>")
    configuration = Qwen2Config(
        vocab_size=core.get_vocab_size(), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=False,
        bos_token_id=padding, eos_token_id=end, pad_token_id=padding,
    )  # fmt: skip
    _save(Qwen2ForCausalLM, configuration, folder, seed=3, spread=0.2)
    sampling = {
        "do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05,
        "bos_token_id": padding, "eos_token_id": [end, padding], "pad_token_id": padding,
    }  # fmt: skip
    (folder / "generation_config.json").write_text(json.dumps(sampling))
    return folder
