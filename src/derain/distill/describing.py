"""Real rainy photographs into a knowledge base, by the models that settings name and with the answers of runs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from derain.distill.answers.cache import AnswerCache, answers_folder
from derain.distill.answers.cached import cached_describers
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.indexing import IndexReport, index_photos
from derain.distill.knowledge.prefilter import Prefilter, PrefilterSettings
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.models import open_describers
from derain.distill.settings import DistillSettings


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
        types: rain types by absolute path, those of `manual_types`; the others are classified.
        cache: folder for answers; that of runs by default.
        on_progress: receives how many files are finished, of how many.

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
