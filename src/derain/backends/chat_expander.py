"""Captions written out by a chat model on this machine, such as Qwen2.5-Instruct.

The model sees the caption alone, not the picture, and may add what is not there; captions are kept beside expansions
for that reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import torch

from derain.backends.batching import same_shape_batches
from derain.backends.interfaces import Identity, VersionedPrompt
from derain.backends.loading import choose_placement, find_model, load_network, load_part
from derain.errors import MissingExtraError, ModelError, SettingsError

_STEP = 16
"""Prompts that differ by a few tokens share a batch; the padding lies on their left, where it is masked."""


class ChatExpander:
    """Two or three sentences for each caption; the most probable word is taken each time."""

    def __init__(
        self,
        prompt: VersionedPrompt,
        model: str = "Qwen/Qwen2.5-7B-Instruct",
        revision: str | None = None,
        max_tokens: int = 160,
        device: str = "auto",
        rows: int | None = None,
    ) -> None:
        """Find the model; its weights are loaded when the first text is asked for.

        Args:
            prompt: what is asked of each caption, with a place `{caption}`.
            model: a folder, or `owner/name` on the hub; any chat model that transformers has itself.
            revision: branch, tag or commit on the hub; None is the default branch.
            max_tokens: that an expansion may have.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            rows: texts that are computed at once; None takes 1 on a CPU and 16 on a GPU.

        Raises:
            ModelError: the model cannot be had.
            MissingExtraError: the extra `distill` is not installed.
            SettingsError: `max_tokens` is below 1, or the device is not there.
        """
        if max_tokens < 1:
            raise SettingsError(f"wanted max_tokens of at least 1, got {max_tokens}")
        if find_spec("jinja2") is None:  # chat templates are written in it
            raise MissingExtraError(f"the chat model {model}", "distill")
        self._placement = choose_placement(device, rows)
        self._source = find_model(model, revision)
        self._prompt, self._max_tokens = prompt, max_tokens

    @property
    def batch_size(self) -> int:
        return self._placement.rows

    @property
    def identity(self) -> Identity:
        """The device is no part of it; the arithmetic is, for a text may turn on a last digit."""
        return Identity(
            self._source.name,
            self._source.revision,
            {
                **self._prompt.parameters,
                "max_tokens": self._max_tokens,
                "dtype": self._placement.arithmetic,
            },
        )

    def expand(self, captions: Sequence[str]) -> list[str]:
        """The longer text of each caption, on one line; the caption itself where the model says nothing.

        Raises:
            ModelError: the weights cannot be loaded, or the model has no chat template.
        """
        expansions = list(captions)
        if not captions:
            return expansions
        prompts = [self._loaded.prompt_tokens(self._prompt.text.format(caption=caption)) for caption in captions]
        step = _STEP if self._placement.rows > 1 else 1
        for batch in same_shape_batches([len(prompt) for prompt in prompts], self._placement.rows, step):
            texts = self._generate([prompts[item] for item in batch.rows], batch.length)
            for item, text in zip(batch.items, texts, strict=False):  # rows beyond the items only fill the batch
                expansions[item] = text or captions[item]
        return expansions

    def _generate(self, prompts: Sequence[Sequence[int]], length: int) -> list[str]:
        loaded, device = self._loaded, self._placement.device
        tokens, mask = pad_left(prompts, length, loaded.padding)
        with torch.inference_mode():
            whole = loaded.network.generate(input_ids=tokens.to(device), attention_mask=mask.to(device))
        replies = loaded.tokenizer.batch_decode(whole[:, length:], skip_special_tokens=True)
        return [" ".join(reply.split()) for reply in replies]

    @cached_property
    def _loaded(self) -> "_Loaded":
        import transformers
        from transformers import AutoModelForCausalLM, AutoTokenizer

        generation: Any = transformers.GenerationConfig  # its constructor has no types

        tokenizer = load_part(AutoTokenizer, self._source)
        if not tokenizer.chat_template:
            raise ModelError(f"{self._source.folder}: has no chat template; take a model tuned to follow instructions")
        network = load_network(AutoModelForCausalLM, self._source, self._placement)
        given = network.generation_config
        ends = given.eos_token_id if given.eos_token_id is not None else tokenizer.eos_token_id
        padding = tokenizer.pad_token_id
        if padding is None:
            padding = ends[0] if isinstance(ends, list) else ends
        # In place of the model's own, which may ask for sampling and penalties.
        network.generation_config = generation(
            do_sample=False,
            num_beams=1,
            max_new_tokens=self._max_tokens,
            bos_token_id=given.bos_token_id,
            eos_token_id=ends,
            pad_token_id=padding,
        )
        return _Loaded(network, tokenizer, 0 if padding is None else int(padding))


def pad_left(tokens: Sequence[Sequence[int]], length: int, padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rows as int64 (N, length) with `padding` before their starts, and a mask of the same shape, 1 on tokens."""
    rows = torch.full((len(tokens), length), padding, dtype=torch.int64)
    mask = torch.zeros_like(rows)
    for row, row_tokens in enumerate(tokens):
        rows[row, length - len(row_tokens) :] = torch.tensor(row_tokens, dtype=torch.int64)
        mask[row, length - len(row_tokens) :] = 1
    return rows, mask


@dataclass(frozen=True)
class _Loaded:
    network: Any
    tokenizer: Any
    padding: int

    def prompt_tokens(self, prompt: str) -> list[int]:
        """A user's message in the model's own form, up to where its answer begins."""
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
