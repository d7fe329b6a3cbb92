"""A resumed run: what its own folder holds of a candidate is not asked for again, whatever cache there is."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pixel_models import PixelCaptioner, PixelModels, make_base, make_candidates, small_settings
from test_distill_run import HesitantModels, outcomes, results, rows_in

from derain.distill.answers.cache import AnswerCache
from derain.distill.answers.cached import Answer
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.models import CacheEncoder, Models, uncached
from derain.distill.pipeline.prepare import prepare
from derain.distill.pipeline.run import RunReport, distill
from derain.distill.pipeline.run_folder import INSIDE, RunFolder
from derain.distill.settings import DistillSettings
from derain.errors import DistillError

CANDIDATES = 14


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates and a knowledge base."""
    folder = tmp_path_factory.mktemp("candidates")
    make_candidates(folder, CANDIDATES)
    (folder / "log").mkdir()
    make_base(folder, PixelModels(folder / "log")(small_settings()))
    return folder


def run_once(
    place: Path,
    out: Path,
    models: PixelModels,
    session: int = 0,
    settings: DistillSettings | None = None,
    fresh: bool = False,
) -> RunReport:
    """One session of a run; each has an empty cache of its own."""
    settings = settings or small_settings()
    base = None if settings.variant == "only-vlm" else str(place / "base")
    return distill([place / "manifest.csv"], base, out, settings, models, cache=out / f"cache{session}", fresh=fresh)


def asked(models: PixelModels) -> Counter[str]:
    return Counter(role for role, _ in models.log.lines())


def test_prior_verdicts_are_not_asked_for_again(place, tmp_path, models):
    run_once(place, tmp_path / "whole", models)
    models.shut("detailed")
    first = run_once(place, tmp_path / "out", models)
    pending = first.outputs.pending
    assert 0 < pending < CANDIDATES
    before = asked(models)
    again = run_once(place, tmp_path / "out", models, 1)
    assert asked(models) == before, "while it is down nobody else is asked either"
    assert again.outputs.pending == pending
    models.open("detailed")
    report = run_once(place, tmp_path / "out", models, 2)
    assert report.is_complete
    assert asked(models) - before == {"detailed": pending}
    assert outcomes(tmp_path / "out") == outcomes(tmp_path / "whole")
    rows = {row["id"]: row for name in ("kept", "dropped") for row in rows_in(tmp_path / "out" / f"{name}.parquet")}
    whole = {row["id"]: row for name in ("kept", "dropped") for row in rows_in(tmp_path / "whole" / f"{name}.parquet")}
    resumed = [name for name, row in rows.items() if len(row["verdicts"]) == 3]
    assert len(resumed) == pending
    assert all(rows[name] == whole[name] for name in resumed), "as if it had not waited, stages and votes in order"


def test_without_references_prior_verdicts_count_all_the_same(place, tmp_path, models):
    settings = small_settings(variant="only-vlm")
    models.shut("paired")
    pending = run_once(place, tmp_path / "out", models, settings=settings).outputs.pending
    before = asked(models)
    models.open("paired")
    assert run_once(place, tmp_path / "out", models, 1, settings).is_complete
    assert asked(models) - before == {"paired": pending}


