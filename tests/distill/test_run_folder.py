"""The folder of a run: its plan, its shards, and who may work in it."""

import multiprocessing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pixel_models import make_candidates, small_settings

from derain.backends.interfaces import Identity
from derain.distill.answers.cache import AnswerCache
from derain.distill.pipeline.plan import plan_of
from derain.distill.pipeline.prepare import prepare
from derain.distill.pipeline.row import Row
from derain.distill.pipeline.run_folder import RunFolder
from derain.errors import DatasetError, DistillError

IDENTITIES = {"captioner": Identity("blip", "1", {"beams": 3})}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return make_candidates(tmp_path, 8)


@pytest.fixture
def folder(tmp_path: Path, manifest: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "out")
    with folder.locked(), AnswerCache(tmp_path / "cache") as cache:
        prepare([manifest], small_settings(), folder, cache)
    folder.write_plan(plan_of([manifest], small_settings(), IDENTITIES, "v1"))
    return folder


def finish(rows: list[Row], outcome: str = "kept") -> list[Row]:
    for row in rows:
        row.outcome, row.reason, row.caption = outcome, "because", f"caption of {row.id}"
    return rows


def test_a_shard_is_finished_when_it_is_written_and_pending_rows_are_not(folder):
    assert (folder.shards, folder.rows) == (2, 8)
    assert [folder.pending(0), folder.pending(1)] == [6, 2]
    rows = finish(folder.open_rows(0))
    rows[1].outcome = rows[4].outcome = "pending"
    folder.write_shard(0, rows)
    assert [folder.pending(0), folder.pending(1)] == [2, 2]
    again = folder.open_rows(0)
    assert [row.id for row in again] == [rows[1].id, rows[4].id]
    assert all(row.caption == f"caption of {row.id}" and row.is_open and row.reason is None for row in again)
    assert [(row.shard, row.place) for row in again] == [(0, 0), (0, 1)]
    folder.write_shard(0, finish(again, "dropped"))
    assert folder.pending(0) == 0
    table = folder.shard(0).to_pylist()
    assert [row["id"] for row in table] == [row.id for row in rows]
    assert [row["outcome"] for row in table] == ["kept", "dropped", "kept", "kept", "dropped", "kept"]


def test_rows_that_an_engine_lost_doubled_or_left_open_are_refused(folder):
    for spoil in (
        lambda rows: rows[:-1],
        lambda rows: [*rows, rows[0]],
        lambda rows: rows[::-1],
        lambda rows: [*rows[:-1], Row("other", "", "", None, "", "", "", outcome="kept")],
    ):
        with pytest.raises(DistillError, match="lost or left unfinished"):
            folder.write_shard(0, spoil(finish(folder.open_rows(0))))
    with pytest.raises(DistillError, match="unfinished"):
        folder.write_shard(0, folder.open_rows(0))
    assert folder.pending(0) == 6


def test_another_plan_is_refused_with_all_that_differs(tmp_path, manifest, folder):
    folder.require_same_plan(plan_of([manifest], small_settings(batch_rows=1, test_pairs=7), IDENTITIES, "v1"))
    for settings, identities, references, words in (
        (small_settings(seed=1), IDENTITIES, "v1", "seed: 0 then, 1 now"),
        (
            small_settings(),
            {"captioner": Identity("blip", "1", {"beams": 4})},
            "v1",
            "models.captioner.parameters.beams: 3",
        ),
        (
            small_settings(),
            IDENTITIES | {"expander": Identity("qwen", "1")},
            "v1",
            "models.expander.model: None then, qwen now",
        ),
        (small_settings(), IDENTITIES, "v2", "photographs of the base have been added"),
    ):
        with pytest.raises(DistillError, match=words):
            folder.require_same_plan(plan_of([manifest], settings, identities, references))
    manifest.write_text(manifest.read_text().replace("scene-1", "scene-x"))
    with pytest.raises(DistillError, match="the manifests are others, or have changed"):
        folder.require_same_plan(plan_of([manifest], small_settings(), IDENTITIES, "v1"))
    with pytest.raises(DatasetError, match="no manifest there"):
        plan_of([tmp_path / "none.csv"], small_settings(), IDENTITIES, "v1")


def test_a_registered_test_set_belongs_to_the_plan(tmp_path, manifest):
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "a.png").write_bytes((tmp_path / "rainy" / "0.png").read_bytes())
    settings = small_settings()
    settings = settings.model_copy(update={"prepare": settings.prepare.model_copy(update={"exclude": (str(tests),)})})
    before = plan_of([manifest], settings, IDENTITIES, None)
    assert plan_of([manifest], settings, IDENTITIES, None) == before
    (tests / "b.png").write_bytes((tmp_path / "rainy" / "1.png").read_bytes())
    assert plan_of([manifest], settings, IDENTITIES, None) != before


