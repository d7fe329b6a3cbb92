"""The same rows from Ray's workers as from this process, also when workers die; two workers on this machine."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pixel_models import PixelJudge, PixelModels, make_base, make_candidates, small_settings
from test_distill_run import results, rows_in

from derain.backends.view import read_view
from derain.distill.models import open_models, preset_settings, uncached
from derain.distill.pipeline import ray_engine
from derain.distill.pipeline.engine import WorkerConfig
from derain.distill.pipeline.local_engine import LocalEngine
from derain.distill.pipeline.ray_engine import PoolSettings, RayEngine, RaySettings, StageWorker, pools
from derain.distill.pipeline.row import Row, rows_of, table_of
from derain.distill.pipeline.run import RunReport, distill
from derain.distill.settings import stage_names
from derain.errors import DistillError

# The package warns of its own settings while it makes them.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")

TWO = RaySettings(together=PoolSettings(least=2, most=2, cpus=0.5))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candidates")
    make_candidates(folder, 20)
    (folder / "log").mkdir()
    make_base(folder, PixelModels(folder / "log")(small_settings()))
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One for all tests: it takes seconds to start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the package's own imports
        import ray
        import ray.data
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.setenv("OMP_NUM_THREADS", "3")  # as somebody may have set it for all programs
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else a token is left in the home folder
        patch.setenv("RAY_worker_niceness", "0")  # else workers starve beside anything else on this machine
        ray.init(
            address="local", num_cpus=2, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False
        )
        yield
        ray.shutdown()


def run(place: Path, out: Path, models: PixelModels, engine: LocalEngine | RayEngine) -> RunReport:
    return distill([place / "manifest.csv"], str(place / "base"), out, small_settings(), models, engine, out / "cache")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_two_workers_give_the_rows_of_the_local_engine_also_when_one_is_killed(place, tmp_path, models):
    odd = read_view(place / "rainy" / "7.png").digest
    (models.folder / f"odd-{odd}").touch()
    assert run(place, tmp_path / "local", models, LocalEngine()).outputs.pending == 1
    slow = WorkersNamed(tmp_path / "slow", seconds=0.05)
    slow.folder.mkdir()
    (slow.folder / f"odd-{odd}").touch()
    killed: list[int] = []

    def kill_one() -> None:
        names = slow.folder / "workers"
        while not (names.exists() and len(slow.log.lines()) > 10):
            time.sleep(0.02)
        killed.append(int(names.read_text().split()[0]))
        os.kill(killed[0], signal.SIGKILL)

    threading.Thread(target=kill_one, daemon=True).start()
    report = run(place, tmp_path / "ray", slow, RayEngine(TWO))
    assert killed, "a worker died under way"
    assert len(set((slow.folder / "workers").read_text().split())) >= 2
    assert report.outputs.pending == 1
    assert results(tmp_path / "ray") == results(tmp_path / "local")
    # What one engine began the other finishes.
    (models.folder / f"odd-{odd}").unlink()
    for folder in ("local", "ray"):
        again = run(place, tmp_path / folder, models, LocalEngine())
        assert (again.shards_done_before, again.outputs.pending) == (3, 0)
    assert results(tmp_path / "ray") == results(tmp_path / "local")


class WorkersNamed(PixelModels):
    """Writes down which processes open models, the driver left out."""

    def __call__(self, settings, cached=uncached):
        import ray

        if ray.get_runtime_context().worker.mode == ray.WORKER_MODE:
            with (self.folder / "workers").open("a") as file:
                file.write(f"{os.getpid()}\n")
        return super().__call__(settings, cached)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_pool_for_each_judge_gives_the_same_rows(place, tmp_path, models, monkeypatch):
    monkeypatch.setattr(ray_engine, "SHARDS_AT_ONCE", 2)  # of four: the driver does not hold them all
    two = PixelModels(models.folder, judges=("paired", "detailed"))
    settings = small_settings(variant="only-vlm")
    staged = RayEngine(RaySettings(judge=PoolSettings(least=1, most=2, cpus=0.5)))
    for folder, engine in (("ray", staged), ("local", LocalEngine())):
        out = tmp_path / folder
        distill([place / "manifest.csv"], None, out, settings, two, engine, out / "cache")
    assert results(tmp_path / "ray") == results(tmp_path / "local")


@pytest.mark.slow
def test_what_stages_hand_each_other_survives_the_way_from_pool_to_pool(place, tmp_path, models):
    settings = small_settings()
    config = WorkerConfig(models, settings, str(place / "base"), None, 3, tmp_path / "cache")
    rows = candidates(place)
    for _, names in pools(RaySettings(), stage_names("full", 3)):
        worker = StageWorker(config, names, torch.get_num_threads())
        rows = rows_of(worker(table_of(rows)))
    ((_, local),) = LocalEngine().run([(0, candidates(place))], config)
    assert [(row.id, row.outcome, row.reason) for row in rows] == [(row.id, row.outcome, row.reason) for row in local]
    assert [row.references for row in rows] == [row.references for row in local]
    assert {row.outcome for row in rows} == {"kept", "dropped"}


def candidates(place: Path) -> list[Row]:
    """Some of the place's pairs, before the first stage."""
    rows = []
    for number in range(6):
        rainy, clean = (place / side / f"{number}.png" for side in ("rainy", "clean"))
        row = Row(f"pair-{number}", str(rainy), str(clean), "drs", "set", "train", "", place=number)
        row.digest, row.clean_digest = read_view(rainy).digest, read_view(clean).digest
        rows.append(row)
    return rows


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_ends_a_worker_ends_the_run_in_its_own_words(place, tmp_path, models):
    def begin() -> RunReport:
        one = RaySettings(together=PoolSettings(cpus=0.5))
        return run(place, tmp_path / "out", OpensInTheDriver(models.folder), RayEngine(one))

    with pytest.raises(DistillError, match="the cat sat on the weights"):
        begin()


