"""Stands in for describing models that a run never asks, so that none is fetched for nothing."""

from collections.abc import Sequence
from typing import NoReturn

from derain.backends.interfaces import Identity, Vectors
from derain.backends.view import View

UNUSED = Identity("unused", "1")
"""Of `UnusedModel`."""


class UnusedModel:
    """Meets every describing interface and answers nothing: asking it is a mistake about what a variant needs."""

    identity = UNUSED
    dimensions = 0
    batch_size = 1

    def caption(self, views: Sequence[View]) -> list[str]:
        return self._refuse(len(views))

    def expand(self, captions: Sequence[str]) -> list[str]:
        return self._refuse(len(captions))

    def extract(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        return self._refuse(len(texts))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._refuse(len(texts))

    def encode_views(self, views: Sequence[View]) -> Vectors:
        return self._refuse(len(views))

    def _refuse(self, questions: int) -> NoReturn:
        raise AssertionError(f"{questions} questions to a model that this variant does not use")
