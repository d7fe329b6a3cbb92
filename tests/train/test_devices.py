"""Runs of several processes: they learn what one process learns, stop and resume together, and end when one dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from derain.errors import SettingsError
from derain.models.checkpoints import load_checkpoint
from derain.train.devices import build_fabric, oversubscription_warning
from derain.train.process_group import ProcessGroup
from derain.train.settings import TrainSettings
from references.runs import Scaled, StopAfter, run_training

MakeSettings = Callable[..., TrainSettings]

MODEL = {
    "name": "tiny",
    "changes": {
        "widths": [8, 8, 8, 8],
        "encoder_blocks": [1, 1, 1, 1],
        "decoder_blocks": [1, 1, 1],
        "experts": [2, 2, 2, 2],
        "router_noise": 0.0,  # the noise is another one in each process
    },
}
BALANCED = {"method": "full", "every_steps": 2, "window": 2, "warmup": 1, "probe_crops": 2}


def command(settings: TrainSettings, *launcher: str) -> list[str]:
    recipe = settings.run.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return [*(launcher or (sys.executable, "-m", "derain")), "train", str(recipe)]


def train(settings: TrainSettings, *launcher: str, resume: bool = False) -> str:
    """The whole run in processes of its own; what they printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LOCAL_", "MASTER_"))}
    done = subprocess.run(
        [*command(settings, *launcher), *(["--resume"] if resume else [])],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(settings: TrainSettings, kind: str, key: str) -> dict[int, object]:
    lines = map(json.loads, (settings.run / "log.jsonl").read_text().splitlines())
    return {row["step"]: row[key] for row in lines if row["kind"] == kind}


def numbers(settings: TrainSettings, kind: str, key: str) -> list[float]:
    return [float(value) for value in rows(settings, kind, key).values()]  # type: ignore[arg-type]


def wait_until(is_there: Callable[[], bool], process: "subprocess.Popen[Any]") -> None:
    """Wait for something that a process does; end it if it does not."""
    deadline = time.monotonic() + 120
    while not is_there():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"it did not happen; exit status {process.returncode}")
        time.sleep(0.05)


@pytest.fixture
def alone(make_settings: MakeSettings) -> TrainSettings:
    """A finished run of one process."""
    settings = make_settings("alone", model=MODEL, reweighting=BALANCED, batch_size=8, steps=8)
    run_training(settings)
    return settings


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(make_settings: MakeSettings, alone: TrainSettings) -> None:
    two = make_settings("two", model=MODEL, reweighting=BALANCED, batch_size=8, steps=8, devices=2, accumulate=2)
    said = train(two)
    assert said.count("step 8/8") == 1, "only the leader speaks"
    assert numbers(two, "train", "loss") == pytest.approx(numbers(alone, "train", "loss"), rel=1e-4)
    assert numbers(two, "train", "loss.drd") == pytest.approx(numbers(alone, "train", "loss.drd"), rel=1e-4)
    assert numbers(two, "validation", "gain_db") == pytest.approx(numbers(alone, "validation", "gain_db"), abs=0.01)
    ours, theirs = rows(two, "reweighting", "weights"), rows(alone, "reweighting", "weights")
    assert ours.keys() == theirs.keys() == {2, 4, 6, 8}
    for step, weights in ours.items():
        assert weights == pytest.approx(theirs[step], abs=2e-2)  # slopes of so short a run magnify rounding


def test_parts_of_a_step_learn_what_the_whole_step_learns(make_settings: MakeSettings, alone: TrainSettings) -> None:
    parts = make_settings("parts", model=MODEL, reweighting=BALANCED, batch_size=8, steps=8, accumulate=4)
    run_training(parts)
    assert numbers(parts, "train", "loss") == pytest.approx(numbers(alone, "train", "loss"), rel=1e-4)


