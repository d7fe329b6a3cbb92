"""A stored state of the reweighting: going on from it, from one of old, and refusing what is foreign or damaged."""

import io
import json
import math
import re
from pathlib import Path
from typing import get_args

import pytest
import torch

from derain.errors import CheckpointError, TrainingError
from derain.objectives import former_names
from derain.objectives.methods import Method
from derain.objectives.reweight import Reweighting, ReweightSettings
from derain.types import RainType
from references.reweighting import follow

VECTORS = json.loads(Path(__file__).with_name("reweighting_vectors.json").read_text())
TYPES = VECTORS["types"]
TABLE = VECTORS["losses"]
SHORT = {"window": 5, "warmup": 5}
"""The worked example's clock."""
METHODS = get_args(Method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop", [0, 3, 9])
def test_a_run_resumes_from_a_stored_state_as_if_it_had_not_stopped(method, stop):
    chosen = ReweightSettings(method=method, **SHORT)
    whole, first, second = (Reweighting(list(RainType), chosen) for _ in range(3))
    expected = follow(whole, TABLE)
    follow(first, TABLE[:stop])
    stored = io.BytesIO()
    torch.save(first.state_dict(), stored)
    stored.seek(0)
    second.load_state_dict(torch.load(stored, weights_only=True))
    assert second.weights == first.weights
    assert follow(second, TABLE[stop:]) == expected[stop:]


def test_a_state_remembers_bad_ticks_and_the_losses_that_stand_in():
    chosen = ReweightSettings(method="paper", window=3)
    first, second = (Reweighting(["a", "b"], chosen) for _ in range(2))
    first.tick({"a": 0.5})
    first.tick({"a": math.nan})
    first.tick({"a": math.nan})
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    with pytest.raises(TrainingError, match="3 ticks in a row"):
        second.tick({"a": math.nan})
    assert second.tick({"b": 0.4}).losses == {"a": 0.5, "b": 0.4}


@pytest.mark.parametrize(
    ("types", "changes", "message"),
    [
        (["drs", "drd"], {}, "is of the types drs, drd, nrs, nrd, this run has drs, drd"),
        (TYPES[::-1], {}, "same types in the same order"),
        (TYPES, {"method": "no-tss"}, "method: the stored state has full, this run no-tss"),
        (TYPES, {"signal": "training", "every_steps": 500}, "signal: the stored state has probe"),
        (TYPES, {"every_steps": 100}, "every_steps: the stored state has 500, this run 100"),
        (TYPES, {"window": 6}, "window: the stored state has 5, this run 6"),
        (TYPES, {"af_types": "upweighted"}, "af_types: the stored state has all, this run upweighted"),
        (TYPES, {"tbs_horizon": "window"}, "tbs_horizon: the stored state has run, this run window"),
        (TYPES, {"probe_crops": 8}, "probe_crops: the stored state has 16, this run 8"),
    ],
)
def test_a_state_of_another_kind_of_run_is_refused(types, changes, message):
    stored = Reweighting(TYPES, ReweightSettings(method="full", **SHORT)).state_dict()
    other = Reweighting(types, ReweightSettings(**{"method": "full", **SHORT, **changes}))
    with pytest.raises(CheckpointError, match=message):
        other.load_state_dict(stored)


@pytest.mark.parametrize("method", METHODS)
def test_a_state_of_old_is_resumed_unless_the_method_is_another_now(method):
    stored = Reweighting(TYPES, ReweightSettings(method=method, **SHORT)).state_dict()
    for name in ("significance", "tbs_horizon", "weight_momentum"):
        del stored["plan"][name]
    first, second = (Reweighting(TYPES, ReweightSettings(method=method, **SHORT)) for _ in range(2))
    if method not in ("uniform", "paper", "released"):
        values = ("significance=0.0", "tbs_horizon=window", "weight_momentum=0.0")
        back = " ".join(rf"--set reweighting\.{re.escape(value)}" for value in values)
        with pytest.raises(
            CheckpointError, match=rf"significance: the stored state has 0\.0, this run 3\.0; .* {back}"
        ):
            first.load_state_dict(stored)
        return
    follow(first, TABLE[:8])
    whole = first.state_dict()
    for window in [*whole["curves"].values(), *whole["moves"].values(), whole["largest_curve"]]:
        del window["s2"]
    second.load_state_dict(whole)
    assert [tick.weights for tick in follow(second, TABLE[8:])] == [tick.weights for tick in follow(first, TABLE[8:])]


def test_a_state_under_former_names_resumes_exactly():
    settings = ReweightSettings(method="full", **SHORT)
    first, second = Reweighting(TYPES, settings), Reweighting(TYPES, settings)
    follow(first, TABLE[:8])
    stored = first.state_dict()
    plan = stored["plan"]
    for former, name in former_names.NAMES.items():
        plan[former] = plan.pop(name)
    plan |= {"heard": "all", "probed": "average"}
    second.load_state_dict(stored)
    assert [tick.weights for tick in follow(second, TABLE[8:])] == [tick.weights for tick in follow(first, TABLE[8:])]


@pytest.mark.parametrize("changes", [{"tau": 3.0}, {"forget": 0.9}, {"floor": 0.05}, {"warmup": 2}])
def test_how_sharply_types_are_distinguished_may_change_on_the_way(changes):
    stored = Reweighting(TYPES, ReweightSettings(method="full", **SHORT)).state_dict()
    Reweighting(TYPES, ReweightSettings(**{"method": "full", **SHORT, **changes})).load_state_dict(stored)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("factor"),
        lambda state: state["curves"].pop("drd"),
        lambda state: state["curves"]["drd"].update(values=[0.1] * 6),
        lambda state: state.update(ticks="many"),
        lambda state: state.update(first=[1, 2]),
        lambda state: state.update(plan=None),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage):
    chosen = ReweightSettings(method="full", **SHORT)
    reweighting = Reweighting(TYPES, chosen)
    follow(reweighting, TABLE[:9])
    before = reweighting.state_dict()
    state = Reweighting(TYPES, chosen).state_dict()
    damage(state)
    with pytest.raises(CheckpointError, match="damaged"):
        reweighting.load_state_dict(state)
    assert reweighting.state_dict() == before
