"""What must not change between the sessions of a run: models, classifier, the order of judges."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pixel_models import JUDGES, PixelJudge, PixelModels, make_base, make_candidates, small_settings

from derain.backends.interfaces import Identity
from derain.distill.measure.rain_type import coefficients_path
from derain.distill.models import CacheEncoder, Models, uncached
from derain.distill.pipeline import plan as planning
from derain.distill.pipeline.engine import WorkerConfig, require_same_models
from derain.distill.pipeline.plan import changes, plan_of
from derain.distill.pipeline.ray_engine import StageWorker
from derain.distill.pipeline.row import Row, rows_of, table_of
from derain.distill.pipeline.run import distill
from derain.distill.settings import DistillSettings
from derain.errors import DistillError


@dataclass(frozen=True)
class RevisedJudge(PixelJudge):
    revision: str = "commit-1"

    @property
    def identity(self) -> Identity:
        return Identity("hub/judge", self.revision)


class MovingModels(PixelModels):
    """Whose last judge is another commit each time it is opened."""

    def __call__(self, settings: DistillSettings, cached: CacheEncoder = uncached) -> Models:
        openings = self.folder / "openings"
        commit = int(openings.read_text()) + 1 if openings.exists() else 1
        openings.write_text(str(commit))
        models = super().__call__(settings, cached)
        return replace(models, judges=(*models.judges[:2], RevisedJudge("paired", self.log, f"commit-{commit}")))


@pytest.fixture
def moving(tmp_path: Path) -> MovingModels:
    (tmp_path / "log").mkdir()
    return MovingModels(tmp_path / "log")


def test_a_model_that_became_another_meanwhile_ends_the_run_before_it_is_asked(tmp_path, moving):
    manifest = make_candidates(tmp_path, 4)
    base = make_base(tmp_path, PixelModels(moving.folder)(small_settings()))
    asked = len(moving.log.lines())
    with pytest.raises(DistillError, match=r"judge paired: .* hub/judge@commit-1, but hub/judge@commit-2 .*@REV"):
        distill([manifest], base, tmp_path / "out", small_settings(), moving, cache=tmp_path / "cache")
    plan = json.loads((tmp_path / "out" / ".derain-run" / "plan.json").read_text())
    assert plan["models"]["judge paired"]["revision"] == "commit-1"
    assert len(moving.log.lines()) == asked


def test_a_worker_that_opens_another_model_says_so_in_its_block(tmp_path, moving):
    settings = small_settings(variant="only-vlm")
    began_with = moving(settings).identities()
    opening = WorkerConfig(moving, settings, None, None, 3, tmp_path / "cache", began_with)
    row = Row("a", "r.png", "c.png", "drs", "set", "train", "")
    (returned,) = rows_of(StageWorker(opening, ["judge 0"], 1)(table_of([row])))
    assert returned.failure is not None
    assert returned.failure.startswith("judge paired: the run began with hub/judge@commit-1, but")


def test_models_are_the_same_whatever_the_arithmetic_of_the_machine():
    first = Identity("owner/name", "abc", {"beams": 3, "dtype": "float32"})
    require_same_models(
        {"captioner": first}, {"captioner": Identity("owner/name", "abc", {"beams": 3, "dtype": "bf16"})}
    )
    for other in (Identity("owner/name", "abc", {"beams": 4, "dtype": "float32"}), Identity("owner/name", "abd"), None):
        opened = {} if other is None else {"captioner": other}
        for began_with, now in (({"captioner": first}, opened), (opened, {"captioner": first})):
            with pytest.raises(DistillError, match="captioner: the run began with"):
                require_same_models(began_with, now)


def test_the_order_of_judges_belongs_to_a_plan_with_a_cascade(tmp_path):
    manifest = make_candidates(tmp_path, 2)
    roles = {f"judge {name}": Identity("judge", "1", {"way": name}) for name in JUDGES}
    turned = dict(reversed(roles.items()))
    plain, cascade = small_settings(), small_settings()
    cascade = cascade.model_copy(update={"judging": cascade.judging.model_copy(update={"cascade": True})})
    assert changes(plan_of([manifest], plain, roles, None), plan_of([manifest], plain, turned, None)) == []
    stored = json.loads(json.dumps(plan_of([manifest], cascade, roles, None)))
    assert changes(stored, plan_of([manifest], cascade, roles, None)) == []
    assert changes(stored, plan_of([manifest], cascade, turned, None)) == [
        f"cascade: {', '.join(JUDGES)} then, {', '.join(JUDGES[::-1])} now"
    ]
    assert changes(stored, plan_of([manifest], plain, roles, None)) == [f"cascade: {', '.join(JUDGES)} then, off now"]


def test_a_run_with_a_cascade_is_not_resumed_with_its_judges_in_another_order(tmp_path):
    manifest = make_candidates(tmp_path, 4)
    (tmp_path / "log").mkdir()
    settings = small_settings(variant="only-vlm")
    settings = settings.model_copy(update={"judging": settings.judging.model_copy(update={"cascade": True})})
    arguments = ([manifest], None, tmp_path / "out", settings)
    distill(*arguments, PixelModels(tmp_path / "log"), cache=tmp_path / "cache")
    with pytest.raises(DistillError, match=r"cascade: bright, .* then, paired, .* now"):
        distill(*arguments, PixelModels(tmp_path / "log", judges=JUDGES[::-1]), cache=tmp_path / "cache")


def test_the_classifier_of_types_belongs_to_the_plan(tmp_path, monkeypatch):
    manifest = make_candidates(tmp_path, 2)
    before = plan_of([manifest], small_settings(), {}, None)
    other = tmp_path / "rain_type.json"
    other.write_bytes(coefficients_path().read_bytes())
    monkeypatch.setattr(planning, "coefficients_path", lambda: other)
    assert changes(before, plan_of([manifest], small_settings(), {}, None)) == []
    other.write_bytes(other.read_bytes() + b"\n")
    (changed,) = changes(before, plan_of([manifest], small_settings(), {}, None))
    assert changed == "the classifier of rain types is another one"
