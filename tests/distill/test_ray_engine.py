"""The same rows from Ray's workers as from this process, also when workers die; two workers on this machine."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from pixel_models import PixelModels, make_base, make_candidates, small_settings
from test_distill_run import results

from derain.distill.models import without_memory
from derain.distill.pipeline import ray_engine
from derain.distill.pipeline.engine import Opening, stage_names
from derain.distill.pipeline.local_engine import LocalEngine
from derain.distill.pipeline.ray_engine import PoolSettings, RayEngine, RaySettings, StageWorker, pools
from derain.distill.pipeline.row import Row, rows_of, table_of
from derain.distill.pipeline.run import RunReport, distill
from derain.distill.view import read_view
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


@pytest.fixture
def models(tmp_path: Path) -> PixelModels:
    (tmp_path / "log").mkdir()
    return PixelModels(tmp_path / "log")


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

    def __call__(self, settings, remember=without_memory):
        import ray

        if ray.get_runtime_context().worker.mode == ray.WORKER_MODE:
            with (self.folder / "workers").open("a") as file:
                file.write(f"{os.getpid()}\n")
        return super().__call__(settings, remember)


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


def test_what_stages_hand_each_other_survives_the_way_from_pool_to_pool(place, tmp_path, models):
    settings = small_settings()
    opening = Opening(models, settings, str(place / "base"), None, 3, tmp_path / "cache")
    rows = candidates(place)
    for _, names in pools(RaySettings(), stage_names("full", 3)):
        worker = StageWorker(opening, names)
        rows = rows_of(worker(table_of(rows)))
    ((_, local),) = LocalEngine().run([(0, candidates(place))], opening)
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


@pytest.mark.usefixtures("cluster")
def test_what_ends_a_worker_ends_the_run_in_its_own_words(place, tmp_path, models):
    def begin() -> RunReport:
        one = RaySettings(together=PoolSettings(cpus=0.5))
        return run(place, tmp_path / "out", OpensInTheDriver(models.folder), RayEngine(one))

    with pytest.raises(DistillError, match="the cat sat on the weights"):
        begin()


class OpensInTheDriver(PixelModels):
    """Opens in the driver and not in the workers."""

    def __call__(self, settings, remember=without_memory):
        import ray

        if ray.get_runtime_context().worker.mode == ray.WORKER_MODE:
            raise DistillError("the cat sat on the weights; move it")
        return super().__call__(settings, remember)


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
