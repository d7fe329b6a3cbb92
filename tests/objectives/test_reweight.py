"""Reweighting over a run: worked numbers, what it does to types, bad and missing losses, and going on from a state."""

import json
import math
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from derain.errors import SettingsError, TrainingError
from derain.objectives.methods import Method
from derain.objectives.reweight import Reweighting, ReweightSettings
from references.reweighting import follow, weights_of_every_tick

VECTORS = json.loads(Path(__file__).with_name("reweighting_vectors.json").read_text())
TYPES = VECTORS["types"]
TABLE = VECTORS["losses"]
SHORT = {"window": 5, "warmup": 5}
"""The worked example's clock."""
PLAIN = {"af_types": "all", "floor": 0.025, "significance": 0.0, "tbs_horizon": "window", "weight_momentum": 0.0}
"""What the worked example has: Eq. 6-10 with the two corrections of Eq. 9 and the low floor, nothing else."""
METHODS = get_args(Method)
STREAMED = [method for method in METHODS if method != "paper"]
"""The printed equation has no continuous value where its divisor vanishes, so its two forms are compared elsewhere."""


def close(values):
    return pytest.approx(values, abs=1e-7, rel=0)


@st.composite
def tables(draw):
    """Losses of up to 30 ticks and 6 types in thousandths."""
    types = draw(st.integers(1, 6))
    row = st.lists(st.integers(1, 1000).map(lambda n: n / 1000), min_size=types, max_size=types)
    return draw(st.lists(row, min_size=1, max_size=30))


@pytest.mark.parametrize("forget", [1.0, 0.9])
def test_full_has_the_worked_examples_numbers_at_every_tick(forget):
    reweighting = Reweighting(TYPES, ReweightSettings(method="full", forget=forget, **PLAIN, **SHORT))
    expected = VECTORS["ticks_by_forget"][f"{forget:g}"]
    for tick, row in zip(follow(reweighting, TABLE), expected, strict=True):
        assert list(tick.ratios.values()) == close(row["y"])
        assert list(tick.weights.values()) == close(row["weights"])
        assert not tick.skipped
        if "alpha" not in row:
            assert (tick.slopes, tick.tbs, tick.tss, tick.af) == (None,) * 4
            continue
        assert list(tick.slopes.values()) == close(row["alpha"])
        assert list(tick.tbs.values()) == close(row["tbs"])
        assert list(tick.tss.values()) == close(row["tss"])
        assert tick.af == close(row["af"])
    assert reweighting.weights == tick.weights


def test_released_has_the_worked_examples_numbers_at_every_tick():
    ticks = follow(Reweighting(TYPES, ReweightSettings(method="released", **SHORT)), TABLE)
    assert [list(tick.weights.values()) for tick in ticks] == [
        close(row) for row in VECTORS["variant_unirain_program_weights"]
    ]
    assert [tick.af for tick in ticks[5:]] == close(VECTORS["variant_unirain_program_df"][5:])


def test_all_slopes_zero_has_the_worked_numbers():
    reweighting = Reweighting(TYPES, ReweightSettings(method="full", forget=1.0, window=5, warmup=2, **PLAIN))
    last = follow(reweighting, [[0.1] * 4] * 4)[-1]
    assert last.af == close(VECTORS["edge_cases"]["all_slopes_zero"]["af"])
    assert list(last.slopes.values()) == [0.0] * 4
    assert list(last.weights.values()) == close([0.25] * 4)


def test_the_first_tick_with_slopes_has_the_worked_numbers():
    reweighting = Reweighting(TYPES, ReweightSettings(method="full", forget=1.0, window=5, warmup=1, **PLAIN))
    last = follow(reweighting, [[0.1] * 4, [0.09, 0.1, 0.05, 0.11]])[-1]
    expected = VECTORS["edge_cases"]["first_slope_tick_af_is_1"]
    assert last.af == 1
    assert list(last.tss.values()) == close(expected["tss"])
    assert list(last.weights.values()) == close(expected["weights"])


