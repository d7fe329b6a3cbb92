"""The equations of reweighting against worked numbers and against slow, obvious versions."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from derain.objectives.slopes import (
    adaptive_factor,
    adaptive_factor_printed,
    adaptive_factor_released,
    balance_scores,
    convergence_slope,
    mix,
    printed_logit,
    raise_to_floor,
    slope_error,
    softmax,
    stability_scores,
    weights_released,
)

VECTORS = json.loads(Path(__file__).with_name("reweighting_vectors.json").read_text())
WINDOW, WARMUP, TAU = (VECTORS["config"][key] for key in ("window", "warmup", "tau"))
FLOOR = VECTORS["config"]["floor"]
SIGNS = VECTORS["eq9_sign_trouble"]


def close(values):
    return pytest.approx(values, abs=1e-7, rel=0)


@pytest.mark.parametrize("forget", ["1", "0.9"])
def test_every_equation_has_the_worked_examples_numbers(forget):
    ticks = VECTORS["ticks_by_forget"][forget]
    history: list[list[float]] = []
    for now, tick in enumerate(ticks):
        assert [loss / first for loss, first in zip(VECTORS["losses"][now], VECTORS["losses"][0], strict=True)] == (
            close(tick["y"])
        )
        if now < WARMUP:
            continue
        window = [row["y"] for row in ticks[now + 1 - WINDOW : now + 1]]
        slopes = [convergence_slope(column) for column in zip(*window, strict=True)]
        history.append(slopes)
        tbs, tss = balance_scores(slopes), stability_scores(history[-WINDOW:])
        af = adaptive_factor([max(row) for row in history], TAU, float(forget))
        omega = mix(af, tbs, tss)
        assert slopes == close(tick["alpha"])
        assert tbs == close(tick["tbs"])
        assert tss == close(tick["tss"])
        assert af == close(tick["af"])
        assert omega == close(tick["omega"])
        assert raise_to_floor(omega, FLOOR) == close(tick["weights"])
    assert len(history) == 11


def test_the_released_program_has_the_worked_examples_numbers():
    history: list[list[float]] = []
    largest: list[float] = []
    for now in range(WARMUP, len(VECTORS["losses"])):
        window = VECTORS["losses"][now + 1 - WINDOW : now + 1]
        history.append([convergence_slope(column) for column in zip(*window, strict=True)])
        largest.append(convergence_slope([max(row) for row in window]))
        factor = adaptive_factor_released(largest[-WINDOW:], TAU)
        tbs, tss = balance_scores(history[-1], 1e-8), stability_scores(history[-WINDOW:], 1e-8)
        assert factor == close(VECTORS["variant_unirain_program_df"][now])
        assert weights_released(factor, tbs, tss, 0.1) == close(VECTORS["variant_unirain_program_weights"][now])
    assert len(history) == 11


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=2, max_size=30))
def test_the_slope_is_that_of_the_least_squares_line(losses):
    slope, _ = np.polyfit(np.arange(len(losses)), losses, 1)
    assert convergence_slope(losses) == pytest.approx(slope, abs=1e-10)


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=4, max_size=30))
def test_the_error_of_the_slope_is_that_of_a_least_squares_fit(losses):
    _, covariance = np.polyfit(np.arange(len(losses)), losses, 1, cov=True)
    assert slope_error(losses) == pytest.approx(math.sqrt(covariance[0, 0]), abs=1e-7)
    assert slope_error(losses[:2]) == 0


@pytest.mark.parametrize("losses", [[], [0.3], [0.3, 0.3], [0.1] * 7, [1 / 3] * 10, [0.1, 0.7, 0.1]])
def test_the_slope_of_a_flat_or_too_short_history_is_exactly_zero(losses):
    assert convergence_slope(losses) == 0


def test_a_slope_is_per_tick_and_negative_while_the_loss_falls():
    assert convergence_slope([0.9, 0.7, 0.5, 0.3]) == pytest.approx(-0.2)


def test_softmax_bears_logits_that_overflow_the_exponential():
    assert softmax([1e300, 0, -1e300]) == [1, 0, 0]
    assert softmax([5.0, 5.0]) == [0.5, 0.5]


def test_tbs_gives_most_to_the_type_that_converges_slowest_and_still_more_if_it_diverges():
    falling = balance_scores([-0.1, -0.02, -0.06])
    assert falling[1] > falling[2] > falling[0]
    assert balance_scores([-0.1, +0.02, -0.06])[1] > falling[1]


def test_tss_gives_least_to_a_type_that_turns_from_its_own_past():
    past = [[-0.10, -0.01]] * 4
    turned = stability_scores([*past, [-0.10, +0.01]])
    assert turned[1] < 0.5 < turned[0]
    assert stability_scores([*past, [-0.10, -0.01]]) == pytest.approx([0.5, 0.5])


def test_where_nothing_moves_the_scores_are_even_and_af_is_one():
    assert balance_scores([0.0] * 3) == pytest.approx([1 / 3] * 3)
    assert stability_scores([[0.0] * 3] * 4) == pytest.approx([1 / 3] * 3)
    assert adaptive_factor([0.0] * 5) == pytest.approx(1)
    assert adaptive_factor_printed([0.0] * 5) == pytest.approx(1)
    assert adaptive_factor_released([0.0] * 5) == pytest.approx(1 / 5)


@pytest.mark.parametrize("slope", [-0.3, 0.0, 0.3])
def test_af_is_one_at_the_first_slope(slope):
    for factor in (adaptive_factor, adaptive_factor_printed, adaptive_factor_released):
        assert factor([slope]) == 1


@pytest.mark.parametrize("name", SIGNS)
def test_both_forms_of_eq_9_have_the_worked_numbers_of_the_sign_trouble(name):
    slopes = SIGNS[name]["a_max"]
    assert adaptive_factor(slopes) == close(SIGNS[name]["recommended_abs"])
    assert adaptive_factor_printed(slopes) == close(SIGNS[name]["printed_reading_B_own_time_divisor"])


def test_the_printed_eq_9_trusts_tbs_fully_when_a_type_diverges_and_the_corrected_one_hardly_at_all():
    slopes = [-0.10, -0.08, -0.06, -0.04, -0.02, +0.03]
    assert adaptive_factor_printed(slopes) == 1
    assert adaptive_factor(slopes) < 0.002


@pytest.mark.parametrize(
    "slopes", [[-0.1, 0.1], [0.5, -0.5, 0.25], [1e-300, -1e-300 + 1e-310, 1e300], [-1e300, 5e-324, 1e300]]
)
def test_the_printed_eq_9_keeps_its_range_where_the_signed_sum_vanishes(slopes):
    assert 0 <= adaptive_factor_printed(slopes) <= 1


def test_the_printed_logit_is_bounded_and_zero_where_it_has_no_value():
    assert printed_logit(5, 3, 0.2, 0.0) == 0
    assert printed_logit(5, 3, 0.2, 0.5) == pytest.approx(-6)
    assert printed_logit(5, 3, -1e300, 1e-300) == 1e300
    assert printed_logit(5, 3, 1e300, 1e-300) == -1e300


@pytest.mark.parametrize(
    ("name", "curve"),
    [("slope_-1/(s+5)", lambda s: -1 / (s + 5)), ("slope_-exp(-s/60)", lambda s: -math.exp(-s / 60))],
)
def test_only_forgetting_lets_af_recover_from_slow_convergence_and_fall_on_divergence(name, curve):
    slopes = [curve(s) for s in range(1, 581)]
    slopes.append(0.5 * abs(slopes[-1]))
    for forget in (1.0, 0.98):
        expected = VECTORS["long_run_af"][name][f"g={forget:g}"]
        for now in (1, 10, 50, 100, 581):
            assert adaptive_factor(slopes[:now], forget=forget) == close(expected[str(now)])


def test_the_floor_lifts_everyone_and_keeps_the_sum():
    assert raise_to_floor([1.0, 0.0, 0.0, 0.0], 0.025) == pytest.approx([0.925, 0.025, 0.025, 0.025])
    assert raise_to_floor([0.7, 0.3], 0.5) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("omega", "final"),
    [
        ((0.4, 0.3, 0.2, 0.1), (0.361, 0.251, 0.205, 0.182)),
        ((0.7, 0.1, 0.1, 0.1), (0.612, 0.129, 0.129, 0.129)),
        ((1.0, 0.0, 0.0, 0.0), (0.659, 0.114, 0.114, 0.114)),
        ((0.25, 0.25, 0.25, 0.25), (0.25, 0.25, 0.25, 0.25)),
    ],
)
def test_the_released_programs_two_softmaxes_and_floor_have_the_worked_numbers(omega, final):
    assert weights_released(1.0, omega, (0.25,) * 4) == pytest.approx(final, abs=6e-4)
