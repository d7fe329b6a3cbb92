"""A knowledge base and a calibration describe a picture as a run does, cell by cell."""

from pathlib import Path

import numpy as np
import pytest
from pixel_models import PixelModels, crop, save, small_settings, streaked

from derain.backends.view import read_view
from derain.distill.answers.cache import AnswerCache
from derain.distill.answers.cached import (
    CachedCaptioner,
    CachedExpander,
    CachedKeywords,
    CachedTextEncoder,
    CachedVisualEncoder,
)
from derain.distill.describe.description import Describers, describe, longer_text
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.indexing import index_photos
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.models import Models
from derain.distill.pipeline.engine import work_through
from derain.distill.pipeline.pictures import Pictures
from derain.distill.pipeline.row import Row
from derain.distill.pipeline.stages import CaptionStage, EmbedStage


def staged(models: Models, path: Path, cache: AnswerCache) -> Row:
    """The picture as the stages of a run describe it."""
    row = Row("one", str(path), "", "drs", "set", "train", "", digest=read_view(path).digest)
    expander = None if models.expander is None else CachedExpander(models.expander, cache)
    caption = CaptionStage(CachedCaptioner(models.captioner, cache), expander, Pictures())
    embed = EmbedStage(
        CachedKeywords(models.keywords, cache),
        CachedTextEncoder(models.text_encoder, cache),
        CachedVisualEncoder(models.visual_encoder, cache),
        Pictures(),
    )
    for stage in (caption, embed):
        work_through(stage, [row])
    return row


@pytest.mark.parametrize("has_expander", [True, False])
def test_a_run_a_base_and_a_calibration_see_the_same(tmp_path: Path, has_expander: bool) -> None:
    (tmp_path / "log").mkdir()
    models = PixelModels(tmp_path / "log", has_expander=has_expander)(small_settings())
    path = save(tmp_path / "photo.png", streaked(crop(3), 3))
    row = staged(models, path, AnswerCache(tmp_path / "cache"))
    (said,) = describe([read_view(path)], models)
    assert (row.caption, row.expansion or "", tuple(row.keywords)) == (said.caption, said.expansion, said.keywords)
    assert row.description == said.text
    assert np.array_equal(np.float32(row.text_vector), said.text_vector)
    assert np.array_equal(np.float32(row.visual_vector), said.visual_vector)

    base = KnowledgeBase.create(tmp_path / "base", BaseIdentities.of(models))
    roles = (models.captioner, models.expander, models.keywords, models.text_encoder, models.visual_encoder)
    index_photos([path], base, Describers(*roles), types={path: "drs"})
    record = base.get(row.digest)
    assert record is not None
    assert (record.caption, record.expansion, record.keywords) == (said.caption, said.expansion, said.keywords)
    assert record.description == said.text
    assert np.array_equal(record.text, said.text_vector)
    assert np.array_equal(record.visual, said.visual_vector)


def test_the_longer_text_is_the_expansion_where_there_is_one() -> None:
    assert [longer_text("rain", "much rain"), longer_text("rain", ""), longer_text("rain", None)] == [
        "much rain",
        "rain",
        "rain",
    ]