@settings(deadline=None)
@given(tables(), st.sampled_from(STREAMED), st.integers(2, 8), st.integers(1, 6), st.floats(0.5, 1))
def test_streaming_is_the_batch_form_for_any_losses_and_any_number_of_types(table, method, window, warmup, forget):
    chosen = ReweightSettings(method=method, window=window, warmup=warmup, forget=forget)
    reweighting = Reweighting([f"type {i}" for i in range(len(table[0]))], chosen)
    ticks = follow(reweighting, table)
    expected = weights_of_every_tick(table, reweighting.plan)
    assert [list(tick.weights.values()) for tick in ticks] == [close(row) for row in expected]


def test_streaming_is_the_batch_form_of_the_printed_method():
    reweighting = Reweighting(TYPES, ReweightSettings(method="paper", window=5))
    table = [row for row in TABLE for _ in range(2)]
    expected = weights_of_every_tick(table, reweighting.plan)
    assert [list(tick.weights.values()) for tick in follow(reweighting, table)] == [close(row) for row in expected]


@settings(deadline=None)
@given(tables(), st.sampled_from(METHODS))
def test_weights_add_up_to_one_and_keep_the_floor(table, method):
    reweighting = Reweighting([f"type {i}" for i in range(len(table[0]))], ReweightSettings(method=method, **SHORT))
    for tick in follow(reweighting, table):
        assert math.fsum(tick.weights.values()) == pytest.approx(1)
        assert min(tick.weights.values()) >= reweighting.plan.floor - 1e-12
        assert math.fsum(map(reweighting.factor, reweighting.types)) == pytest.approx(len(reweighting.types))


