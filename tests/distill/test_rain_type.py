"""The classifier on rain simulated on photographs it never saw, and its regression against its equation."""

import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from derain.backends.view import View
from derain.distill.measure.logistic import LogisticModel, expanded
from derain.distill.measure.rain_type import (
    FORM_NAMES,
    NIGHT_NAMES,
    classify,
    form_features,
    night_features,
    shipped_model,
)
from derain.imaging.pixels import to_pixels
from derain.rain.simulate import simulate
from derain.types import RainType

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from train_rain_type import Example, TypeModel, fit_logistic, weigh, write_model

DAY = ("astronaut", "chelsea", "coffee")


def rainy(name, kind, seed):
    pixels = np.ascontiguousarray(getattr(skimage.data, name)())
    generator = torch.Generator().manual_seed(seed)
    return View("", to_pixels(simulate(View("", pixels).image, kind, generator).rainy))


@pytest.fixture(scope="module")
def guesses():
    return [
        (kind, classify(rainy(name, kind, seed))) for name, kind, seed in itertools.product(DAY, RainType, range(2))
    ]


@pytest.mark.slow
def test_most_simulated_rain_is_recognised(guesses):
    light = sum((guess.light == "night") == kind.is_night for kind, guess in guesses)
    form = sum(RainType(guess.type).is_drop == kind.is_drop for kind, guess in guesses)
    assert len(guesses) == 24
    assert light >= 18
    assert form >= 18
    for _, guess in guesses:
        assert guess.light == ("night" if RainType(guess.type).is_night else "day")
        assert 0.25 <= guess.confidence <= 1


@pytest.mark.slow
def test_sure_answers_are_right_more_often(guesses):
    ranked = sorted(guesses, key=lambda pair: pair[1].confidence)
    right = [guess.type == kind for kind, guess in ranked]
    assert sum(right[12:]) > sum(right[:12])


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (32, 32), (900, 41)])
def test_every_size_is_classified_and_always_alike(size):
    view = View("", np.full((*size, 3), 130, np.uint8))
    assert classify(view) == classify(view)
    assert len(night_features(view)) == len(NIGHT_NAMES)
    assert len(form_features(view)) == len(FORM_NAMES)
    assert all(map(math.isfinite, [*night_features(view), *form_features(view)]))


def test_names_are_unique_and_the_shipped_ones():
    model = shipped_model()
    assert model.night.features == NIGHT_NAMES
    assert model.drops.features == FORM_NAMES
    assert len(set(FORM_NAMES)) == len(FORM_NAMES)
    for part in (model.night, model.drops):
        count = len(part.features)
        assert part.weights.shape[1] == count + count * (count + 1) // 2


def test_the_probability_is_that_of_the_equation():
    weights, bias = np.array([[0.3, -0.4, 0.5, 0.25, -0.1], [0.0] * 5]), np.array([0.2, 0.0])
    usual, scale = np.array([1.0, 2.0]), np.array([2.0, 0.5])
    model = LogisticModel(("a", "b"), ("yes", "no"), usual, scale, weights, bias, terms="products")
    a, b = (3.0 - 1) / 2, (1.0 - 2) / 0.5
    total = 0.2 + 0.3 * a - 0.4 * b + 0.5 * a * a + 0.25 * a * b - 0.1 * b * b
    assert model.probability([3.0, 1.0]) == pytest.approx(1 / (1 + math.exp(-total)))
    assert model.probability([1e9, 1.0]) == model.probability([9.0, 1.0]), "no value counts beyond 4 deviations"


def test_products_are_all_of_them():
    z = np.array([[2.0, 3.0, 4.0]])
    terms = expanded(z, np.zeros(3), np.ones(3), "products")
    assert terms.tolist() == [[2, 3, 4, 4, 6, 8, 9, 12, 16]]


def test_fitting_finds_the_least_of_its_objective():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(200, 2))
    is_so = values[:, 0] + 0.5 * values[:, 0] * values[:, 1] + 0.5 * generator.normal(size=200) > 0.3
    weights = generator.random(200)
    model = fit_logistic(("a", "b"), values, is_so, weights / weights.sum(), 0.01)

    terms = expanded(values, values.mean(axis=0), values.std(axis=0), "products")
    share = weights[is_so].sum() / weights.sum()
    balanced = weights / weights.sum() / (2 * np.where(is_so, share, 1 - share))

    def objective(solution):
        scores = terms @ solution[:-1] + solution[-1]
        loss = np.log1p(np.exp(np.where(is_so, -scores, scores)))
        return float(balanced @ loss) + 0.005 * float(solution[:-1] @ solution[:-1])

    best = np.array([*model.weights[0], model.bias[0]])
    least = objective(best)
    for direction in generator.normal(size=(30, len(best))):
        assert objective(best + 1e-3 * direction) > least
    right = [(model.probability(row.tolist()) > 0.5) == so for row, so in zip(values, is_so, strict=True)]
    assert np.mean(right) > 0.8


def test_rare_types_weigh_less_than_their_share_of_types_and_more_than_their_number():
    examples = [Example(RainType.DRS, "real/train", [], [])] * 90 + [Example(RainType.DRD, "real/train", [], [])] * 10
    examples += [Example(kind, "simulated/train", [], []) for kind in RainType] * 5
    weights = weigh(examples)
    assert weights.sum() == pytest.approx(1)
    assert weights[100:].sum() == pytest.approx(2 / 3)
    assert weights[90:100].sum() == pytest.approx(1 / 3 * math.sqrt(10) / (math.sqrt(10) + math.sqrt(90)))


def test_coefficients_are_written_and_read_again(tmp_path, monkeypatch):
    shipped = shipped_model()
    write_model(tmp_path / "rain_type.json", TypeModel(shipped.night, shipped.drops))
    monkeypatch.setattr("derain.distill.measure.rain_type.coefficients_path", lambda: tmp_path / "rain_type.json")
    again = shipped_model.__wrapped__()
    for part, before in ((again.night, shipped.night), (again.drops, shipped.drops)):
        assert part.features == before.features
        for name in ("usual", "scale", "weights", "bias"):
            np.testing.assert_array_equal(getattr(part, name), getattr(before, name))
    (tmp_path / "rain_type.json").write_text('{"night": {"names": []}, "drops": {"names": []}}')
    with pytest.raises(ValueError, match="made for other measures"):
        shipped_model.__wrapped__()
