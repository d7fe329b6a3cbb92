"""Everything that decides a run's result, so that it is resumed by the same command alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from derain.backends.interfaces import Identity
from derain.data.digest import list_digest
from derain.distill.measure.rain_type import coefficients_path
from derain.distill.pipeline.filters import state_of
from derain.distill.settings import DistillSettings
from derain.errors import DatasetError
from derain.settings import flat

VERSION = 2
"""Of the form of a run's folder."""

FREE_SETTINGS = ("batch_rows", "test_pairs", "val_pairs", "describe", "judging")
"""May change between sessions: they do not touch what is found out about a candidate, or (models) do so only by the
identities of the models, which the plan has. So it has the order of the judges where a cascade asks them in it."""

JUDGE = "judge "
"""How the roles of judges are named, see `Models.identities`."""

IN_WORDS = {
    "candidates": "the manifests are others, or have changed",
    "references": "photographs of the base have been added, removed, rejected, taken back or given another type",
    "type classifier": "the classifier of rain types is another one",
    "version": "another version of this program made it",
    "test sets": "the registered test sets are others, or have changed",
}
"""Parts of a plan whose values, digests of contents, say nothing to a reader."""

Plan = Mapping[str, Any]
"""JSON values."""


def plan_of(
    manifests: Sequence[Path],
    settings: DistillSettings,
    identities: Mapping[str, Identity],
    references: str | None,
) -> Plan:
    """Everything that decides a run's result.

    Args:
        references: version of the knowledge base's photographs, None where none are used.

    Raises:
        DatasetError: a manifest or a registered test set is not there.
    """
    given = settings.model_dump(mode="json")
    try:
        contents = {str(manifest.absolute()): list_digest(manifest) for manifest in manifests}
    except OSError as error:
        raise DatasetError(f"{error.filename}: no manifest there ({error.strerror}); give the path of one") from error
    return {
        "version": VERSION,
        "settings": {
            **{name: value for name, value in given.items() if name not in FREE_SETTINGS},
            "cascade": [role for role in identities if role.startswith(JUDGE)] if settings.judging.cascade else False,
        },
        "candidates": contents,
        "test sets": {place: state_of(place) for place in settings.prepare.exclude},
        "models": {role: identity.as_dict() for role, identity in identities.items()},
        "type classifier": list_digest(coefficients_path()),
        "references": references,
    }


def changes(before: Plan, now: Plan) -> list[str]:
    """What two plans differ in, each in words."""
    if before.get("version") != now["version"]:
        return [IN_WORDS["version"]]
    one, other = _flat(before), _flat(now)
    keys = dict.fromkeys([*one, *other])
    found = [
        IN_WORDS.get(key.partition(".")[0])
        or f"{key.removeprefix('settings.')}: {_short(one.get(key))} then, {_short(other.get(key))} now"
        for key in keys
        if one.get(key) != other.get(key)
    ]
    return list(dict.fromkeys(found))


def _flat(plan: Plan) -> dict[str, Any]:
    """`flat`, with the order of a cascade as one value."""
    settings = dict(plan.get("settings", {}))
    if "cascade" in settings:
        order = settings["cascade"] or ["off"]
        settings["cascade"] = ", ".join(role.removeprefix(JUDGE) for role in order)
    return flat({**plan, "settings": settings})


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
