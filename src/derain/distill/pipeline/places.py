"""Places on a disk under names that hold in every folder: workers of a cluster begin where Ray was started."""

from pathlib import Path

from derain.distill.settings import DistillSettings

_LOCAL_KINDS = ("hf", "clip")
"""Kinds of models that a folder can hold."""


def absolute_uri(uri: str | None) -> str | None:
    """The place of a knowledge base: a folder becomes absolute, what names a scheme (`s3://...`) stays."""
    return uri if uri is None or "://" in uri else str(Path(uri).absolute())


def absolute_model(name: str) -> str:
    """A model as settings name it: a folder that is there becomes absolute, all else stays.

    The model's identity stays too, for it is made of the folder's own name and content.
    """
    kind, _, rest = name.partition(":")
    return f"{kind}:{Path(rest).absolute()}" if kind in _LOCAL_KINDS and rest and Path(rest).is_dir() else name


def with_absolute_models(settings: DistillSettings) -> DistillSettings:
    """The settings with every model that is a folder under its absolute name."""
    described, judging = settings.describe, settings.judging
    describers = {
        "captioner": absolute_model(described.captioner),
        "expander": absolute_model(described.expander),
        "text_encoder": absolute_model(described.text_encoder),
        "visual_encoder": absolute_model(described.visual_encoder),
    }
    judges = {
        "judges": tuple(map(absolute_model, judging.judges)),
        "bias": {absolute_model(name): bias for name, bias in judging.bias.items()},
    }
    return settings.model_copy(
        update={
            "describe": described.model_copy(update=describers),
            "judging": judging.model_copy(update=judges),
        }
    )
