"""Which vision-language models load with today's transformers, and how they are best shown several pictures."""

from dataclasses import dataclass
from typing import Literal

Showing = Literal["several", "mosaic"]
"""`several` pictures in one turn, or all of them on one picture: what the model was trained on."""


@dataclass(frozen=True)
class KnownModel:
    """What is known about a published model."""

    name: str
    native: bool
    """Whether transformers has its class, so that it loads without code of its repository."""
    showing: Showing
    license: str
    advice: str = ""
    """For one that does not load: what to do instead."""


KNOWN_MODELS = (
    KnownModel(
        "OpenGVLab/InternVL2_5-8B",
        False,
        "several",
        "MIT",
        "it brings code of its own, written for transformers 4.37; take OpenGVLab/InternVL3-8B-hf, or a conversion of "
        "InternVL2_5 to the internvl class, or serve it and name it openai:URL#MODEL",
    ),
    KnownModel(
        "llava-hf/llava-interleave-qwen-7b-hf",
        True,
        "several",
        "tongyi-qianwen-research, non-commercial",
    ),
    KnownModel(
        "llava-hf/llava-v1.6-mistral-7b-hf",
        True,
        "mosaic",
        "Apache-2.0",
    ),
    KnownModel(
        "mtgv/MobileVLM-3B",
        False,
        "mosaic",
        "Apache-2.0",
        "transformers has no class for mobilevlm; take Qwen/Qwen2.5-VL-3B-Instruct in its place, or serve it with its "
        "own program and name it openai:URL#MODEL",
    ),
    KnownModel(
        "mtgv/MobileVLM_V2-3B",
        False,
        "mosaic",
        "Apache-2.0",
        "transformers has no class for mobilevlm; take Qwen/Qwen2.5-VL-3B-Instruct in its place, or serve it with its "
        "own program and name it openai:URL#MODEL",
    ),
    KnownModel("OpenGVLab/InternVL3-8B-hf", True, "several", "MIT and Qwen licence"),
    KnownModel("OpenGVLab/InternVL3-2B-hf", True, "several", "MIT and Qwen licence"),
    KnownModel("llava-hf/llava-interleave-qwen-0.5b-hf", True, "several", "non-commercial"),
    KnownModel("Qwen/Qwen2.5-VL-3B-Instruct", True, "several", "Qwen research licence"),
)
"""UniRain's three, then what stands in for them. LLaVA-NeXT-7B fits two models; the paper cites Interleave."""

SHOWING_BY_TYPE: dict[str, Showing] = {
    "internvl": "several",
    "llava_onevision": "several",
    "qwen2_vl": "several",
    "qwen2_5_vl": "several",
    "qwen3_vl": "several",
    "idefics3": "several",
    "smolvlm": "several",
    "mistral3": "several",
    "gemma3": "several",
    "llava": "mosaic",
    "llava_next": "mosaic",
}
"""By a configuration's `model_type`; a mosaic for types that are not listed, for any model can look at one picture."""


def known_model(name: str) -> KnownModel | None:
    """What is known about a model, by its published name."""
    return next((model for model in KNOWN_MODELS if model.name == name), None)


def showing_of(name: str, model_type: str) -> Showing:
    """How a model is shown several pictures: by its name, then by its type; interleaved training stands in the name."""
    known = known_model(name)
    if known is not None:
        return known.showing
    if model_type == "llava" and "interleave" in name.lower():
        return "several"
    return SHOWING_BY_TYPE.get(model_type, "mosaic")
