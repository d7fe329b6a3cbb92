"""What befalls long runs: workers that die, a disk that fills up, places and ways of simulating that change."""

import json
import os
import signal
import time
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

from derain.errors import CheckpointError, TrainingError
from derain.models.checkpoints import load_checkpoint
from derain.train.settings import TrainSettings
from references.disk import small_disk
from references.runs import AtSteps, run_training

MakeSettings = Callable[..., TrainSettings]


def kill_workers() -> None:
    for child in active_children():
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
    time.sleep(0.1)  # the news comes in the middle of a step


def losses(settings: TrainSettings) -> list[float]:
    lines = map(json.loads, (settings.run / "log.jsonl").read_text().splitlines())
    return [row["loss"] for row in lines if row["kind"] == "train"]


def with_workers(settings: TrainSettings) -> TrainSettings:
    return settings.model_copy(update={"data": settings.data.model_copy(update={"workers": 1})})


@pytest.mark.slow
def test_dead_workers_are_replaced_until_they_die_again_and_again_and_nothing_is_lost(
    make_settings: MakeSettings,
) -> None:
    changes = {"steps": 24, "loggers": [], "validation": {"every_steps": 24, "pictures_per_type": 1, "side": 48}}
    whole, wounded = make_settings("whole", **changes), make_settings("wounded", **changes, checkpoint_every_steps=2)
    run_training(whole)
    with pytest.raises(TrainingError, match=r"died 3 times within 100 steps .* continue with --resume"):
        run_training(with_workers(wounded), criterion=AtSteps({3, *range(12, 24)}, kill_workers))
    assert not active_children()
    events = [json.loads(line) for line in (wounded.run / "log.jsonl").read_text().splitlines() if '"event"' in line]
    assert len(events) == 2
    assert all("another one takes its place" in event["text"] for event in events)
    state = torch.load(wounded.run / "checkpoints" / "last.pt", weights_only=True)
    assert state["step"] >= 12
    assert run_training(wounded, resume=True).is_finished
    assert losses(wounded) == losses(whole)


@pytest.mark.slow
def test_full_disk_keeps_the_old_state_and_the_run_resumes_exactly(make_settings: MakeSettings) -> None:
    changes = {"steps": 12, "log_every_steps": 12, "loggers": (), "validation": {"every_steps": 12, "side": 48}}
    whole, filled = make_settings("whole", **changes), make_settings("filled", **changes)
    run_training(whole)
    full = pytest.raises(CheckpointError, match=r"last.pt: the training state cannot be written .* free space")
    with small_disk() as fill, full:
        run_training(filled, criterion=AtSteps({6}, lambda: fill(1000)))
    assert torch.load(filled.run / "checkpoints" / "last.pt", weights_only=True)["step"] == 4
    assert not list(filled.run.rglob("*.part"))
    run_training(filled, resume=True)
    one, other = (load_checkpoint(s.run / "checkpoints" / "final.safetensors")[0].state_dict() for s in (whole, filled))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_are_kept_every_n_steps(make_settings: MakeSettings) -> None:
    settings = make_settings(steps=6, keep_every_steps=2)
    run_training(settings)
    kept = sorted(path.name for path in (settings.run / "checkpoints").glob("step_*"))
    assert kept == [f"step_{step:08d}.safetensors" for step in (2, 4, 6)]
    assert load_checkpoint(settings.run / "checkpoints" / kept[0])[1].step == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_simulation_in_the_trainer_gives_the_same_run(make_settings: MakeSettings, index: Path, workers: int) -> None:
    data = {"photos": index, "crop": 32, "crops_per_picture": 3, "workers": workers, "clean_fraction": 0.3}
    runs = []
    for device in ("worker", "trainer"):
        simulation = {"side_min": 48, "side_max": 64, "device": device}
        settings = make_settings(device, data={**data, "simulation": simulation}, steps=4)
        run_training(settings)
        runs.append(losses(settings))
    assert runs[0] == runs[1]


def test_rendered_pairs_are_reused_by_the_next_run(make_settings: MakeSettings, index: Path, tmp_path: Path) -> None:
    simulation = {"side_min": 48, "side_max": 64, "cache": tmp_path / "cache", "variations": 1}
    data = {"photos": index, "crop": 32, "crops_per_picture": 3, "workers": 0, "simulation": simulation}
    run_training(make_settings("first", data=data, steps=2))
    rendered = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.png")}
    assert rendered
    assert not any("val" in path.relative_to(tmp_path / "cache").parts for path in rendered)
    run_training(make_settings("second", data=data, steps=2, seed=5))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.png")} == rendered