def test_clearing_forgets_the_run_and_leaves_other_files(folder):
    (folder.out / "notes.txt").write_text("mine")
    folder.write_shard(0, finish(folder.open_rows(0)))
    folder.clear()
    assert not folder.is_prepared
    assert sorted(path.name for path in folder.out.iterdir()) == [".derain-run", "notes.txt"]
    assert sorted(path.name for path in (folder.out / ".derain-run").iterdir()) == ["lock", "made-by-derain"]
    folder.clear()


def test_clearing_removes_outputs_too(folder):
    (folder.out / "kept.parquet").touch()
    (folder.out / "pyramid.json").touch()
    folder.clear()
    assert [path.name for path in folder.out.iterdir()] == [".derain-run"]


@pytest.mark.parametrize("name", ["kept.parquet", "manifest.csv", ".derain-run/mine.txt"])
def test_what_no_run_made_is_neither_taken_nor_cleared(tmp_path, name):
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    folder = RunFolder(tmp_path / "out")
    with pytest.raises(DistillError, match="which no run of this program made"), folder.locked():
        pass
    with pytest.raises(DistillError, match="no run made it"):
        folder.clear()
    assert file.read_text() == "mine"


def test_own_folders_called_work_and_shards_are_left_alone(tmp_path):
    for name in ("work", "shards"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years")
    folder = RunFolder(tmp_path)
    with folder.locked():
        folder.clear()
    assert [(tmp_path / name / "thesis.txt").read_text() for name in ("work", "shards")] == ["years", "years"]


def test_half_written_files_of_killed_processes_go_and_others_stay(folder):
    inside = folder.plan_file.parent
    (inside / "shards").mkdir()
    swept = [folder.out / ".kept.parquet.1.ab.part", inside / "shards" / ".000001.parquet.1.ab.part"]
    mine = folder.out / ".film.part"
    for file in [*swept, mine]:
        file.touch()
    with folder.locked():
        assert [file.exists() for file in [*swept, mine]] == [False, False, True]


def test_what_was_asked_in_vain_comes_last(folder):
    for number, vain in ((0, {0, 2}), (1, {0, 1})):
        rows = folder.open_rows(number)
        for place, row in enumerate(rows):
            row.leave_pending("no_answer: x: odd" if place in vain else "not_asked: x is down: odd")
        folder.write_shard(number, rows)
    ids = [row["id"] for row in folder.shard(0).to_pylist()]
    assert [row.id for row in folder.open_rows(0)] == [ids[place] for place in (1, 3, 4, 5, 0, 2)]
    assert folder.waiting() == {0: 6, 1: 2}
    rows = folder.open_rows(0)
    for row in rows:
        row.leave_pending("no_answer: x: odd")
    folder.write_shard(0, rows)
    assert [row["id"] for row in folder.shard(0).to_pylist()] == ids
    rows = folder.open_rows(1)
    for row in rows:
        row.leave_pending("not_asked: x is down: odd")
    folder.write_shard(1, rows)
    assert list(folder.waiting()) == [1, 0]


def hold(out: Path, ready: "multiprocessing.synchronize.Event", go: "multiprocessing.synchronize.Event") -> None:
    with RunFolder(out).locked():
        ready.set()
        go.wait(60)


def test_one_process_at_a_time(tmp_path):
    context = multiprocessing.get_context("forkserver")
    ready, go = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready, go))
    process.start()
    assert ready.wait(120)
    with pytest.raises(DistillError, match="another process is at work"), RunFolder(tmp_path).locked():
        pass
    go.set()
    process.join(60)
    with RunFolder(tmp_path).locked():
        pass


def test_damaged_files_are_named(folder):
    folder.write_shard(0, finish(folder.open_rows(0)))
    folder.shard_file(0).write_bytes(b"PAR1 and nothing")
    with pytest.raises(DistillError, match=r"000000.parquet: this shard is damaged .*; delete it"):
        folder.pending(0)
    folder.candidates.write_bytes(b"short")
    with pytest.raises(DistillError, match=r"candidates\.arrow: cannot be read"):
        _ = RunFolder(folder.out).shards
    folder.plan_file.write_text("{")
    with pytest.raises(DistillError, match=r"plan\.json: cannot be read"):
        folder.require_same_plan({})


def test_a_shard_keeps_its_count_of_pending_rows_to_itself(folder):
    rows = finish(folder.open_rows(1))
    rows[0].outcome = "pending"
    folder.write_shard(1, rows)
    assert pq.read_schema(folder.shard_file(1)).metadata[b"pending"] == b"1"
