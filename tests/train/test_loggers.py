"""Where figures go beside the log: the real TensorBoard, and the calls that MLflow and Weights & Biases document."""

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from derain.errors import MissingExtraError, TrainingError
from derain.train.folder import RunFolder
from derain.train.journal import Journal, Window
from derain.train.loggers import Loggers, allowed_key, require_packages
from derain.train.methods.method import StepResult

SETTINGS = {"seed": 3, "optimizer": {"lr": 1e-3}, "data": {"types": ["drs", "snow & ice"]}}

RECORDING_WANDB = '''
"""Weights & Biases as its documentation has it, writing down what it is called with."""
import json, os
from pathlib import Path

def say(**row):
    with Path(os.environ["CALLS"]).open("a") as file:
        file.write(json.dumps(row) + "\\n")

class Settings:
    def __init__(self, console):
        self.console = console

class Config:
    def update(self, values, allow_val_change=False):
        say(call="config", values=values, allow_val_change=allow_val_change)

class Run:
    def __init__(self, id):
        self.id, self.config = id, Config()
    def define_metric(self, name, step_metric):
        say(call="define_metric", name=name, step_metric=step_metric)
    def log(self, values):
        if os.environ.get("SERVER_IS_DOWN"):
            raise ConnectionError("no answer\\nfrom anywhere")
        say(call="log", values=values)
    def finish(self, exit_code):
        say(call="finish", exit_code=exit_code)

def init(project, name, dir, id, resume, settings):
    if os.environ.get("NO_KEY"):
        raise RuntimeError("api_key not configured")
    say(call="init", project=project, name=name, id=id, resume=resume)
    return Run(id or "fresh1")
'''


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