@settings(deadline=None)
@given(tables(), st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_the_order_of_the_types_does_not_matter(table, method, random):
    names = [f"type {i}" for i in range(len(table[0]))]
    shuffled = random.sample(names, len(names))
    one, other = (Reweighting(order, ReweightSettings(method=method, **SHORT)) for order in (names, shuffled))
    for row in table:
        losses = dict(zip(names, row, strict=True))
        assert one.tick(losses).weights == pytest.approx(other.tick(losses).weights, abs=1e-12)


def test_uniform_never_moves_but_tells_the_slopes():
    ticks = follow(Reweighting(TYPES, ReweightSettings(method="uniform", **SHORT)), TABLE)
    assert all(list(tick.weights.values()) == [0.25] * 4 for tick in ticks)
    assert list(ticks[-1].slopes.values()) == close(VECTORS["ticks_by_forget"]["1"][-1]["alpha"])
    assert (ticks[-1].tbs, ticks[-1].tss, ticks[-1].af) == (None, None, None)


@pytest.mark.parametrize(("method", "af"), [("fixed-af", 0.5), ("no-tss", 1.0), ("no-tbs", 0.0)])
def test_ablations_fix_af_and_share_the_scores_of_full(method, af):
    full = follow(Reweighting(TYPES, ReweightSettings(method="full", weight_momentum=0.0, **SHORT)), TABLE)
    ablated = follow(Reweighting(TYPES, ReweightSettings(method=method, weight_momentum=0.0, **SHORT)), TABLE)
    for ours, theirs in zip(full[5:], ablated[5:], strict=True):
        assert (ours.tbs, ours.tss) == (theirs.tbs, theirs.tss)
        assert theirs.af == af
        for label in TYPES:
            omega = af * theirs.tbs[label] + (1 - af) * theirs.tss[label]
            assert theirs.weights[label] == pytest.approx(0.1 + 0.6 * omega)


def test_the_slow_type_is_favoured_until_another_diverges_which_then_counts_least():
    ticks = follow(Reweighting(TYPES, ReweightSettings(method="full", **PLAIN, **SHORT)), TABLE)
    assert max(ticks[6].weights, key=ticks[6].weights.__getitem__) == "drd"
    assert ticks[9].weights["nrd"] > 0.25
    assert min(ticks[13].weights, key=ticks[13].weights.__getitem__) == "nrd"
    assert ticks[13].weights["nrd"] < 0.07


def test_a_type_that_diverges_with_less_than_its_share_is_starved_and_gets_more_again():
    table = [[1 - 0.01 * tick, 1 - 0.01 * tick + 0.02 * max(0, tick - 10)] for tick in range(24)]
    by_types = {}
    for whose in ("all", "upweighted"):
        chosen = ReweightSettings(method="full", **{**PLAIN, "af_types": whose, "floor": 0.2}, **SHORT)
        ticks = follow(Reweighting(["steady", "rising"], chosen), table)
        by_types[whose] = [(tick.af, tick.weights["rising"]) for tick in ticks]
    turn = next(number for number, (_, weight) in enumerate(by_types["all"]) if weight < 0.49)
    assert by_types["upweighted"][turn] == by_types["all"][turn], "it diverges with an equal share: both give it less"
    af, weight = by_types["upweighted"][turn + 1]
    assert af == 1
    assert weight > 0.6
    assert all(af < 0.1 and weight < 0.45 for af, weight in by_types["all"][turn + 2 :]), "it never gets more again"


def test_what_is_behind_over_the_whole_run_is_favoured_though_it_now_moves_fastest():
    table = [[0.5 + 0.5 * 0.6**tick, 1 - 0.01 * tick] for tick in range(20)]
    over = {}
    for tbs_horizon in ("window", "run"):
        chosen = ReweightSettings(method="full", **{**PLAIN, "tbs_horizon": tbs_horizon}, **SHORT)
        last = follow(Reweighting(["early", "late"], chosen), table)[-1]
        over[tbs_horizon] = last.tbs["late"]
        assert last.slopes["late"] < 10 * last.slopes["early"] < 0
    change = {"early": sum(row[0] for row in table[-5:]) / 5 - 1, "late": sum(row[1] for row in table[-5:]) / 5 - 1}
    logit = 2 / (abs(change["early"]) + abs(change["late"])) * (change["late"] - change["early"])
    assert over["run"] == pytest.approx(1 / (1 + math.exp(-logit)))
    assert over["run"] > 0.6 > 0.2 > over["window"]


def test_a_loss_that_only_trembles_or_slows_down_leaves_af_at_one_and_one_that_rises_does_not():
    calm = [[0.3 + 0.7 * 0.8**now, 0.5 + 0.5 * 0.9**now + 0.01 * (now % 2)] for now in range(30)]
    rising = [*calm, *([0.3, 0.5 + 0.02 * now] for now in range(1, 9))]
    factors = {}
    for significance in (0.0, 3.0):
        chosen = ReweightSettings(method="full", **{**PLAIN, "significance": significance}, **SHORT)
        factors[significance] = [tick.af for tick in follow(Reweighting(["one", "other"], chosen), rising)[5:]]
    assert min(factors[0.0][:25]) < 0.1
    assert factors[3.0][:25] == pytest.approx([1.0] * 25)
    assert factors[3.0][-1] < 0.1


def test_where_nothing_moves_the_noise_of_the_first_tick_does_not_weigh_the_types():
    found = {}
    for significance in (0.0, 3.0):
        largest = []
        for seed in range(20):
            noise = np.random.default_rng(seed)
            reweighting = Reweighting(TYPES, ReweightSettings(method="no-tss", significance=significance))
            ticks = follow(reweighting, 0.1 * (1 + 0.01 * noise.standard_normal((120, 4))))
            largest.append(max(sum(tick.weights[label] for tick in ticks[60:]) / 60 for label in TYPES))
        found[significance] = sum(largest) / len(largest)
    assert found[3.0] < 0.32 < 0.38 < found[0.0]


def test_weights_blend_weights_by_the_weight_momentum():
    quick, slow = (
        follow(
            Reweighting(
                TYPES, ReweightSettings(method="full", **{**PLAIN, "weight_momentum": weight_momentum}, **SHORT)
            ),
            TABLE,
        )
        for weight_momentum in (0.0, 0.8)
    )
    kept = [0.25] * 4
    for wanted, got in zip(quick[5:], slow[5:], strict=True):
        kept = [0.8 * before + 0.2 * now for before, now in zip(kept, wanted.weights.values(), strict=True)]
        assert list(got.weights.values()) == pytest.approx(kept)


def test_the_released_losses_are_compared_with_their_own_first_ones():
    chosen = ReweightSettings(method="released", tbs_horizon="run", window=2, warmup=1)
    last = follow(Reweighting(["a", "b"], chosen), [[0.4, 0.8], [0.2, 0.8]])[-1]
    assert list(last.tbs.values()) == close([1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))])