def test_texts_that_the_run_holds_are_not_asked_for_again(place, tmp_path, models):
    run_once(place, tmp_path / "whole", models)
    models.shut("visual_encoder")
    assert run_once(place, tmp_path / "out", models).outputs.pending == CANDIDATES
    before = asked(models)
    models.open("visual_encoder")
    assert run_once(place, tmp_path / "out", models, 1).is_complete
    now = asked(models) - before
    assert {role: now[role] for role in ("captioner", "expander", "keywords")} == dict.fromkeys(
        ("captioner", "expander", "keywords"), 0
    )
    assert now["visual_encoder"] == CANDIDATES
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_an_expander_that_was_down_is_asked_about_the_captions_that_there_are(place, tmp_path, models):
    run_once(place, tmp_path / "whole", models)
    models.shut("expander")
    assert run_once(place, tmp_path / "out", models).outputs.pending == CANDIDATES
    before = asked(models)
    models.open("expander")
    assert run_once(place, tmp_path / "out", models, 1).is_complete
    assert (asked(models) - before)["captioner"] == 0
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_a_cascade_that_is_resumed_ends_as_if_it_had_not_waited(place, tmp_path, models):
    hesitant = HesitantModels(models.folder)
    settings = small_settings()
    settings = settings.model_copy(update={"judging": settings.judging.model_copy(update={"cascade": True})})
    run_once(place, tmp_path / "whole", hesitant, settings=settings)
    hesitant.shut("detailed")
    pending = run_once(place, tmp_path / "out", hesitant, settings=settings).outputs.pending
    assert 0 < pending < CANDIDATES
    before = asked(hesitant)
    hesitant.open("detailed")
    assert run_once(place, tmp_path / "out", hesitant, 1, settings).is_complete
    assert set(asked(hesitant) - before) <= {"detailed"}
    assert outcomes(tmp_path / "out") == outcomes(tmp_path / "whole")
    for name in ("kept", "dropped"):
        whole = {row["id"]: row for row in rows_in(tmp_path / "whole" / f"{name}.parquet")}
        for row in rows_in(tmp_path / "out" / f"{name}.parquet"):
            if "detailed" in [verdict["judge"] for verdict in row["verdicts"]]:
                assert row == whole[row["id"]], "a verdict that the cascade would not have asked for is left out"


def test_a_photograph_that_was_moved_meanwhile_is_looked_for_at_its_new_place(tmp_path, models):
    make_candidates(tmp_path, 4)
    uri = make_base(tmp_path, models(small_settings()))
    models.shut("detailed")
    models.shut("paired")
    assert run_once(tmp_path, tmp_path / "out", models).outputs.pending == 4
    (tmp_path / "real").rename(tmp_path / "elsewhere")
    base = KnowledgeBase.open(uri)
    places = {entry.digest: str(tmp_path / "elsewhere" / Path(entry.path).name) for entry in base.entries()}
    base.set_places({digest: (path, "real") for digest, path in places.items()})
    models.open("detailed")
    models.open("paired")
    assert run_once(tmp_path, tmp_path / "out", models, 1).is_complete
    rows = [row for name in ("kept", "dropped") for row in rows_in(tmp_path / "out" / f"{name}.parquet")]
    cells = [cell for row in rows for cell in row["references"]]
    assert cells
    assert all(cell["path"] == places[cell["digest"]] for cell in cells)


def test_time_of_an_answer_is_counted_once_however_often_it_is_recalled(tmp_path, models):
    make_candidates(tmp_path, 1)
    slow = PixelModels(models.folder, seconds=0.5)
    make_base(tmp_path, models(small_settings()), count=2)
    slow.shut("visual_encoder")

    def run_again() -> dict[str, float]:
        arguments = ([tmp_path / "manifest.csv"], str(tmp_path / "base"), tmp_path / "out", small_settings())
        distill(*arguments, slow, cache=tmp_path / "cache")
        return seconds_of_stages(tmp_path / "out")

    first = run_again()
    assert first["embed"] > 1, "keywords and text"
    for _ in range(3):
        last = run_again()
    assert last["caption"] == pytest.approx(first["caption"], abs=0.45)
    assert last["embed"] == pytest.approx(first["embed"], abs=0.45)
    slow.open("visual_encoder")
    whole = run_again()
    assert whole["embed"] - last["embed"] > 0.5, "the picture's vector was asked for now"
    distill(
        [tmp_path / "manifest.csv"], str(tmp_path / "base"), tmp_path / "other", small_settings(), slow,
        cache=tmp_path / "cache",
    )  # fmt: skip
    assert seconds_of_stages(tmp_path / "other")["embed"] > 1.5, "another run has the time of answers that it recalls"


