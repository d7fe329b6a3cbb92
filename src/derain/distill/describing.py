"""Real rainy photographs into a knowledge base, by the models that settings name and with the answers of runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from derain.distill.answers.cache import AnswerCache, answers_folder
from derain.distill.answers.cached import cached_describers
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.indexing import IndexReport, index_photos
from derain.distill.knowledge.prefilter import Prefilter, PrefilterSettings
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.knowledge.walk import match_types, read_types, types_by_folder, walk_photographs
from derain.distill.models import open_describers
from derain.distill.settings import DistillSettings
from derain.errors import DistillError
from derain.types import RainType


def describe_photographs(
    photos: Sequence[Path],
    base_uri: str,
    settings: DistillSettings,
    prefilter: PrefilterSettings | None = None,
    types: Mapping[Path, str] | None = None,
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> IndexReport:
    """Add photographs to a knowledge base, which is made where there is none; those it has are not described again.

    May be killed at any moment: the same call adds what is missing.

    Args:
        photos: files, or folders with all below them.
        settings: name the models, `describe`, and how many photographs they are handed at once.
        prefilter: what a reference has to be; by default as `PrefilterSettings` says.
        types: rain types by absolute path, those of `types_by_hand`; the others are classified.
        cache: folder for answers; that of runs by default.
        on_progress: is told how many files are finished, of how many.

    Raises:
        DistillError: a place is not there, the base was made by other models, or the cache cannot be used.
        SettingsError, MissingExtraError, ModelError: a model cannot be had, or gives no answer to several photographs
            in a row; what is finished is in the base.
    """
    models = open_describers(settings.describe)
    base = KnowledgeBase.open_or_create(base_uri, BaseIdentities.of(models))
    accepted = Prefilter(prefilter or PrefilterSettings())
    with AnswerCache(cache or answers_folder()) as answers:
        asked = cached_describers(models, answers)
        return index_photos(photos, base, asked, accepted, on_progress, types, settings.batch_rows)


@dataclass(frozen=True)
class TypesByHand:
    """Rain types that are not left to the classifier."""

    types: Mapping[Path, str]
    """By absolute path, of photographs that were found."""
    in_table: int = 0
    """Photographs that the table names."""
    not_found: Sequence[Path] = ()
    """Absolute paths of those of them that are not among the photographs found, in the order of the table."""


def types_by_hand(photos: Sequence[Path], table: Path | None = None, by_folder: bool = False) -> TypesByHand:
    """Rain types that are not left to the classifier, of the photographs at the places.

    Args:
        photos: files, or folders with all below them.
        table: a CSV file with the columns path, relative to its folder, and type; it goes before the folders.
        by_folder: photographs below folders named `drs`, `drd`, `nrs`, `nrd` are of these types.

    Raises:
        DistillError: a place is not there, no folder is named after a type, or the table cannot be read, names an
            unknown type, or names photographs and none of those that were found.
    """
    if table is None and not by_folder:
        return TypesByHand({})
    paths = [each.path for each in walk_photographs(photos)]
    named = types_by_folder(paths) if by_folder else {}
    if by_folder and not named:
        raise DistillError(
            f"wanted photographs below folders named {', '.join(RainType)} to take their types from, found none; "
            "name the folder above these, or leave the types to the classifier"
        )
    if table is None:
        return TypesByHand(named)
    rows = read_types(table)
    matched, not_found = match_types(rows, paths)
    if rows and not matched:
        raise DistillError(
            f"{table}: wanted types of photographs to be indexed, and none of the {len(rows):,} that it names is among "
            f"the {len(paths):,} found, the first being {not_found[0]}; paths in it are relative to its own folder, "
            f"{table.absolute().parent}: correct them, or leave --types out"
        )
    return TypesByHand(named | matched, len(rows), not_found)
