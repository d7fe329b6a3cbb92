"""`derain ablate` as it is used: a study is stopped and resumed, and ends with a table.

A trial has a process of its own where that matters, which is where it is stopped and where it is resumed; elsewhere it
is trained by the same command in this process, for a start of Python takes longer than a trial.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import yaml
from click.testing import Result
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from derain.cli.ablate import ablate
from derain.cli.main import app as derain
from derain.train import ablation
from derain.train.ablation import Ending, TrainTrial, Trial

app = Typer()
app.command()(ablate)

ALONE = "from typer import Typer; from derain.cli.ablate import ablate; app = Typer(); app.command()(ablate); app()"


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Two variants of a narrow network on two photographs a split."""
    rows = ["path,light,split,source,scene"]
    for split in ("train", "val", "probe"):
        for name in ("astronaut", "coffee"):
            pixels = np.ascontiguousarray(getattr(skimage.data, name)()[::4, ::4])
            Image.fromarray(pixels).save(tmp_path / f"{split}-{name}.png")
            rows.append(f"{split}-{name}.png,day,{split},skimage,{split}-{name}")
    (tmp_path / "index.csv").write_text("\n".join(rows) + "\n")
    narrow = {"widths": [8] * 4, "encoder_blocks": [1] * 4, "decoder_blocks": [1] * 3, "experts": [2] * 4}
    base = {
        "run": "run",
        "model": {"name": "tiny", "changes": narrow},
        "data": {
            "photos": str(tmp_path / "index.csv"),
            "crop": 32,
            "crops_per_picture": 20,
            "workers": 0,
            "simulation": {"side_min": 48, "side_max": 48},
        },
        "validation": {"every_steps": 1000, "pictures_per_type": 1, "side": 48},
        "steps": 2,
        "batch_size": 4,
        "threads": 1,
        "log_every_steps": 1,
        "checkpoint_every_steps": 1000,
        "loggers": [],
    }
    root = tmp_path / "studies"
    (root / "weights").mkdir(parents=True)
    (root / "base.yaml").write_text(yaml.safe_dump(base))
    for name in ("uniform", "full"):
        settings = {"base": "../base.yaml", "reweighting": {"method": name, "every_steps": 8, "probe_crops": 1}}
        (root / "weights" / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    return root


@pytest.fixture
def trained_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trials that begin are trained in this process; what they print. One that is resumed has a process of its own."""
    printed: list[str] = []
    apart = ablation.train_apart

    def train_here(trial: Trial) -> Ending:
        done = CliRunner().invoke(derain, ["train", str(trial.configuration)])
        printed.append(done.output)
        return Ending(done.exit_code)

    def mostly_here(inherited: Sequence[int] = ()) -> TrainTrial:
        train = apart(inherited)
        return lambda trial, resume: train(trial, resume) if resume else train_here(trial)

    monkeypatch.setattr(ablation, "train_apart", mostly_here)
    return printed


def call(studies: Path, out: Path, *arguments: str, study: str = "weights") -> Result:
    return CliRunner().invoke(app, [study, "--recipes", str(studies), "-o", str(out), "--pictures", "1", *arguments])


def wait_for(happens: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
def test_a_study_that_was_stopped_is_resumed_by_the_same_command(
    studies: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], trained_here: list[str]
) -> None:
    out = tmp_path / "out"
    log = out / "uniform" / "seed0" / "log.jsonl"
    arguments = ["weights", "--recipes", str(studies), "-o", str(out), "--pictures", "1", "--steps", "24"]
    child = subprocess.Popen(
        [sys.executable, "-c", ALONE, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: (out / "recipes" / "uniform-seed0.yaml").exists())
    refused = call(studies, out, "--steps", "24")
    assert refused.exit_code == 2, refused.output
    assert "another study, or a trial that a killed one left behind" in refused.output
    wait_for(lambda: log.exists() and bool(log.read_text()))
    os.killpg(child.pid, signal.SIGINT)  # as Ctrl-C does in a terminal: the trial has it, too
    printed, _ = child.communicate(timeout=120)
    assert child.returncode == 130, printed
    assert "stopped, nothing is lost; resume with the same command" in printed
    assert (out / "uniform" / "seed0" / "checkpoints" / "last.pt").exists()
    assert not (out / "full").exists()

    done = call(studies, out, "--steps", "24")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "[1/2] uniform, seed 0: is resumed" in done.output
    assert "[2/2] full, seed 0: begins" in done.output
    steps = [line.split('"step": ')[1].split(",")[0] for line in log.read_text().splitlines() if '"train"' in line]
    assert steps == [str(step) for step in range(1, 25)]
    table = (out / "table.md").read_text()
    assert table in done.output
    assert [line.split(" | ")[0] for line in table.splitlines()[2:5]] == ["| rainy input", "| uniform", "| full"]
    assert "step 24/24" in capfd.readouterr().out, "uniform, in its own process"
    assert ["step 24/24" in printed for printed in trained_here] == [True], "full, in this one"

    again = call(studies, out, "--steps", "24", "--table-only")
    assert again.exit_code == 0
    assert (out / "table.md").read_text() == table
    refused = call(studies, out, "--steps", "25")
    assert (refused.exit_code, "steps was 24, is 25" in refused.output) == (2, True)


@pytest.mark.slow
def test_a_trial_that_breaks_off_is_named_and_is_not_in_the_table(
    studies: Path, tmp_path: Path, trained_here: list[str]
) -> None:
    path = studies / "weights" / "uniform.yaml"
    path.write_text(path.read_text() + "optimizer: {lr: 1.0e+30}\n")
    done = call(studies, tmp_path / "out", "--steps", "4", "--only", "uniform")
    assert done.exit_code == 1, done.output
    assert "uniform, seed 0: broke off with exit status 1; the others are trained" in done.output
    assert "No trial is finished yet." in done.output
    assert "step 2" in trained_here[0]


def test_what_cannot_be_asked_for_ends_with_2_and_writes_nothing(studies: Path, tmp_path: Path) -> None:
    def refused(message: str, *arguments: str, study: str = "weights") -> None:
        done = call(studies, tmp_path / "out", *arguments, study=study)
        assert (done.exit_code, message in done.output) == (2, True), done.output
        assert not (tmp_path / "out").exists()

    refused("no study with training configurations there; there are: weights", study="moe")
    refused("did you mean 'uniform'", "--only", "unifrom")
    refused("wanted whole numbers with commas between them", "--seeds", "a")
    refused("two budgets", "--steps", "3", "--minutes", "1")
    refused("no such file", "--set", f"data.photos={tmp_path / 'nowhere.csv'}")
    refused("--table-only judges runs that are finished, but none is", "--table-only")


def test_a_trial_that_cannot_begin_ends_the_study_with_2(studies: Path, tmp_path: Path) -> None:
    path = studies / "weights" / "uniform.yaml"
    path.write_text(path.read_text() + "accumulate: 3\n")  # of four crops in a step
    done = call(studies, tmp_path / "out", "--only", "uniform")
    assert done.exit_code == 2, (done.output, done.exception)
    assert "uniform, seed 0 cannot begin, and nothing was trained: batch_size: wanted a multiple of" in done.output
    assert not (tmp_path / "out").exists()


def test_a_variant_without_what_it_needs_is_refused_before_any_is_trained(studies: Path, tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    whole = index.read_text()
    index.write_text("\n".join(line for line in whole.splitlines() if ",probe," not in line) + "\n")

    def refused(message: str, *arguments: str) -> None:
        done = call(studies, tmp_path / "out", *arguments)
        assert (done.exit_code, message in done.output) == (2, True), done.output
        assert not (tmp_path / "out").exists()

    refused(
        "full, seed 0 cannot begin, and nothing was trained: reweighting.method: 'full' wants rows of split 'probe'"
    )
    refused("type 'hail' is in none of the sources", "--set", "data.types=[drs, hail]", "--only", "uniform")
    index.write_text(whole.replace(",day,probe", ",night,probe"))
    refused("full, seed 0 cannot begin, and nothing was trained: split 'probe': type 'drs' is in none of the sources")
