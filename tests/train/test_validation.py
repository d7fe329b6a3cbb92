"""The best weights are those that gain most without harm."""

import pytest

from derain.data.paired import CLEAN_LABEL
from derain.train.validation import ValidationReport, ValidationRow


def report(gains: dict[str, float], clean: float) -> ValidationReport:
    rows = [ValidationRow(name, 4, 20.0, 20.0 + gain, 0.5, 0.6, 0.1, 0.05) for name, gain in gains.items()]
    return ValidationReport((*rows, ValidationRow(CLEAN_LABEL, 4, 100.0, clean, 1.0, 0.99, 0.0, 0.01)))


def test_without_harm_the_score_is_the_mean_gain() -> None:
    assert report({"drs": 3.0, "drd": 1.0}, clean=41.0).score == pytest.approx(2.0)


def test_a_type_that_loses_is_counted_against_the_weights() -> None:
    even, uneven = report({"drs": 1.0, "drd": 1.0}, 41.0), report({"drs": 3.5, "drd": -1.0}, 41.0)
    assert uneven.gain > even.gain
    assert uneven.score < even.score


def test_harm_to_clean_pictures_is_counted_against_the_weights() -> None:
    assert report({"drs": 2.0}, 28.0).score == pytest.approx(1.0)
