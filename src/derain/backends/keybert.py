"""Keywords of a text.

KeyBERT (Grootendorst, 2020): the words and pairs of words of a text whose vectors lie nearest to the text's own, chosen
one after the other by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) so that they differ.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from derain.backends.interfaces import Identity, TextEncoder, Vectors
from derain.errors import MissingExtraError

LONGEST_PHRASE = 2
DIVERSITY = 0.5
KEYWORDS = 8
_KEPT_PHRASES = 20_000
"""Phrases whose vectors are kept: captions of rain share most of theirs. 30 MB at 384 dimensions."""


class KeyBertExtractor:
    """Up to eight words or pairs of words of each text."""

    def __init__(self, encoder: TextEncoder) -> None:
        """Use an encoder for texts and phrases alike.

        Raises:
            MissingExtraError: the extra `distill` is not installed.
        """
        self._phrases = CachingEncoder(encoder, _KEPT_PHRASES)
        try:
            self._version = version("keybert")
        except ImportError as error:  # PackageNotFoundError is one
            raise MissingExtraError("the keyword extractor keybert", "distill") from error

    @property
    def identity(self) -> Identity:
        return Identity(
            "keybert",
            self._version,
            {
                "encoder": self._phrases.encoder.identity.digest,
                "longest_phrase": LONGEST_PHRASE,
                "diversity": DIVERSITY,
                "keywords": KEYWORDS,
            },
        )

    def extract(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Keywords of each text, nearest to it first; none where it has no word but stop words.

        A text's keywords do not depend on the texts beside it.
        """
        self._encode_together([text for text in texts if text.strip()])
        return [self._extract(text) for text in texts]

    def _encode_together(self, texts: Sequence[str]) -> None:
        """Have the vectors of all texts and of their phrases at hand: an encoder takes many in less time than one by
        one, and gives each the same vector."""
        if len(texts) > 1:
            self._library.extract_embeddings(
                list(texts), keyphrase_ngram_range=(1, LONGEST_PHRASE), stop_words="english"
            )

    def _extract(self, text: str) -> tuple[str, ...]:
        if not text.strip():
            return ()
        found = self._library.extract_keywords(
            text,
            keyphrase_ngram_range=(1, LONGEST_PHRASE),
            stop_words="english",
            use_mmr=True,
            diversity=DIVERSITY,
            top_n=KEYWORDS,
        )
        return tuple(str(keyword) for keyword, _ in found)

    @cached_property
    def _library(self) -> Any:
        from keybert import KeyBERT
        from keybert.backend import BaseEmbedder

        phrases = self._phrases

        class Backend(BaseEmbedder):  # type: ignore[misc]  # the library asks for its own base class
            def embed(self, documents: Sequence[str], verbose: bool = False) -> Vectors:  # noqa: ARG002 - theirs
                return phrases.encode([str(document) for document in documents])

        return KeyBERT(Backend())


class WholeText:
    """No keywords: the description is the whole text."""

    @property
    def identity(self) -> Identity:
        return Identity("whole-text", "1")

    def extract(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """No keyword for any text."""
        return [() for _ in texts]


class CachingEncoder:
    """An encoder that keeps the vectors of the texts it was asked about last."""

    def __init__(self, encoder: TextEncoder, most: int) -> None:
        self.encoder = encoder
        self._most = most
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """(N, D) float32, rows of length 1."""
        known = {text: self._vectors[text] for text in texts if text in self._vectors}
        new = list(dict.fromkeys(text for text in texts if text not in known))
        if new:
            known |= zip(new, self.encoder.encode_texts(new), strict=True)
        for text in known:
            self._vectors[text] = known[text]
            self._vectors.move_to_end(text)
        while len(self._vectors) > self._most:
            self._vectors.popitem(last=False)
        return (
            np.stack([known[text] for text in texts]) if texts else np.empty((0, self.encoder.dimensions), np.float32)
        )