class OpensInTheDriver(PixelModels):
    """Opens in the driver and not in the workers."""

    def __call__(self, settings, cached=uncached):
        import ray

        if ray.get_runtime_context().worker.mode == ray.WORKER_MODE:
            raise DistillError("the cat sat on the weights; move it")
        return super().__call__(settings, cached)


class CountsThreads(PixelJudge):
    """Writes down with how many threads it computes."""

    def judge(self, cases):
        with (self.log.folder / "threads").open("a") as file:
            file.write(f"{torch.get_num_threads()}\n")
        return super().judge(cases)


class CountingModels(PixelModels):
    def __call__(self, settings, cached=uncached):
        models = super().__call__(settings, cached)
        return replace(models, judges=(CountsThreads("detailed", self.log),))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_workers_compute_with_their_share_of_the_machine(place, tmp_path, models):
    pool = RaySettings(together=PoolSettings(cpus=2))
    settings = small_settings(variant="only-vlm", shard_rows=20)
    counting = CountingModels(models.folder)
    distill([place / "manifest.csv"], None, tmp_path / "out", settings, counting, RayEngine(pool), tmp_path / "cache")
    assert set((models.folder / "threads").read_text().split()) == {"2"}
    assert [PoolSettings(cpus=cpus).threads for cpus in (0, 0.5, 1, 2.5, 4)] == [1, 1, 1, 2, 4]


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_built_in_models_say_the_same_in_two_workers_as_in_this_process(tmp_path):
    size = (112, 128)  # large enough for every judge
    settings = preset_settings("offline").model_copy(update={"shard_rows": 2, "batch_rows": 2, "test_pairs": 1})
    make_candidates(tmp_path, 6, size=size)
    base = make_base(tmp_path, open_models(settings), count=4, size=size)
    for folder, engine in (("local", LocalEngine()), ("ray", RayEngine(TWO))):
        out = tmp_path / folder
        distill([tmp_path / "manifest.csv"], base, out, settings, open_models, engine, out / "cache")
    assert results(tmp_path / "ray") == results(tmp_path / "local")
    rows = [row for name in ("kept", "dropped") for row in rows_in(tmp_path / "ray" / f"{name}.parquet")]
    assert len(rows) == 6
    assert all(len(row["references"]) == 2 for row in rows)
    scores = [verdict["score"] for row in rows for verdict in row["verdicts"]]
    assert len(scores) == 18
    assert len(set(scores) - {None}) > 6, "judges had something to say"


def test_pools_hold_models_apart_and_what_needs_none_goes_along():
    settings = RaySettings()
    assert [names for _, names in pools(settings, stage_names("full", 3))] == [
        ["type", "caption"],
        ["embed"],
        ["retrieve"],
        ["judge 0"],
        ["judge 1"],
        ["judge 2", "vote"],
    ]
    assert [names for _, names in pools(settings, stage_names("only-vlm", 1))] == [["type", "judge 0", "vote"]]
    ((pool, names),) = pools(TWO, stage_names("full", 3))
    assert (pool.least, names) == (2, stage_names("full", 3))
