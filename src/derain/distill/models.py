"""All the doors of a run together, and how a process of it opens its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from derain.distill.describe.unused import UNUSED
from derain.distill.doors import (
    Captioner,
    Expander,
    Identity,
    Judge,
    KeywordExtractor,
    TextEncoder,
    VisualEncoder,
)
from derain.distill.settings import DistillSettings
from derain.errors import SettingsError


@dataclass(frozen=True)
class Models:
    """Who stands behind each door; `describe.unused.UnusedDoor` behind those that the variant never asks."""

    captioner: Captioner
    expander: Expander | None
    """None: the caption itself is what keywords are taken from."""
    keywords: KeywordExtractor
    text_encoder: TextEncoder
    visual_encoder: VisualEncoder
    judges: tuple[Judge, ...]
    """In the order in which a cascade asks them; their names differ, for votes are told apart by them."""

    def __post_init__(self) -> None:
        names = [judge.name for judge in self.judges]
        for name in names:
            if names.count(name) > 1:
                raise SettingsError(f"judging.judges: two judges are named {name!r}; name each judge once")

    def identities(self) -> dict[str, Identity]:
        """Of everybody who is asked, by door: `captioner`, `expander` (where there is one), ..., `judge NAME`."""
        doors = {"captioner": self.captioner.identity}
        if self.expander is not None:
            doors["expander"] = self.expander.identity
        doors["keywords"] = self.keywords.identity
        doors["text_encoder"] = self.text_encoder.identity
        doors["visual_encoder"] = self.visual_encoder.identity
        doors = {door: identity for door, identity in doors.items() if identity != UNUSED}
        return doors | {f"judge {judge.name}": judge.identity for judge in self.judges}


Remember = Callable[[VisualEncoder], VisualEncoder]
"""Puts a memory in front of an encoder."""


def without_memory(encoder: VisualEncoder) -> VisualEncoder:
    """The encoder itself."""
    return encoder


class ModelsFactory(Protocol):
    """Opens the doors that settings name.

    It can be pickled (a function of a module, not a lambda), so that every process of a run opens its own; models that
    are large load their weights when they are first asked, for a process asks some of them only.
    """

    def __call__(self, settings: DistillSettings, remember: Remember = without_memory) -> Models:
        """All doors; judges that look at visual vectors are given the encoder through `remember`."""
        ...