def seconds_of_stages(out: Path) -> dict[str, float]:
    """Of the only candidate."""
    tables = [pq.read_table(file) for file in out.glob("*.parquet")]
    (seconds,) = [seconds for table in tables for seconds in table.column("stage_seconds").to_pylist()]
    return dict(seconds)


def test_a_recalled_answer_of_another_session_adds_no_time_after_the_way_through_a_shard(tmp_path):
    manifest = make_candidates(tmp_path, 1)
    folder = RunFolder(tmp_path / "out")
    with folder.locked(), AnswerCache(tmp_path / "cache") as cache:
        prepare([manifest], small_settings(), folder, cache)
    for session in range(3):
        (row,) = folder.open_rows(0)
        row.count_answer("embed", "text_encoder", Answer("x", 2.0, from_cache=session > 0))
        row.count_answer("embed", "visual_encoder", Answer("x", 0.5, from_cache=session == 1))
        row.leave_pending("no_answer: x: y")
        folder.write_shard(0, [row])
        spent = dict(row.stage_seconds or [])
        assert spent == {"embed": (2.5, 2.5, 3.0)[session]}, "what was asked anew took its time anew"
    assert len(row.calls) == 2


class SpeechlessCaptioner(PixelCaptioner):
    """Has nothing to say about the darkest pictures."""

    def caption(self, views):
        said = super().caption(views)
        return ["" if view.pixels.mean() < 90 else text for view, text in zip(views, said, strict=True)]


@dataclass(frozen=True)
class SpeechlessModels(PixelModels):
    def __call__(self, settings, cached=uncached):
        return replace(super().__call__(settings, cached), captioner=SpeechlessCaptioner(self.log))


def test_what_cannot_be_described_is_final_and_asked_once(place, tmp_path, models):
    speechless = SpeechlessModels(models.folder)
    report = run_once(place, tmp_path / "out", speechless)
    assert report.is_complete
    assert 0 < report.outputs.reasons["cannot_be_asked"] < CANDIDATES
    assert asked(models)["captioner"] == CANDIDATES
    assert run_once(place, tmp_path / "out", speechless, 1).is_complete
    assert asked(models)["captioner"] == CANDIDATES


def test_candidates_without_references_are_final_and_not_looked_at_again(tmp_path, models):
    make_candidates(tmp_path, 6, types=("drs", "nrd"))
    make_base(tmp_path, models(small_settings()))
    report = run_once(tmp_path, tmp_path / "out", models)
    assert report.is_complete
    assert report.outputs.reasons["no_references"] == 3
    before = asked(models)
    assert run_once(tmp_path, tmp_path / "out", models, 1).is_complete
    assert asked(models) == before


def test_other_judges_are_still_refused(place, tmp_path, models):
    models.shut("detailed")
    run_once(place, tmp_path / "out", models)
    with pytest.raises(DistillError, match="judge paired"):
        run_once(place, tmp_path / "out", PixelModels(models.folder, judges=("bright", "detailed")), 1)


@pytest.fixture
def own(tmp_path: Path, models: PixelModels) -> Path:
    """Candidates and a knowledge base that a test may change."""
    make_candidates(tmp_path, CANDIDATES)
    make_base(tmp_path, models(small_settings()))
    return tmp_path


def test_a_picture_that_comes_back_is_named_and_taken_in_by_a_fresh_run(own, models):
    picture, away = own / "clean" / "3.png", own / "away.png"
    picture.rename(away)
    first = run_once(own, own / "out", models)
    assert (first.outputs.pending, first.outputs.candidates) == (1, CANDIDATES)
    assert run_once(own, own / "out", models).outputs.pending == 1
    before, rows = asked(models), results(own / "out")
    away.rename(picture)
    with pytest.raises(
        DistillError, match=r"3\.png could not be read when this run was prepared, and can be now.*--fresh"
    ):
        run_once(own, own / "out", models)
    assert (asked(models), results(own / "out")) == (before, rows)
    assert run_once(own, own / "out", models, fresh=True).is_complete
    assert set((asked(models) - before).values()) == {1}, "answers stay in the cache"
    run_once(own, own / "whole", models)
    assert results(own / "out") == results(own / "whole")


