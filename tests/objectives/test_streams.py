"""The streaming forms say what the batch forms say, for any length, and go on from a stored state."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from derain.objectives.slopes import (
    adaptive_factor,
    adaptive_factor_printed,
    adaptive_factor_released,
    change_error,
    convergence_slope,
    slope_error,
)
from derain.objectives.streams import AdaptiveFactor, ConstantFactor, ReleasedFactor, Window

LONG_RUNS = json.loads(Path(__file__).with_name("reweighting_vectors.json").read_text())["long_run_af"]
THOUSANDTHS = st.integers(0, 1000).map(lambda n: n / 1000)
SIXTY_FOURTHS = st.integers(-64, 64).map(lambda n: n / 64)  # their sums are exact, so a sum of 0 is one in both forms


@settings(deadline=None)
@given(st.lists(THOUSANDTHS, min_size=1, max_size=60), st.integers(1, 12))
def test_a_window_has_the_sum_and_slope_of_its_last_values_at_every_push(values, length):
    window = Window(length)
    for now, value in enumerate(values, start=1):
        window.push(value)
        last = values[max(0, now - length) : now]
        assert window.values == last
        assert len(window) == len(last)
        assert window.total == pytest.approx(math.fsum(last), abs=1e-12)
        assert window.slope == pytest.approx(convergence_slope(last), abs=1e-12)
        assert window.mean == pytest.approx(math.fsum(last) / len(last), abs=1e-12)
        assert window.change_error == pytest.approx(change_error(last), abs=1e-6)
        assert window.slope_error == pytest.approx(slope_error(last), abs=1e-7)


@pytest.mark.parametrize("level", [1.0, 1 / 3, 1e-5])
def test_a_flat_loss_has_a_slope_of_exactly_zero_again_once_it_has_settled(level):
    window = Window(7)
    for value in [0.9, 0.73, 0.61, 0.5, 0.41, *[level] * 7]:
        window.push(value)
    assert window.slope == 0


def test_an_outburst_leaves_no_rounding_behind_when_it_leaves_the_window():
    window, tail = Window(5), [0.31, 0.32, 0.335, 0.341, 0.35]
    for value in [0.3, 1e25, *tail]:
        window.push(value)
    assert window.slope == pytest.approx(convergence_slope(tail), rel=1e-12)


def test_a_hundred_thousand_pushes_do_not_wear_the_sums_out():
    window, values = Window(10), [0.1 + 0.01 * math.sin(now) for now in range(100_003)]
    for value in values:
        window.push(value)
    assert window.slope == pytest.approx(convergence_slope(values[-10:]), abs=1e-15)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=40), st.floats(0, 20), st.floats(0.3, 1))
def test_af_is_that_of_the_whole_history(slopes, tau, forget):
    stream = AdaptiveFactor(tau, forget)
    for now, slope in enumerate(slopes, start=1):
        assert stream.push(slope) == pytest.approx(adaptive_factor(slopes[:now], tau, forget), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(THOUSANDTHS.map(lambda n: n - 0.5), THOUSANDTHS), min_size=1, max_size=40), st.floats(0, 4))
def test_af_with_significance_is_that_of_the_whole_history(history, significance):
    stream, slopes, errors = (
        AdaptiveFactor(5.0, 0.9, significance),
        [slope for slope, _ in history],
        [error for _, error in history],
    )
    for now, (slope, error) in enumerate(history, start=1):
        expected = adaptive_factor(slopes[:now], 5.0, 0.9, errors[:now], significance)
        assert stream.push(slope, error) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(st.lists(SIXTY_FOURTHS, min_size=1, max_size=40))
@example([0.5, -0.5, 0.25])
def test_the_printed_af_is_that_of_the_whole_history(slopes):
    stream = AdaptiveFactor(5.0, 1.0, printed=True)
    for now, slope in enumerate(slopes, start=1):
        assert stream.push(slope) == pytest.approx(adaptive_factor_printed(slopes[:now]), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.integers(1, 12))
def test_the_released_af_is_that_of_its_window(slopes, length):
    stream = ReleasedFactor(5.0, length)
    for now, slope in enumerate(slopes, start=1):
        expected = adaptive_factor_released(slopes[max(0, now - length) : now], 5.0)
        assert stream.push(slope) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("forget", [1.0, 0.98])
@pytest.mark.parametrize(
    ("name", "curve"),
    [("slope_-1/(s+5)", lambda s: -1 / (s + 5)), ("slope_-exp(-s/60)", lambda s: -math.exp(-s / 60))],
)
def test_af_has_the_worked_numbers_over_six_hundred_ticks(name, curve, forget):
    slopes = [curve(s) for s in range(1, 581)]
    slopes += [0.5 * abs(slopes[-1])] * 20
    stream = AdaptiveFactor(5.0, forget)
    factors = [stream.push(slope) for slope in slopes]
    for now, expected in LONG_RUNS[name][f"g={forget:g}"].items():
        assert factors[int(now) - 1] == pytest.approx(expected, abs=1e-7)


def test_af_stays_a_number_over_very_long_runs_of_extreme_slopes():
    stream = AdaptiveFactor(5.0, 0.9999)
    factors = [stream.push(-1e-9) for _ in range(2000)]
    factors += [stream.push(-1e9)] + [stream.push(1e-9) for _ in range(2000)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[1999] == pytest.approx(1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdaptiveFactor(5.0, 0.98),
        lambda: AdaptiveFactor(5.0, 0.98, significance=2.0),
        lambda: AdaptiveFactor(5.0, 1.0, printed=True),
        lambda: ReleasedFactor(5.0, 4),
        lambda: ConstantFactor(0.5),
    ],
)
def test_a_factor_continues_from_its_state_to_the_bit(make):
    slopes = [-0.1, -0.07, 0.02, -0.05, 0.01, -0.03, 0.04, -0.02]
    whole, first, second = make(), make(), make()
    expected = [whole.push(slope) for slope in slopes]
    for slope in slopes[:5]:
        first.push(slope)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [second.push(slope) for slope in slopes[5:]] == expected[5:]


def test_a_window_continues_from_its_state_to_the_bit_and_refuses_a_longer_one():
    whole, first, second = Window(4), Window(4), Window(4)
    values = [0.9, 0.7, 0.63, 0.61, 0.58, 0.59, 0.55, 0.53, 0.5]
    for value in values[:6]:
        first.push(value)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for value in values:
        whole.push(value)
    for value in values[6:]:
        second.push(value)
    assert second.state_dict() == whole.state_dict()
    with pytest.raises(ValueError, match="4 values for a window of 3"):
        Window(3).load_state_dict(first.state_dict())
