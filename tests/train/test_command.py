"""`derain train`: how it ends, by what was asked for and by what went wrong."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from derain.cli.main import app
from derain.train.settings import TrainSettings


@pytest.fixture
def recipe(make_settings: Callable[..., TrainSettings], tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(make_settings(steps=2).model_dump(mode="json")))
    return path


def train(recipe: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", str(recipe), *arguments])


def test_what_cannot_begin_as_it_was_asked_for_ends_with_2(recipe: Path, tmp_path: Path) -> None:
    def refused(message: str, *arguments: str) -> None:
        done = train(recipe, *arguments)
        assert (done.exit_code, message in done.output) == (2, True), done.output
        assert done.output.count("\n") == 1

    refused("no such folder: check `run`, or leave --resume out", "--resume")
    refused("neither data.photos nor data.manifests is set", "--set", "data.photos=null")
    refused("nowhere.csv: no such file", "--set", f"data.photos={tmp_path / 'nowhere.csv'}")
    assert train(recipe).exit_code == 0
    refused("wanted a new or empty folder")
    refused("cannot resume with other settings: seed was 0, is 3", "--resume", "--set", "seed=3")
    refused("got steps=1; give a greater length", "--resume", "--set", "steps=1")
    assert train(recipe, "--resume").exit_code == 0
    (tmp_path / "run" / "checkpoints" / "last.pt").write_bytes(b"")
    refused("cannot be read as a training state", "--resume")


def test_data_without_validation_rows_says_what_they_are_for(recipe: Path, index: Path) -> None:
    index.write_text(index.read_text().replace(",val,", ",test,"))
    done = train(recipe)
    assert (done.exit_code, "index.csv: wanted rows of split 'val'" in done.output) == (2, True), done.output


def test_missing_extra_ends_with_2(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "lightning_fabric"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "derain.train.loop", raising=False)
    # As if it were not installed: no finder knows it.
    monkeypatch.setattr(sys, "meta_path", [_Without("lightning_fabric"), *sys.meta_path])
    done = train(recipe)
    assert (done.exit_code, "pip install 'derain[train]'" in done.output) == (2, True), done.output


def test_run_that_breaks_off_ends_with_1(recipe: Path) -> None:
    done = train(recipe, "--set", "optimizer.lr=1e30", "--set", "steps=8")
    assert (done.exit_code, "Start a new run with a lower optimizer.lr" in done.output) == (1, True), done.output


def start_two(recipe: Path, *arguments: str) -> list["subprocess.Popen[str]"]:
    """The command in two processes that learn together, leader first, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"TORCHELASTIC_RUN_ID": "group", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": "0"}
    group |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1", "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "derain", "train", str(recipe), *arguments],
            env={**os.environ, **group, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]


def endings(processes: Sequence["subprocess.Popen[str]"]) -> list[tuple[int, str]]:
    """Exit status and last line of each."""
    printed = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    return [(process.returncode, lines[-1] if lines else "") for process, lines in zip(processes, printed, strict=True)]


@pytest.mark.slow
def test_of_several_processes_only_the_leader_prints_the_end_and_has_the_signals_status(
    make_settings: Callable[..., TrainSettings], recipe: Path
) -> None:
    endless = make_settings(steps=5000, validation={"every_steps": 5000, "pictures_per_type": 1, "side": 48})
    recipe.write_text(yaml.safe_dump(endless.model_dump(mode="json")))
    both = start_two(recipe)
    log = endless.run / "log.jsonl"
    while not (log.exists() and '"step": 2' in log.read_text()):
        assert [process.poll() for process in both] == [None, None]
        time.sleep(0.05)
    both[1].send_signal(signal.SIGTERM)  # whoever has it, all stop
    leader, follower = endings(both)
    done = sum('"train"' in line for line in log.read_text().splitlines())
    end = f"stopped at step {done}, nothing is lost; resume with the same command and --resume"
    assert [leader, follower] == [(143, end), (0, "")]

    finished = train(recipe, "--resume", "--set", f"steps={done + 1}")
    assert finished.exit_code == 0, finished.output
    end = f"finished at step {done + 1}; weights: {endless.run / 'checkpoints' / 'best.safetensors'}"
    assert end in finished.output.replace("\n", " ")


class _Without:
    """A finder that says of one package that there is none."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, *_: object) -> None:
        if name.split(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
