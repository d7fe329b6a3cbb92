"""Pictures in words and vectors, as a knowledge base holds them and as candidates are compared with it.

Caption, expansion, keywords of the longer text, the description made of these, and vectors of description and picture:
every picture that is compared is described in this one way, or its vectors would not be comparable with the base.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from derain.backends.interfaces import Captioner, Expander, KeywordExtractor, TextEncoder, VisualEncoder
from derain.backends.view import View


@dataclass(frozen=True)
class Describers:
    """Models that put pictures into words and vectors."""

    captioner: Captioner
    expander: Expander | None
    """None: the caption itself is what keywords are taken from."""
    keywords: KeywordExtractor
    text_encoder: TextEncoder
    visual_encoder: VisualEncoder


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


def description_of(keywords: Sequence[str], text: str) -> str:
    """What a record's text vector is made of: its keywords, joined by commas; the text where there are none."""
    return ", ".join(keywords) if keywords else text


def longer_text(caption: str | None, expansion: str | None) -> str:
    """The expansion; the caption where there is none."""
    return expansion or caption or ""


def describe(views: Sequence[View], models: Describers) -> list[Description]:
    """A description of each picture; every model is asked about all of them together.

    Raises:
        ModelError: a model gives no answer now.
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