@pytest.mark.slow
def test_torchrun_starts_processes_and_a_resumed_run_may_have_another_number(
    make_settings: MakeSettings, alone: TrainSettings
) -> None:
    changes = {"model": MODEL, "reweighting": BALANCED, "batch_size": 8}
    half = make_settings("torchrun", steps=8, **changes)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "derain")
    process = subprocess.Popen(
        command(half, *torchrun), stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    log = half.run / "log.jsonl"
    wait_until(lambda: log.exists() and '"step": 2' in log.read_text(), process)
    process.send_signal(signal.SIGTERM)  # as a cluster does that wants its machines back
    process.wait(timeout=120)
    state = torch.load(half.run / "checkpoints" / "last.pt", weights_only=True)
    assert state["step"] >= 2
    run_training(half, resume=True)
    assert numbers(half, "train", "loss") == pytest.approx(numbers(alone, "train", "loss"), rel=1e-4)


@pytest.mark.slow
def test_death_of_one_process_ends_the_run_and_its_state_resumes(make_settings: MakeSettings) -> None:
    settings = make_settings("dying", model=MODEL, batch_size=8, steps=400, devices=2, checkpoint_every_steps=2)
    process = subprocess.Popen(
        command(settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    state = settings.run / "checkpoints" / "last.pt"
    wait_until(state.exists, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    follower = next(pid for pid in children if b"train" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(int(follower), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    done = torch.load(state, weights_only=True)["step"]
    shorter = make_settings("dying", model=MODEL, batch_size=8, steps=done + 2, checkpoint_every_steps=2)
    assert run_training(shorter, resume=True).is_finished


def test_batch_that_cannot_be_shared_out_is_refused(make_settings: MakeSettings) -> None:
    with pytest.raises(SettingsError, match=r"batch_size: wanted a multiple of .* = 1 x 1 x 3, got 4"):
        run_training(make_settings(accumulate=3))


def test_float16_skips_a_step_that_overflows_and_resumes_exactly(make_settings: MakeSettings) -> None:
    whole, parted = (make_settings(name, precision="16-mixed", steps=6) for name in ("whole", "parted"))
    assert run_training(whole, criterion=Scaled(2, 1e38)).is_finished
    stopper = StopAfter(3, signal.SIGTERM)
    stopper.loss = Scaled(2, 1e38)  # type: ignore[assignment]
    assert run_training(parted, criterion=stopper).step == 3
    state = torch.load(parted.run / "checkpoints" / "last.pt", weights_only=True)
    assert state["accelerator"]["scale"] < 65536.0, "the overflow lowered it"
    assert all(bool(torch.isfinite(value).all()) for value in state["modules"]["network"].values())
    run_training(parted, resume=True)
    assert numbers(parted, "train", "loss") == numbers(whole, "train", "loss")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="here devices are devices")
def test_processes_on_a_cpu_leave_experts_unused_and_print_one_warning(make_settings: MakeSettings) -> None:
    changes = {**MODEL["changes"], "form": "sparse", "top_k": 1}  # type: ignore[dict-item]
    model = {"name": "tiny", "changes": changes}
    settings = make_settings("sparse", model=model, batch_size=2, steps=3, devices=2, precision="bf16-mixed")
    done = subprocess.run(
        command(settings), env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no GPU: 2 processes on ") == 1
    for word in ("Warning", "strides", "deprecated", "Automatic Mixed Precision"):
        assert word not in done.stderr
    assert load_checkpoint(settings.run / "checkpoints" / "final.safetensors")[1].step == 3


def test_gradients_are_the_mean_over_the_processes_and_what_none_used_has_none(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, ours, theirs, unused, frozen = (nn.Parameter(torch.zeros(2, 3, 1, 1)) for _ in range(5))
    frozen.requires_grad_(False)
    group = ProcessGroup(build_fabric(make_settings()))
    group.size = 2
    other = torch.cat([torch.tensor([1.0, 0.0, 1.0, 0.0]), *(torch.full((6,), v / 2) for v in (4.0, 0.0, 8.0, 0.0))])
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda sums: sums.add_(other))
    both.grad = torch.full((2, 3, 1, 1), 2.0).to(memory_format=torch.channels_last)
    ours.grad = torch.full((2, 3, 1, 1), 6.0)
    group.average_gradients([both, ours, theirs, unused, frozen])
    for parameter, value in ((both, 3.0), (ours, 3.0), (theirs, 4.0)):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, torch.full((2, 3, 1, 1), value))
    assert unused.grad is None
    assert frozen.grad is None


def test_only_processes_on_a_cpu_are_warned_of(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert oversubscription_warning(make_settings(device="cpu")) is None
    warning = oversubscription_warning(make_settings(device="cpu", devices=4096))
    assert warning is not None
    assert warning.endswith("; --set devices=1 learns the same, and faster")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert oversubscription_warning(make_settings(device="cpu", devices=4096)) is None