def test_the_printed_method_gives_most_to_the_type_that_diverges():
    ticks = follow(Reweighting(TYPES, ReweightSettings(method="paper", **SHORT)), TABLE)
    assert ticks[11].af == 1
    assert max(ticks[11].weights, key=ticks[11].weights.__getitem__) == "nrd"


def test_a_types_scale_does_not_matter_to_full_but_does_to_the_released_program():
    scaled = [[10 * row[0], *row[1:]] for row in TABLE]
    weights = {}
    for method in ("full", "released"):
        for name, table in (("plain", TABLE), ("scaled", scaled)):
            reweighting = Reweighting(TYPES, ReweightSettings(method=method, **SHORT))
            weights[method, name] = follow(reweighting, table)[6].weights
    assert weights["full", "plain"] == pytest.approx(weights["full", "scaled"], abs=1e-9)
    assert weights["released", "plain"] != pytest.approx(weights["released", "scaled"], abs=1e-2)


def test_a_first_loss_of_zero_does_not_divide_by_it():
    reweighting = Reweighting(["a", "b"], ReweightSettings(method="full", **SHORT))
    last = follow(reweighting, [[0.0, 0.1]] * 3 + [[1e-3, 0.09]] * 5)[-1]
    assert all(math.isfinite(weight) for weight in last.weights.values())
    still = follow(Reweighting(["a", "b"], ReweightSettings(method="full", **SHORT)), [[0.0, 0.1]] * 8)[-1]
    assert still.tbs == {"a": 0.5, "b": 0.5}, "neither has moved"


def test_any_types_have_a_factor_and_other_labels_have_one():
    reweighting = Reweighting(["snow", "haze", "rain"], ReweightSettings(method="full", window=2, warmup=1))
    follow(reweighting, [[0.3, 0.2, 0.1], [0.2, 0.19, 0.1]])
    assert reweighting.factor("rain") == pytest.approx(3 * reweighting.weights["rain"])
    assert reweighting.factor("rain") > 1 > reweighting.factor("snow")
    assert reweighting.factor("clean") == 1.0


def test_one_type_alone_always_has_weight_one():
    ticks = follow(Reweighting(["rain"], ReweightSettings(method="full", **SHORT)), [[row[3]] for row in TABLE])
    assert [tick.weights["rain"] for tick in ticks] == pytest.approx([1.0] * len(TABLE))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e39])
def test_a_tick_with_a_loss_that_is_not_finite_is_as_if_it_had_not_been(bad):
    undisturbed, disturbed = (Reweighting(TYPES, ReweightSettings(method="full", **SHORT)) for _ in range(2))
    expected = follow(undisturbed, TABLE)
    assert [tick.weights for tick in follow(disturbed, TABLE[:8])] == [tick.weights for tick in expected[:8]]
    before = dict(disturbed.weights)
    tick = disturbed.tick(dict(zip(TYPES, [0.05, bad, 0.02, 0.11], strict=True)))
    assert tick.skipped
    assert tick.weights == before == disturbed.weights
    assert [tick.weights for tick in follow(disturbed, TABLE[8:])] == [tick.weights for tick in expected[8:]]


def test_the_worked_weights_survive_a_bad_tick():
    reweighting = Reweighting(TYPES, ReweightSettings(method="full", forget=1.0, **PLAIN, **SHORT))
    follow(reweighting, TABLE[:8])
    got = follow(reweighting, [[0.05, math.nan, 0.02, 0.11]])[0]
    assert list(got.weights.values()) == close(VECTORS["edge_cases"]["nan_tick_keeps_weights"]["weights"])


def test_the_third_bad_tick_in_a_row_ends_the_run_and_names_the_types():
    reweighting = Reweighting(TYPES, ReweightSettings(method="full"))
    broken = [0.1, math.nan, 0.1, math.inf]
    follow(reweighting, [TABLE[0], broken, broken, TABLE[1], broken, broken])
    with pytest.raises(TrainingError, match=r"drd \(nan\), nrd \(inf\) was not finite at 3 ticks in a row"):
        follow(reweighting, [broken])


