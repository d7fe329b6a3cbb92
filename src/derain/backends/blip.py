"""Captions by BLIP (Li et al., ICML 2022), which UniRain describes its pictures with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from derain.backends.batching import same_shape_batches
from derain.backends.interfaces import Identity
from derain.backends.loading import choose_placement, find_model, load_network, load_part
from derain.backends.view import View
from derain.errors import SettingsError

EMPTY_CAPTION = "a photograph"
"""Stands for a picture of which the model says nothing: true, and near to no text in particular."""


class BlipCaptioner:
    """One sentence on each picture, by beam search."""

    def __init__(
        self,
        model: str = "Salesforce/blip-image-captioning-base",
        revision: str | None = None,
        prefix: str = "a photo of",
        max_tokens: int = 40,
        beams: int = 3,
        device: str = "auto",
        rows: int | None = None,
    ) -> None:
        """Find the model; its weights are loaded when the first caption is asked for.

        Args:
            model: a folder, or `owner/name` on the hub.
            revision: branch, tag or commit on the hub; None is the default branch.
            prefix: how every caption begins; empty leaves the beginning to the model.
            max_tokens: that a caption may have besides the prefix.
            beams: sentences that the search keeps; 1 is greedy.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            rows: pictures that are computed at once; None takes 1 on a CPU and 16 on a GPU.

        Raises:
            ModelError: the model cannot be had, or is no BLIP.
            MissingExtraError: the extra `distill` is not installed.
            SettingsError: a number is below 1, or the device is not there.
        """
        if max_tokens < 1 or beams < 1:
            raise SettingsError(f"wanted max_tokens and beams of at least 1, got {max_tokens} and {beams}")
        self._placement = choose_placement(device, rows)
        self._source = find_model(model, revision, kinds=("blip",))
        self._prefix, self._max_tokens, self._beams = prefix.strip(), max_tokens, beams

    @property
    def batch_size(self) -> int:
        return self._placement.rows

    @property
    def identity(self) -> Identity:
        """The device is no part of it; the arithmetic is, for a caption may turn on a last digit."""
        return Identity(
            self._source.name,
            self._source.revision,
            {
                "prefix": self._prefix,
                "max_tokens": self._max_tokens,
                "beams": self._beams,
                "dtype": self._placement.arithmetic,
            },
        )

    def caption(self, views: Sequence[View]) -> list[str]:
        """A sentence for each picture, prefix included; `EMPTY_CAPTION` where the model has none.

        Raises:
            ModelError: the weights cannot be loaded.
        """
        captions = [""] * len(views)
        for batch in same_shape_batches([1] * len(views), self._placement.rows):
            sentences = self._generate([views[item] for item in batch.rows])
            for item, text in zip(batch.items, sentences, strict=False):  # rows beyond the items only fill the batch
                captions[item] = text if text.lower() not in ("", self._prefix.lower()) else EMPTY_CAPTION
        return captions

    def _generate(self, views: Sequence[View]) -> list[str]:
        loaded, placement = self._loaded, self._placement
        pictures = [Image.fromarray(view.pixels) for view in views]
        pixels = loaded.processor(images=pictures, return_tensors="pt")["pixel_values"]
        start = torch.tensor([loaded.start] * len(views), device=placement.device)
        with torch.inference_mode():
            tokens = loaded.network.generate(
                pixel_values=pixels.to(placement.device, placement.dtype),
                input_ids=start,
                attention_mask=torch.ones_like(start),
                max_new_tokens=self._max_tokens,
                num_beams=self._beams,
                do_sample=False,
            )
        return [" ".join(text.split()) for text in loaded.tokenizer.batch_decode(tokens, skip_special_tokens=True)]

    @cached_property
    def _loaded(self) -> "_Loaded":
        from transformers import AutoTokenizer, BlipForConditionalGeneration, BlipImageProcessorPil

        network = load_network(BlipForConditionalGeneration, self._source, self._placement)
        tokenizer = load_part(AutoTokenizer, self._source)
        # The network replaces the first token by its own start and drops the last, which is taken for an end.
        start = tokenizer(self._prefix)["input_ids"]
        return _Loaded(network, load_part(BlipImageProcessorPil, self._source), tokenizer, start)


@dataclass(frozen=True)
class _Loaded:
    network: Any
    processor: Any
    tokenizer: Any
    start: list[int]
    """Tokens of the prefix."""
