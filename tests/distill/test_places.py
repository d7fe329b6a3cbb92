"""Relative names of places and models: what workers are given holds in every folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pixel_models import PixelModels, make_base, make_candidates, small_settings

from derain.distill.pipeline.engine import WorkerConfig
from derain.distill.pipeline.local_engine import LocalEngine
from derain.distill.pipeline.run import absolute_model, absolute_uri, distill, with_absolute_models
from derain.distill.settings import DescribeSettings, DistillSettings, JudgeSettings


class ElsewhereEngine:
    """Works in another folder than the command was given in, as workers of a cluster do."""

    def __init__(self, elsewhere: Path) -> None:
        self.elsewhere = elsewhere
        self.openings: list[WorkerConfig] = []

    def run(self, shards, opening, on_rows=None) -> Iterator[tuple[int, object]]:
        self.openings.append(opening)
        for shard in shards:
            here = Path.cwd()
            os.chdir(self.elsewhere)
            try:
                done = list(LocalEngine().run([shard], opening, on_rows))
            finally:
                os.chdir(here)
            yield from done


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_candidates(tmp_path / "here", 6)
    (tmp_path / "log").mkdir()
    make_base(tmp_path / "here", PixelModels(tmp_path / "log")(small_settings()))
    (tmp_path / "here" / "weights" / "judge").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("cache", [Path("answers"), None])
def test_workers_in_another_folder_find_base_cache_and_models(here, monkeypatch, cache):
    monkeypatch.setenv("DERAIN_CACHE", "own")
    engine = ElsewhereEngine(here.parent / "elsewhere")
    settings = small_settings(judging=JudgeSettings(judges=("hf:weights/judge",)))
    models = PixelModels(here.parent / "log")
    report = distill([Path("manifest.csv")], "base", Path("out"), settings, models, engine, cache)
    assert report.is_complete
    (opening,) = engine.openings
    assert opening.base_uri == str(here / "base")
    assert opening.cache == here / (cache or "own/answers")
    assert opening.settings.judging.judges == (f"hf:{here}/weights/judge",)
    assert list(engine.elsewhere.iterdir()) == []
    again = distill([Path("manifest.csv")], "base", Path("out"), settings, models, engine, cache)
    assert again.shards_done_before == again.shards, "the plan is that of the command"


@pytest.mark.usefixtures("here")
def test_a_base_behind_a_scheme_keeps_its_name():
    assert absolute_uri("s3://bucket/base") == "s3://bucket/base"
    assert absolute_uri("base") == str(Path.cwd() / "base")
    assert absolute_uri("/data/base") == "/data/base"
    assert absolute_uri(None) is None


def test_only_models_that_are_folders_become_absolute(here):
    folder = f"hf:{here}/weights/judge"
    assert absolute_model("hf:weights/judge") == absolute_model("hf:./weights/judge") == folder
    for name in ("hf:owner/name@main", "hf:", "builtin:pairing", "builtin", "none", "openai:http://weights#judge"):
        assert absolute_model(name) == name
    settings = DistillSettings(
        describe=DescribeSettings(
            captioner="hf:weights", expander="hf:weights", text_encoder="clip:weights", visual_encoder="clip:weights"
        ),
        judging=JudgeSettings(judges=("hf:weights/judge", "builtin:pairing"), bias={"hf:weights/judge": 0.5}),
    )
    found = with_absolute_models(settings)
    named = (found.describe.captioner, found.describe.expander, found.describe.text_encoder)
    assert (*named, found.describe.visual_encoder) == (*[f"hf:{here}/weights"] * 2, *[f"clip:{here}/weights"] * 2)
    assert (found.judging.judges, found.judging.bias) == ((folder, "builtin:pairing"), {folder: 0.5})
    assert with_absolute_models(found) == found