def test_a_row_has_finite_numbers_or_none_and_is_json():
    reweighting = Reweighting(TYPES, ReweightSettings(method="full", window=2, warmup=1))
    warm, skipped, learnt = follow(reweighting, [TABLE[0], [math.nan, math.inf, 0.2, 0.1], TABLE[1]])
    assert json.loads(json.dumps(skipped.row(), allow_nan=False)) == {
        "losses": {"drs": None, "drd": None, "nrs": 0.2, "nrd": 0.1},
        "alpha": dict.fromkeys(TYPES),
        "tbs": dict.fromkeys(TYPES),
        "tss": dict.fromkeys(TYPES),
        "af": None,
        "weights": dict.fromkeys(TYPES, 0.25),
    }
    assert warm.row()["alpha"] == dict.fromkeys(TYPES)
    assert learnt.row()["alpha"] == learnt.slopes
    assert learnt.row()["af"] == learnt.af == 1
    assert sum(learnt.row()["tbs"].values()) == pytest.approx(1)


def test_the_probe_must_give_a_loss_of_every_type():
    reweighting = Reweighting(TYPES, ReweightSettings(method="full"))
    with pytest.raises(TrainingError, match="no loss of drd, nrd"):
        reweighting.tick({"drs": 0.1, "nrs": 0.1})


@pytest.mark.parametrize("signal", ["probe", "training"])
def test_a_loss_of_something_that_is_no_type_is_refused(signal):
    reweighting = Reweighting(TYPES, ReweightSettings(method="full", signal=signal))
    with pytest.raises(TrainingError, match="loss of clean, which is none of the types drs, drd, nrs, nrd"):
        reweighting.tick({**dict.fromkeys(TYPES, 0.1), "clean": 0.01})


def test_training_losses_wait_until_each_type_has_been_seen_then_the_last_one_stands_in():
    sparse = Reweighting(["a", "b"], ReweightSettings(method="paper", window=3, warmup=1))
    filled = Reweighting(["a", "b"], ReweightSettings(method="paper", window=3, warmup=1))
    waiting = [sparse.tick({"a": 0.5}), sparse.tick({}), sparse.tick({"a": 0.4})]
    assert all(tick.skipped and tick.weights == {"a": 0.5, "b": 0.5} for tick in waiting)
    assert waiting[-1].losses == {"a": 0.4, "b": None}
    assert waiting[-1].row()["losses"] == {"a": 0.4, "b": None}
    batches = [{"b": 0.9}, {"a": 0.3}, {"b": 0.8}, {}, {"a": 0.2, "b": 0.85}]
    whole = [(0.4, 0.9), (0.3, 0.9), (0.3, 0.8), (0.3, 0.8), (0.2, 0.85)]
    for losses, (a, b) in zip(batches, whole, strict=True):
        tick, expected = sparse.tick(losses), filled.tick({"a": a, "b": b})
        assert not tick.skipped
        assert (tick.losses, tick.weights) == (expected.losses, expected.weights)
    assert tick.weights["b"] > tick.weights["a"]


def test_a_bad_training_loss_does_not_stand_in_for_later_ones():
    reweighting = Reweighting(["a", "b"], ReweightSettings(method="paper"))
    reweighting.tick({"a": 0.5, "b": 0.4})
    assert reweighting.tick({"a": math.nan}).skipped
    after = reweighting.tick({"b": 0.3})
    assert not after.skipped
    assert after.losses == {"a": 0.5, "b": 0.3}


@pytest.mark.parametrize("types", [[], ["drs", "drs"]])
def test_types_must_be_different_names(types):
    with pytest.raises(SettingsError, match="one or more different types"):
        Reweighting(types, ReweightSettings())


def test_a_tick_costs_no_more_after_a_long_run_than_at_its_start():
    reweighting = Reweighting(TYPES, ReweightSettings(method="full", window=100))

    def seconds(ticks):
        fastest = math.inf
        for _ in range(5):
            began = time.process_time()
            follow(reweighting, ticks)
            fastest = min(fastest, time.process_time() - began)
        return fastest

    table = [[0.1 + 0.01 * math.sin(now + i) for i in range(4)] for now in range(200)]
    follow(reweighting, table)  # past the warm-up
    early = seconds(table)
    follow(reweighting, table * 20)
    assert seconds(table) < 3 * early
