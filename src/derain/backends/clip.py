"""Vectors by CLIP (Radford et al., ICML 2021), for pictures and for texts, which UniRain retrieves by.

Only the tower that is asked is held in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image

from derain.backends.batching import same_shape_batches
from derain.backends.interfaces import Identity, Vectors
from derain.backends.loading import Source, choose_placement, find_model, load_network, load_part
from derain.backends.minilm import pad_right
from derain.backends.view import View
from derain.errors import QuestionError

DEFAULT_MODEL = "openai/clip-vit-large-patch14"
_STEP = 8


class _Clip:
    """What the two towers of a CLIP have in common."""

    tower: ClassVar[Literal["text", "vision"]]

    def __init__(
        self, model: str = DEFAULT_MODEL, revision: str | None = None, device: str = "auto", rows: int | None = None
    ) -> None:
        """Find the model; its weights are loaded when the first vector is asked for.

        Args:
            model: a folder, or `owner/name` on the hub.
            revision: branch, tag or commit on the hub; None is the default branch.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            rows: texts or pictures that are computed at once; None takes 1 on a CPU and 16 on a GPU.

        Raises:
            ModelError: the model cannot be had, or is no CLIP.
            MissingExtraError: the extra `distill` is not installed.
            SettingsError: the device is not there.
        """
        self._placement = choose_placement(device, rows)
        self._source = find_model(model, revision, kinds=("clip",))

    @property
    def identity(self) -> Identity:
        """The device is no part of it; the arithmetic is, for vectors of one are not those of the other."""
        return Identity(
            self._source.name, self._source.revision, {"tower": self.tower, "dtype": self._placement.arithmetic}
        )

    @property
    def dimensions(self) -> int:
        return projection_dimensions(self._source)


class ClipTextEncoder(_Clip):
    """Texts as vectors. A text's first 77 tokens count, which is about 50 words: longer expansions are cut off."""

    tower = "text"

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """(N, D) float32, rows of length 1; a text's row does not depend on the texts beside it.

        Raises:
            ModelError: the weights cannot be loaded.
            QuestionError: a vector is not finite.
        """
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        if not texts:
            return vectors
        loaded, device = self._loaded, self._placement.device
        longest = int(loaded.network.config.max_position_embeddings)
        tokens = [loaded.reader(text, truncation=True, max_length=longest)["input_ids"] for text in texts]
        lengths = [min(-(-len(row) // _STEP) * _STEP, longest) for row in tokens]
        for batch in same_shape_batches(lengths, self._placement.rows):
            padded, mask = pad_right([tokens[item] for item in batch.rows], batch.length, loaded.padding)
            with torch.inference_mode():
                raw = loaded.network(input_ids=padded.to(device), attention_mask=mask.to(device)).text_embeds
            vectors[list(batch.items)] = unit_rows(raw)[: len(batch.items)]
        return vectors

    @cached_property
    def _loaded(self) -> "_Loaded":
        from transformers import AutoTokenizer, CLIPTextModelWithProjection

        network = load_network(CLIPTextModelWithProjection, self._source, self._placement)
        tokenizer = load_part(AutoTokenizer, self._source)
        # The text's vector is read at its end mark; padding with it, as CLIP does, finds the first.
        return _Loaded(network, tokenizer, int(tokenizer.eos_token_id))


class ClipVisualEncoder(_Clip):
    """Pictures as vectors, of their centre square reduced to the model's size (224 pixels for most)."""

    tower = "vision"

    def encode_views(self, views: Sequence[View]) -> Vectors:
        """(N, D) float32, rows of length 1; a picture's row does not depend on the pictures beside it.

        Raises:
            ModelError: the weights cannot be loaded.
            QuestionError: a vector is not finite.
        """
        vectors = np.empty((len(views), self.dimensions), np.float32)
        for batch in same_shape_batches([1] * len(views), self._placement.rows):
            pictures = [Image.fromarray(views[item].pixels) for item in batch.rows]
            pixels = self._loaded.reader(images=pictures, return_tensors="pt")["pixel_values"]
            with torch.inference_mode():
                raw = self._loaded.network(pixels.to(self._placement.device, self._placement.dtype)).image_embeds
            vectors[list(batch.items)] = unit_rows(raw)[: len(batch.items)]
        return vectors

    @cached_property
    def _loaded(self) -> "_Loaded":
        from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

        network = load_network(CLIPVisionModelWithProjection, self._source, self._placement)
        return _Loaded(network, load_part(CLIPImageProcessorPil, self._source), padding=0)


def projection_dimensions(source: Source) -> int:
    """The length of a CLIP's vectors, from its configuration alone.

    Raises:
        ModelError: the configuration is broken.
    """
    from transformers import CLIPConfig

    return int(load_part(CLIPConfig, source).projection_dim)


def unit_rows(raw: torch.Tensor) -> Vectors:
    """(N, D) in any arithmetic as float32 rows of length 1.

    Raises:
        QuestionError: a row is not finite, as when a network overflows.
    """
    rows: Vectors = torch.nn.functional.normalize(raw.float(), dim=-1).cpu().numpy()
    if not np.isfinite(rows).all():
        raise QuestionError("wanted finite vectors of CLIP, got NaN or infinity; leave this picture or text out")
    return rows


@dataclass(frozen=True)
class _Loaded:
    network: Any
    reader: Any
    """The tokenizer, or the image processor."""
    padding: int
