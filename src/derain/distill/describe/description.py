"""Pictures in words and vectors, as a knowledge base holds them and as candidates are compared with it.

Caption, expansion, keywords of the longer text, the description made of these, and vectors of description and picture:
whoever describes a picture for a comparison goes this one way, or its vectors lie elsewhere than those of the base.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from derain.distill.describe.keybert import description_of
from derain.distill.doors import Captioner, Expander, KeywordExtractor, TextEncoder, VisualEncoder
from derain.distill.view import View


class Describers(Protocol):
    """Who puts pictures into words and vectors."""

    @property
    def captioner(self) -> Captioner: ...
    @property
    def expander(self) -> Expander | None: ...
    @property
    def keywords(self) -> KeywordExtractor: ...
    @property
    def text_encoder(self) -> TextEncoder: ...
    @property
    def visual_encoder(self) -> VisualEncoder: ...


@dataclass(frozen=True)
class Description:
    """One picture in words and vectors."""

    caption: str
    expansion: str
    """Empty where there is no expander."""
    keywords: tuple[str, ...]
    text: str
    """Of which the vector is made."""
    text_vector: npt.NDArray[np.float32]
    """(D_text,), length 1."""
    visual_vector: npt.NDArray[np.float32]
    """(D_visual,), length 1."""


def longer_text(caption: str | None, expansion: str | None) -> str:
    """The expansion; the caption where there is none."""
    return expansion or caption or ""


def describe(views: Sequence[View], models: Describers) -> list[Description]:
    """A description of each picture; every door is asked about all of them together.

    Raises:
        ModelError: a door gives no answer now.
        QuestionError: it cannot be asked about one of the pictures.
    """
    captions = models.captioner.caption(views)
    expansions = [""] * len(views) if models.expander is None else models.expander.expand(captions)
    texts = [longer_text(*each) for each in zip(captions, expansions, strict=True)]
    keywords = models.keywords.extract(texts)
    described = [description_of(words, text) for words, text in zip(keywords, texts, strict=True)]
    columns = (
        captions,
        expansions,
        keywords,
        described,
        models.text_encoder.encode_texts(described),
        models.visual_encoder.encode_views(views),
    )
    return [Description(*cells) for cells in zip(*columns, strict=True)]
