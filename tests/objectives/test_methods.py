"""What each method of reweighting takes where nothing is set, and what is refused."""

import pytest

from derain.errors import SettingsError
from derain.objectives.methods import ReweightSettings
from derain.settings import build_settings

ABLATIONS = ("full", "fixed-af", "no-tss", "no-tbs", "uniform")


@pytest.mark.parametrize("method", ABLATIONS)
def test_ours_and_its_ablations_probe_every_500_steps(method):
    plan = ReweightSettings(method=method).plan(4)
    assert (plan.signal, plan.every_steps, plan.window, plan.warmup) == ("probe", 500, 10, 10)
    assert (plan.tau, plan.forget, plan.floor, plan.probe_crops) == (5.0, 0.98, 0.1, 16)
    assert (plan.af_types, plan.probe_weights) == ("all", "ema")
    assert plan.significance == (0.0 if method == "uniform" else 3.0)
    assert (plan.tbs_horizon, plan.weight_momentum) == (("window", 0.0) if method == "uniform" else ("run", 0.9))


@pytest.mark.parametrize("method", ABLATIONS)
def test_ours_on_training_losses_averages_them_and_looks_further_back(method):
    plan = ReweightSettings(method=method, signal="training").plan(4)
    assert (plan.signal, plan.every_steps, plan.window, plan.warmup, plan.smoothing) == ("training", 50, 40, 40, 0.99)


def test_the_paper_ticks_on_the_raw_training_losses_of_every_step():
    plan = ReweightSettings(method="paper").plan(4)
    assert (plan.signal, plan.every_steps, plan.window, plan.warmup) == ("training", 1, 10, 10)
    assert (plan.tau, plan.forget, plan.floor, plan.smoothing) == (5.0, 1.0, 0.0, 0.0)
    assert (plan.af_types, plan.significance, plan.tbs_horizon, plan.weight_momentum) == ("all", 0.0, "window", 0.0)


def test_the_released_program_warms_up_for_twenty_ticks_and_has_a_high_floor():
    plan = ReweightSettings(method="released").plan(4)
    assert (plan.signal, plan.every_steps, plan.window, plan.warmup) == ("probe", 500, 10, 20)
    assert (plan.tau, plan.forget, plan.floor) == (5.0, 1.0, 0.1)
    assert (plan.af_types, plan.significance, plan.tbs_horizon, plan.weight_momentum) == ("all", 0.0, "window", 0.0)


@pytest.mark.parametrize(("types_count", "full", "released"), [(1, 0.4, 0.1), (2, 0.2, 0.1), (5, 0.08, 0.08)])
def test_the_floors_of_other_numbers_of_types(types_count, full, released):
    assert ReweightSettings(method="full").plan(types_count).floor == pytest.approx(full)
    assert ReweightSettings(method="released").plan(types_count).floor == pytest.approx(released)


def test_what_is_set_wins_over_the_method_even_where_it_is_zero():
    chosen = {
        "signal": "training",
        "every_steps": 7,
        "window": 3,
        "warmup": 2,
        "tau": 0.0,
        "forget": 0.5,
        "floor": 0.0,
        "af_types": "upweighted",
        "significance": 0.0,
        "tbs_horizon": "window",
        "weight_momentum": 0.0,
        "probe_crops": 4,
        "probe_weights": "current",
        "smoothing": 0.0,
    }
    plan = ReweightSettings(method="full", **chosen).plan(4)
    assert {name: getattr(plan, name) for name in chosen} == chosen


def test_the_warm_up_follows_a_chosen_window():
    assert ReweightSettings(method="full", window=25).plan(4).warmup == 25


def test_settings_under_former_names_are_the_same_settings():
    former = {"heard": "fed", "doubt": 2.0, "balanced": "run", "inertia": 0.5, "probed": "present"}
    named = {
        "af_types": "upweighted",
        "significance": 2.0,
        "tbs_horizon": "run",
        "weight_momentum": 0.5,
        "probe_weights": "current",
    }
    assert build_settings(ReweightSettings, former) == build_settings(ReweightSettings, named)
    with pytest.raises(SettingsError, match="doubt is the former name of significance; give significance alone"):
        build_settings(ReweightSettings, {"doubt": 2.0, "significance": 1.0})


@pytest.mark.parametrize("method", ["paper", "released", "uniform"])
def test_methods_of_others_ignore_significance(method):
    assert ReweightSettings(method=method, significance=2.0).plan(4).significance == 0


def test_the_weight_momentum_follows_a_chosen_window():
    assert ReweightSettings(method="full", window=25).plan(4).weight_momentum == pytest.approx(0.96)


def test_a_floor_above_an_equal_share_is_refused_in_words():
    assert ReweightSettings(floor=0.25).plan(4).floor == 0.25
    with pytest.raises(SettingsError, match=r"at most 0\.25, an equal share of 4 types, got 0\.3"):
        ReweightSettings(floor=0.3).plan(4)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", "coba"),
        ("signal", "validation"),
        ("every_steps", 0),
        ("window", 1),
        ("warmup", 0),
        ("tau", -1),
        ("tau", float("nan")),
        ("forget", 0),
        ("forget", 1.01),
        ("floor", -0.1),
        ("floor", float("nan")),
        ("significance", -1),
        ("tbs_horizon", "epoch"),
        ("weight_momentum", 1),
        ("probe_crops", 0),
        ("smoothing", 1),
    ],
)
def test_values_out_of_range_are_refused(key, value):
    with pytest.raises(SettingsError, match=key):
        build_settings(ReweightSettings, {key: value})


def test_every_field_has_its_sentence():
    assert all(field.description for field in ReweightSettings.model_fields.values())
