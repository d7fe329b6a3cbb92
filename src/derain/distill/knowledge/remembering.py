"""Describing models with the answers of runs before them, so that none is asked twice about a photograph."""

from derain.distill.knowledge.indexing import IndexModels
from derain.distill.pipeline.cache import AnswerCache
from derain.distill.pipeline.cached import (
    CachedCaptioner,
    CachedExpander,
    CachedKeywords,
    CachedTextEncoder,
    CachedVisualEncoder,
)


def remembering(models: IndexModels, answers: AnswerCache) -> IndexModels:
    """The same models behind the cache."""
    return IndexModels(
        CachedCaptioner(models.captioner, answers),
        None if models.expander is None else CachedExpander(models.expander, answers),
        CachedKeywords(models.keywords, answers),
        CachedTextEncoder(models.text_encoder, answers),
        CachedVisualEncoder(models.visual_encoder, answers),
    )
