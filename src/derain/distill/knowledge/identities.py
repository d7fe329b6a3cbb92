"""Which models a knowledge base was made with, so that it is never mixed with vectors of others."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from derain.backends.interfaces import Identity
from derain.distill.describe.description import Describers
from derain.distill.describe.unused import UNUSED
from derain.errors import DistillError

_ROLES = ("captioner", "expander", "keywords", "text_encoder", "visual_encoder")


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
        """Those of these models."""
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
        return {role: getattr(self, role) for role in _ROLES}

    def check_same(self, uri: str, wanted: "BaseIdentities") -> None:
        """Refuse models other than these, which `uri` was made with; roles that are not used may be anything.

        Raises:
            DistillError: naming each model that differs, the base's and the wanted one.
        """
        differences = [
            f"{role} of the base {_describe(mine)}, wanted {_describe(wanted.by_role[role])}"
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
        lengths = {"text_dimensions": self.text_dimensions, "visual_dimensions": self.visual_dimensions}
        return json.dumps({role: one and one.as_dict() for role, one in self.by_role.items()} | lengths, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "BaseIdentities":
        """What `to_json` wrote."""
        fields = json.loads(text)
        models = {role: None if fields[role] is None else Identity(**fields[role]) for role in _ROLES}
        return cls(**fields | models)


def references_version(identities: BaseIdentities, references: Iterable[Sequence[object]]) -> str:
    """16 hexadecimal digits of the models and of (digest, type, description) of each reference, in any order.

    These decide all that retrieval knows of a reference: its vectors and its luminance are what the models make of the
    photograph of this digest, and of this description.
    """
    rows = [hashlib.sha256(json.dumps(list(each)).encode()).digest() for each in references]
    return hashlib.sha256(identities.to_json().encode() + b"".join(sorted(rows))).hexdigest()[:16]


def _key(identity: Identity | None) -> str | None:
    return None if identity is None else identity.digest


def _describe(identity: Identity | None) -> str:
    return f"is {identity or 'none'}"
