"""Settings of a distillation run and a knowledge base; filled from YAML, presets and `--set`."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, FiniteFloat, model_validator

from derain.backends.endpoint_settings import EndpointSettings
from derain.errors import SettingsError
from derain.settings import Settings

Variant = Literal["full", "only-vlm", "no-retrieval", "no-generation"]
"""The rows of UniRain's Table 4: everything; judges without references; references drawn blindly; no texts."""


def stage_names(variant: Variant, judges: int) -> list[str]:
    """The stages of a variant (UniRain, Table 4), in order."""
    describing = {
        "full": ["caption", "embed", "retrieve"],
        "no-generation": ["embed", "retrieve"],
        "no-retrieval": ["retrieve"],
        "only-vlm": [],
    }
    return ["type", *describing[variant], *(f"judge {number}" for number in range(judges)), "vote"]


def uses_references(variant: Variant) -> bool:
    """Whether judges are shown references."""
    return variant != "only-vlm"


class DescribeSettings(Settings):
    """Models that put a picture into words and vectors; references and candidates must share them."""

    captioner: str = "builtin"
    """`builtin`, `hf:MODEL[@REVISION]` (BLIP) or `openai:URL#MODEL`."""
    expander: str = "none"
    """`none`, `hf:MODEL[@REVISION]` (a chat model such as Qwen2.5-Instruct) or `openai:URL#MODEL`."""
    keywords: str = "keybert"
    """`keybert`, or `none` to embed the whole text."""
    text_encoder: str = "minilm"
    """`minilm` or `clip:MODEL[@REVISION]`."""
    visual_encoder: str = "builtin"
    """`builtin` or `clip:MODEL[@REVISION]`."""
    device: str = "auto"
    """Where models of transformers compute: `auto`, `cpu`, `cuda` or `cuda:N`."""
    endpoint: EndpointSettings = EndpointSettings()
    """How servers are asked that `openai:` names."""


class RetrievalSettings(Settings):
    """The three levels of retrieval (UniRain, Eq. 1-3)."""

    k1: int = Field(default=64, ge=1)
    """References nearest by text."""
    k2: int = Field(default=16, ge=1)
    """Of these, most alike by visual features."""
    k3: int = Field(default=3, ge=1)
    """Of these, most alike by SSIM; what the judges are shown."""
    structure: Literal["plain", "structure-only"] = "plain"
    """SSIM as in the paper, or its structure term alone."""
    same_light: bool = True
    """A candidate of the night is compared with references of the night only."""
    same_form: bool = True
    """Drops are compared with drops, streaks with streaks."""
    index: Literal["exact", "hnsw"] = "exact"
    """How level 1 searches."""

    @model_validator(mode="after")
    def _check_levels(self) -> "RetrievalSettings":
        """Each level chooses among what the one before has found.

        Raises:
            SettingsError: one is to find more than it is given.
        """
        if not self.k1 >= self.k2 >= self.k3:
            raise SettingsError(
                f"retrieval: wanted k1 >= k2 >= k3, for each level chooses among what the one before has found; got "
                f"{self.k1}, {self.k2}, {self.k3}"
            )
        return self


class JudgeSettings(Settings):
    """Who judges and how votes are joined (UniRain, Eq. 4-5)."""

    judges: tuple[str, ...] = ("builtin:rain-layer", "builtin:typicality", "builtin:pairing")
    """`builtin:NAME`, `hf:MODEL[@REVISION]` or `openai:URL#MODEL`."""
    cascade: bool = False
    """Ask one judge after the other, and stop as soon as two agree."""
    bias: Mapping[str, FiniteFloat] = {}
    """By judge, as named in `judges`: what is taken off its scores, in nats. For a language model it is the margin
    log P(yes) - log P(no) at which it is undecided, for a built-in judge the log odds. `derain distill calibrate` finds
    it. Replies that were read by their words have no score, and keep their decision."""
    device: str = "auto"
    """Where judges of transformers compute: `auto`, `cpu`, `cuda` or `cuda:N`."""
    endpoint: EndpointSettings = EndpointSettings()
    """How servers are asked that `openai:` names."""


class PrepareSettings(Settings):
    """What is left out before any model is asked."""

    per_scene: int = Field(default=20, ge=1)
    """Pictures of one scene that are judged, spread evenly over the scene."""
    exclude: tuple[str, ...] = ()
    """Manifests or folders of registered test sets; candidates that show their pictures are dropped."""
    near_bits: int = Field(default=4, ge=0, le=16)
    """Perceptual hashes that differ in at most so many of 64 bits show the same picture."""


class DistillSettings(Settings):
    """One distillation run."""

    describe: DescribeSettings = DescribeSettings()
    """Models for words and vectors."""
    retrieval: RetrievalSettings = RetrievalSettings()
    """The search for references."""
    judging: JudgeSettings = JudgeSettings()
    """Judges and votes."""
    prepare: PrepareSettings = PrepareSettings()
    """Deduplication, exclusion, thinning."""
    variant: Variant = "full"
    """Which stages take part."""
    shard_rows: int = Field(default=512, ge=1)
    """Candidates that are finished and written together."""
    batch_rows: int = Field(default=16, ge=1)
    """Candidates in a batch."""
    test_pairs: int = Field(default=100, ge=0)
    """Kept pairs of each type that are set apart for testing, by whole scenes."""
    val_pairs: int = Field(default=25, ge=0)
    """The same for validation, by which a training chooses its best weights."""
    seed: int = 0
    """Of the split and of references drawn blindly."""

    @model_validator(mode="after")
    def _check_concurrency(self) -> "DistillSettings":
        """A server cannot be asked more questions at once than a batch has rows.

        Raises:
            SettingsError: it is to be.
        """
        describe, judging = self.describe, self.judging
        asked = (
            ("describe", describe.endpoint, (describe.captioner, describe.expander)),
            ("judging", judging.endpoint, judging.judges),
        )
        for part, endpoint, names in asked:
            if endpoint.concurrency > self.batch_rows and any(name.startswith("openai:") for name in names):
                raise SettingsError(
                    f"{part}.endpoint.concurrency is {endpoint.concurrency}, and no more than batch_rows = "
                    f"{self.batch_rows} questions are put at once; raise batch_rows, or lower the other"
                )
        return self
