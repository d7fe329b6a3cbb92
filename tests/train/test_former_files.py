"""Folders of runs that earlier versions wrote: their states and settings resume as if nothing had changed."""

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml

from derain.errors import CheckpointError
from derain.models.checkpoints import load_checkpoint
from derain.objectives.former_names import NAMES
from derain.settings import build_settings
from derain.train.settings import TrainSettings
from references.runs import StopAfter, run_training

MakeSettings = Callable[..., TrainSettings]
REWEIGHTING = {"method": "full", "every_steps": 1, "window": 3, "warmup": 2, "probe_crops": 1}


def format_2(state: dict[str, Any]) -> dict[str, Any]:
    """A state as it was written when there was supervised learning alone."""
    method = state["method"]
    plan = method["reweighting"]["reweighting"]["plan"]
    for former, name in NAMES.items():
        plan[former] = plan.pop(name)
    plan["probed"] = {"ema": "average", "current": "present"}[plan["probed"]]
    return {
        "format": 2,
        **{name: state[name] for name in ("step", "elapsed_s", "best_score", "random_states")},
        "module": state["modules"]["network"],
        "average": method["ema"]["weights"],
        "average_updates": method["ema"]["updates"],
        "optimizer": state["optimizers"]["network"],
        "balance": method["reweighting"],
        "scaling": state["accelerator"],
    }


def test_a_run_of_former_names_and_state_resumes_to_the_bit(make_settings: MakeSettings) -> None:
    changes = {"reweighting": REWEIGHTING, "loggers": []}
    whole, parted = make_settings("whole", **changes), make_settings("parted", **changes)
    run_training(whole)
    run_training(parted, criterion=StopAfter(5, signal.SIGTERM))
    path = parted.run / "checkpoints" / "last.pt"
    torch.save(format_2(torch.load(path, weights_only=True)), path)
    values = yaml.safe_load((parted.run / "settings.yaml").read_text())
    del values["method"], values["data"]["replay"]
    reweighting = values["reweighting"]
    values["reweighting"] = {
        {name: former for former, name in NAMES.items()}.get(name, name): value for name, value in reweighting.items()
    }
    assert "doubt" in values["reweighting"]
    (parted.run / "settings.yaml").write_text(yaml.safe_dump(values))
    run_training(build_settings(TrainSettings, values), resume=True)
    one, other = (load_checkpoint(s.run / "checkpoints" / "final.safetensors")[0].state_dict() for s in (whole, parted))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    ticks = [
        [json.loads(line)["weights"] for line in (s.run / "log.jsonl").read_text().splitlines() if '"tbs"' in line]
        for s in (whole, parted)
    ]
    assert len(ticks[0]) == 8
    assert ticks[0] == ticks[1]


def test_a_state_of_another_method_is_refused_by_its_parts(make_settings: MakeSettings) -> None:
    settings = make_settings(steps=2, loggers=[])
    run_training(settings)
    path = settings.run / "checkpoints" / "last.pt"
    state = torch.load(path, weights_only=True)
    state["modules"]["critic"] = {}
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"networks network, got network, critic; resume with the method.name"):
        run_training(settings, resume=True)
