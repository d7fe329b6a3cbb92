"""Real vision-language models of a few thousand random weights, with real tokenizers and processors, as folders."""

import json
from pathlib import Path
from typing import Any

import torch

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('system role not supported') }}{% endif %}"

SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>", "<image>", "<video>", "<img>", "</img>", "<IMG_CONTEXT>"]


def tiny_tokenizer() -> Any:
    """A byte-level BPE that knows the answers as whole words, with and without a blank before them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    words = [f"{blank}{word}" for blank in ("", " ") for word in ("True", "False", "Yes", "No", "rain")]
    tokenizer.train_from_iterator(words * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )


def _language(tokenizer: Any, kind: Any) -> Any:
    return kind(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _vision(**sizes: Any) -> dict[str, Any]:
    return {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, **sizes}


def save_llava(folder: Path, tower: str = "siglip", template: str = CHAT_TEMPLATE) -> Path:
    """LLaVA: a SigLIP tower with Qwen2 (as the interleave models), or a CLIP tower with Llama (as 1.5)."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        Qwen2Config,
        SiglipImageProcessor,
        SiglipVisionConfig,
    )

    tokenizer = tiny_tokenizer()
    size = {"height": 28, "width": 28}
    strategy, extra = ("default", 1) if tower == "clip" else ("full", 0)
    if tower == "clip":
        pictures = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=size)
        vision, language = CLIPVisionConfig(**_vision(image_size=28, patch_size=7)), LlamaConfig
    else:
        pictures = SiglipImageProcessor(size=size)
        vision, language = SiglipVisionConfig(**_vision(image_size=28, patch_size=7)), Qwen2Config
    config = LlavaConfig(
        vision_config=vision,
        text_config=_language(tokenizer, language),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy=strategy,
        vision_feature_layer=-2,
        image_seq_length=16,
    )
    _save(LlavaForConditionalGeneration, config, folder)
    LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=7,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=extra,
        chat_template=template.replace("IMAGE", "<image>"),
    ).save_pretrained(folder)
    return folder


def save_internvl(folder: Path) -> Path:
    """InternVL, in the files of a published one: its whole processor cannot be made without torchvision."""
    from transformers import (
        AutoImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLVisionConfig,
        Qwen2Config,
    )

    tokenizer = tiny_tokenizer()
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(**_vision(image_size=[28, 28], patch_size=[7, 7])),
        text_config=_language(tokenizer, Qwen2Config),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    _save(InternVLForConditionalGeneration, config, folder)
    tokenizer.save_pretrained(folder)
    pictures = {"image_processor_type": "GotOcr2ImageProcessor", "size": {"height": 28, "width": 28}, "max_patches": 2}
    _write_processor(folder, "InternVLProcessor", pictures, "<IMG_CONTEXT>", image_seq_length=4)
    assert AutoImageProcessor.from_pretrained(folder).size["height"] == 28
    return folder


def save_qwen(folder: Path) -> Path:
    """Qwen2.5-VL, whose pictures may have any size, in the files of a published one."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]}
    )
    numbers = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "out_hidden_size": 32,
            "patch_size": 14,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 64,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        image_token_id=numbers("<|image_pad|>"),
        video_token_id=numbers("<|video_pad|>"),
        vision_start_token_id=numbers("<|vision_start|>"),
        vision_end_token_id=numbers("<|vision_end|>"),
    )
    _save(Qwen2_5_VLForConditionalGeneration, config, folder)
    tokenizer.save_pretrained(folder)
    pictures = {"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 784, "max_pixels": 56 * 56}
    _write_processor(folder, "Qwen2_5_VLProcessor", pictures, "<|vision_start|><|image_pad|><|vision_end|>")
    return folder


def _write_processor(folder: Path, name: str, pictures: dict[str, Any], image: str, **values: Any) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({**pictures, "processor_class": name}))
    (folder / "processor_config.json").write_text(json.dumps({**values, "processor_class": name}))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("IMAGE", image))


def _save(kind: Any, config: Any, folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = kind(config)
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.2)  # ten times the usual, so that pictures tell in the reply
    model.save_pretrained(folder)
