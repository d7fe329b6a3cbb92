"""Which models a knowledge base was made with, so that it is never mixed with others."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from derain.backends.interfaces import Identity
from derain.distill.describe.description import Describers
from derain.distill.describe.unused import UNUSED
from derain.errors import DistillError


@dataclass(frozen=True)
class BaseIdentities:
    """The models of a knowledge base, and the lengths of their vectors."""

    captioner: Identity
    expander: Identity | None
    keywords: Identity
    text_encoder: Identity
    visual_encoder: Identity
    text_dimensions: int
    visual_dimensions: int

    @classmethod
    def of(cls, models: Describers) -> "BaseIdentities":
        """Those of models that are at hand."""
        return cls(
            captioner=models.captioner.identity,
            expander=None if models.expander is None else models.expander.identity,
            keywords=models.keywords.identity,
            text_encoder=models.text_encoder.identity,
            visual_encoder=models.visual_encoder.identity,
            text_dimensions=models.text_encoder.dimensions,
            visual_dimensions=models.visual_encoder.dimensions,
        )

    @property
    def by_role(self) -> Mapping[str, Identity | None]:
        """Captioner, expander, keywords, text_encoder, visual_encoder."""
        return {
            "captioner": self.captioner,
            "expander": self.expander,
            "keywords": self.keywords,
            "text_encoder": self.text_encoder,
            "visual_encoder": self.visual_encoder,
        }

    def check_same(self, uri: str, wanted: "BaseIdentities") -> None:
        """Refuse models other than these, which `uri` was made with; those that are not used may differ.

        Raises:
            DistillError: naming each model that differs, the base's and the wanted one.
        """
        differences = [
            f"{role} of the base {_in_words(mine)}, wanted {_in_words(wanted.by_role[role])}"
            for role, mine in self.by_role.items()
            if wanted.by_role[role] != UNUSED and _key(mine) != _key(wanted.by_role[role])
        ]
        for name in ("text_dimensions", "visual_dimensions"):
            if getattr(wanted, name) not in (0, getattr(self, name)):
                differences.append(f"{name} of the base {getattr(self, name)}, wanted {getattr(wanted, name)}")
        if differences:
            raise DistillError(
                f"{uri}: this knowledge base was made with other models ({'; '.join(differences)}); "
                "choose the models it was made with, or index the photographs into a new base"
            )

    def to_json(self) -> str:
        """For the base's metadata table."""
        whole = {role: None if identity is None else _fields(identity) for role, identity in self.by_role.items()}
        return json.dumps(
            {**whole, "text_dimensions": self.text_dimensions, "visual_dimensions": self.visual_dimensions},
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> "BaseIdentities":
        """What `to_json` wrote."""
        whole = json.loads(text)
        expander = whole["expander"]
        return cls(
            captioner=Identity(**whole["captioner"]),
            expander=None if expander is None else Identity(**expander),
            keywords=Identity(**whole["keywords"]),
            text_encoder=Identity(**whole["text_encoder"]),
            visual_encoder=Identity(**whole["visual_encoder"]),
            text_dimensions=whole["text_dimensions"],
            visual_dimensions=whole["visual_dimensions"],
        )


def _fields(identity: Identity) -> dict[str, object]:
    return {"model": identity.model, "revision": identity.revision, "parameters": dict(identity.parameters)}


def _key(identity: Identity | None) -> str | None:
    return None if identity is None else identity.digest


def _in_words(identity: Identity | None) -> str:
    if identity is None:
        return "is none"
    parameters = ", ".join(f"{name}={value}" for name, value in sorted(identity.parameters.items()))
    return f"is {identity.model}@{identity.revision}" + (f" ({parameters})" if parameters else "")