def test_what_was_judged_stays_while_its_own_file_is_away(own, models):
    run_once(own, own / "out", models)
    before, rows = asked(models), results(own / "out")
    (own / "clean" / "5.png").rename(own / "away.png")
    assert run_once(own, own / "out", models).is_complete
    assert (asked(models), results(own / "out")) == (before, rows)


def test_a_run_that_was_moved_says_where_its_files_lie_now(place, tmp_path, models):
    whole = run_once(place, tmp_path / "out", models)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    again = run_once(place, tmp_path / "elsewhere", models)
    assert again.outputs.manifest == tmp_path / "elsewhere" / "manifest.csv"
    assert again.outputs.manifest.is_file()
    assert again.outputs.kept == whole.outputs.kept


@pytest.fixture(scope="module")
def uninterrupted(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Counter[str], dict[str, object]]:
    """What a run asks that nothing interrupts, and its results."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "log").mkdir()
    models = PixelModels(folder / "log")
    run_once(place, folder / "out", models)
    return asked(models), results(folder / "out")


class Killed(BaseException):
    """Stands for a signal."""


def killed_at(call: int, function: Callable[..., object]) -> Callable[..., object]:
    """The function, which ends at its so-manieth call, before it does anything."""
    calls = [0]

    def counted(*arguments: object, **named: object) -> object:
        calls[0] += 1
        if calls[0] == call:
            raise Killed
        return function(*arguments, **named)

    return counted


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        *((Path, "replace", call) for call in range(1, 11)),  # prepared, planned, three shards, four outputs
        (RunFolder, "write_plan", 1),
        (RunFolder, "write_shard", 1),
        (RunFolder, "write_shard", 3),
        (Path, "unlink", 1),
    ],
)
def test_a_kill_in_between_loses_neither_answers_nor_rows(
    place, tmp_path, models, uninterrupted, monkeypatch, owner, name, call
):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed_at(call, getattr(owner, name)))
        with pytest.raises(Killed):
            run_once(place, tmp_path / "out", models)
    assert not (tmp_path / "out" / "pyramid.json").exists()
    assert run_once(place, tmp_path / "out", models).is_complete
    assert (asked(models), results(tmp_path / "out")) == uninterrupted, "nobody was asked twice"


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and nothing"])
def test_a_list_of_filtered_rows_that_is_damaged_is_named(place, tmp_path, models, content):
    run_once(place, tmp_path / "out", models)
    filtered = tmp_path / "out" / INSIDE / "refused.parquet"
    whole = filtered.read_bytes()
    filtered.unlink()
    for half in (content, whole[: len(whole) // 2]):
        if half is not None:
            filtered.write_bytes(half)
        with pytest.raises(DistillError, match=r"refused\.parquet: cannot be read .*--fresh"):
            run_once(place, tmp_path / "out", models)
    assert (tmp_path / "out" / "kept.parquet").exists()


class CountedModels(PixelModels):
    """Counts how often they are opened."""

    def __call__(self, settings: DistillSettings, cached: CacheEncoder = uncached) -> Models:
        with (self.folder / "openings").open("a") as file:
            file.write("|")
        return super().__call__(settings, cached)


def test_where_nothing_is_left_to_do_no_model_is_opened_for_it(place, tmp_path, models):
    counted = CountedModels(models.folder)
    first = run_once(place, tmp_path / "out", counted)
    assert (models.folder / "openings").read_text() == "||", "to know who they are, and to work"
    again = run_once(place, tmp_path / "out", counted)
    assert (models.folder / "openings").read_text() == "|||"
    assert again.shards_done_before == again.shards
    assert again.outputs == first.outputs