@pytest.fixture
def wandb_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording `wandb` that can be imported; where its calls are written."""
    package = tmp_path / "packages" / "wandb"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(RECORDING_WANDB)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls.jsonl"))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return tmp_path / "calls.jsonl"


def calls_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_tensorboard_of_a_resumed_run_forgets_what_lies_after_the_step(folder: RunFolder) -> None:
    for first, last, value in ((0, 6, 1.0), (3, 8, 2.0)):
        loggers = Loggers(("tensorboard",), folder, first, SETTINGS)
        for step in range(first + 1, last + 1):
            assert loggers.log({"train/loss": value}, step) == []
        assert loggers.close(is_success=True) == []
    board = EventAccumulator(str(folder.tensorboard))
    board.Reload()
    assert [(event.step, event.value) for event in board.Scalars("train/loss")] == [
        *((step, 1.0) for step in range(1, 4)),
        *((step, 2.0) for step in range(4, 9)),
    ]
    (text,) = {event.tensor_proto.string_val[0] for event in board.Tensors("settings/text_summary")}
    assert b"lr: 0.001" in text


def test_wandb_resumes_the_same_run_and_may_repeat_steps(folder: RunFolder, wandb_calls: Path) -> None:
    for first in (0, 2):
        loggers = Loggers(("wandb",), folder, first, SETTINGS)
        loggers.log({"train/loss": 0.5}, first + 1)
        loggers.close(is_success=first > 0)
    start = [
        {"call": "define_metric", "name": "*", "step_metric": "step"},
        {"call": "config", "values": SETTINGS, "allow_val_change": True},
    ]
    assert calls_in(wandb_calls) == [
        {"call": "init", "project": "derain", "name": "run", "id": None, "resume": None},
        *start,
        {"call": "log", "values": {"train/loss": 0.5, "step": 1}},
        {"call": "finish", "exit_code": 1},
        {"call": "init", "project": "derain", "name": "run", "id": "fresh1", "resume": "allow"},
        *start,
        {"call": "log", "values": {"train/loss": 0.5, "step": 3}},
        {"call": "finish", "exit_code": 0},
    ]


@pytest.mark.parametrize("step", [0, 2])
def test_wandb_id_holds_also_for_a_run_that_is_resumed_before_its_first_state(
    folder: RunFolder, wandb_calls: Path, step: int
) -> None:
    (folder.root / "wandb-run.txt").write_text("kept7\n")
    Loggers(("wandb",), folder, step, SETTINGS).close(is_success=True)
    assert calls_in(wandb_calls)[0]["id"] == "kept7"
    assert (folder.root / "wandb-run.txt").read_text() == "kept7\n"


def test_service_out_of_reach_is_let_go_and_the_others_go_on(
    folder: RunFolder, wandb_calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(folder, 0, 10, Console(file=StringIO()), ("wandb", "tensorboard")) as journal:
        monkeypatch.setenv("SERVER_IS_DOWN", "1")
        for step in (1, 2):
            window = Window()
            window.add(StepResult(1, {"loss": [0.5], "loss.drs": [0.5]}, {"gradient_norm": 1.0}), 0.1, 0.0)
            journal.train(step, window, 1e-3, step / 10, 1.0, 9.0)
    rows = [json.loads(line) for line in folder.log.read_text().splitlines()]
    assert [(row["kind"], row["step"]) for row in rows] == [("train", 1), ("event", 1), ("train", 2)]
    assert rows[1]["text"] == "wandb gets no more figures (ConnectionError: no answer); log.jsonl has them all"
    assert [call["call"] for call in calls_in(wandb_calls)] == ["init", "define_metric", "config"]
    board = EventAccumulator(str(folder.tensorboard))
    board.Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [1, 2]


def test_logger_that_cannot_begin_ends_the_run_before_it_starts(
    folder: RunFolder,
    wandb_calls: Path,  # noqa: ARG001 - its package is what is imported
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_KEY", "1")
    with pytest.raises(
        TrainingError, match=r"^wandb: .* cannot begin \(RuntimeError: api_key not configured\); .* out of loggers$"
    ):
        Journal(folder, 0, 10, Console(file=StringIO()), ("tensorboard", "wandb"))


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow"), ("mlflow", "sqlalchemy"), ("wandb", "wandb")])
def test_missing_package_names_the_extra(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("derain.train.loggers.find_spec", lambda asked: None if asked == package else object())
    with pytest.raises(MissingExtraError, match=rf"logger {name} .* pip install 'derain\[loggers\]'"):
        require_packages(("tensorboard", name))


def test_packages_that_are_not_named_are_not_asked_for() -> None:
    require_packages(("tensorboard",))
    require_packages(())
    with pytest.raises(TrainingError, match="wanted some of tensorboard, mlflow, wandb, got 'comet'"):
        require_packages(("comet",))


# What other people's packages warn of is not ours.
@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_settings_and_figures_and_resumes_the_same_run(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(package)
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for first, last in ((0, 4), (0, 4), (2, 6)):  # the second is resumed before its first state was saved
        loggers = Loggers(("mlflow",), folder, first, {**SETTINGS, "steps": last})
        for step in range(first + 1, last + 1):
            assert loggers.log({"train/loss.snow & ice": 1 / step}, step) == []
        assert loggers.close(is_success=True) == []
    client = MlflowClient(f"sqlite:///{folder.root / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "derain"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.status) == ((folder.root / "mlflow-run.txt").read_text().strip(), "FINISHED")
    assert run.data.params == {
        "seed": "3",
        "optimizer.lr": "0.001",
        "data.types.0": "drs",
        "data.types.1": "snow & ice",
        "steps": "4",
    }
    history = client.get_metric_history(run.info.run_id, "train/loss.snow _ ice")
    assert {metric.step: metric.value for metric in history} == {step: 1 / step for step in range(1, 7)}


def test_names_are_fitted_to_what_mlflow_takes() -> None:
    assert allowed_key("train/loss.snow & ice") == "train/loss.snow _ ice"
    assert allowed_key("weights.Schnee-fall_ü:1") == "weights.Schnee-fall__:1"
