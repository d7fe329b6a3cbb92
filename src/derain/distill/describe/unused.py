"""Stands behind a describing door that a run never asks, so that no model is fetched for it."""

from collections.abc import Sequence
from typing import NoReturn

from derain.distill.doors import Identity, Vectors
from derain.distill.view import View

UNUSED = Identity("unused", "1")
"""Of a door that nobody stands behind."""


class UnusedDoor:
    """Fits every describing door and answers none: who asks it has mistaken what a variant needs."""

    identity = UNUSED
    dimensions = 0
    rows_at_once = 1

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
        raise AssertionError(f"{questions} questions to a door that this variant does not open")
