"""The built-in judges on sample photographs, with the shipped network and coefficients."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from derain.backends.interfaces import Identity, Vectors
from derain.backends.view import Pixels8, View
from derain.distill.describe.builtin_visual import BuiltinVisualEncoder
from derain.distill.judges.bias import BiasedJudge
from derain.distill.judges.coefficients import GOOD, parse_basis, parse_model, read_basis, read_model
from derain.distill.judges.interface import Case, Decision, Judge, Verdict
from derain.distill.judges.pairing import PairingJudge
from derain.distill.judges.rain_layer import RainLayerJudge
from derain.distill.judges.typicality import TypicalityJudge, angles, distances, partner_distances
from derain.distill.measure.derained import WORKING_SIDE, Derainer, shared_derainer, working_copy
from derain.distill.measure.logistic import Matrix, expanded
from derain.errors import DistillError
from derain.imaging.io import to_pixels, to_tensor
from derain.rain.negatives import NEGATIVES, SEEN_WITHOUT_TARGET, GoodPair, make_negative
from derain.rain.settings import RainSettings
from derain.rain.simulate import simulate
from derain.types import RainType

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from distill_judges_fit import basis_json, fit, model_json, principal_components

RAIN = RainSettings(look_share=0, noise_share=0, jpeg_share=0, light_weight=0)
SCENES = {
    "astronaut": skimage.data.astronaut()[:216, 60:348],
    "chelsea": skimage.data.chelsea()[20:236, 40:328],
    "coffee": skimage.data.coffee()[100:316, 130:418],
}


def view_of(pixels: Pixels8, name: str) -> View:
    return View(name.ljust(64, "0"), np.ascontiguousarray(pixels))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def good() -> dict[str, GoodPair]:
    made = {}
    for seed, (name, pixels) in enumerate(SCENES.items()):
        pair = simulate(to_tensor(np.ascontiguousarray(pixels)), RainType.DRS, seeded(seed + 20), RAIN)
        other = SCENES["coffee" if name != "coffee" else "chelsea"]
        made[name] = GoodPair(pair.rainy, pair.target, to_tensor(np.ascontiguousarray(other)))
    return made


@pytest.fixture(scope="module")
def references() -> tuple[View, ...]:
    found = []
    for seed, pixels in enumerate((skimage.data.rocket(), skimage.data.retina()[300:800:2, 300:1000:2])):
        scene = to_tensor(np.ascontiguousarray(pixels[:224, :288]))
        found.append(view_of(to_pixels(simulate(scene, RainType.DRS, seeded(seed), RAIN).rainy), f"reference{seed}"))
    return tuple(found)


@pytest.fixture(scope="module")
def derainer() -> Derainer:
    return Derainer()


@pytest.fixture(scope="module")
def judges(derainer: Derainer) -> dict[str, Judge]:
    return {
        "rain-layer": RainLayerJudge(derainer),
        "typicality": TypicalityJudge(BuiltinVisualEncoder()),
        "pairing": PairingJudge(derainer),
    }


def case_of(pair: GoodPair, name: str, references: tuple[View, ...], kind: str | None = None) -> Case:
    if kind is None:
        rainy, clean = pair.rainy, pair.target
    else:
        made = make_negative(kind, pair, seeded(31))
        rainy, clean = made.rainy, made.target
    is_own_rain = kind in SEEN_WITHOUT_TARGET
    rainy_view = view_of(to_pixels(rainy), f"{name}-{kind if is_own_rain else ''}")
    return Case(rainy_view, view_of(to_pixels(clean), f"{name}-{kind}-clean"), "drs", references)


@pytest.fixture(scope="module")
def verdicts(
    judges: dict[str, Judge], good: dict[str, GoodPair], references: tuple[View, ...]
) -> dict[tuple[str, str | None], list[Verdict]]:
    """Those of all judges on good and synthetic negatives of two scenes, by scene and kind."""
    kinds: list[str | None] = [None, *NEGATIVES]
    keys = [(name, kind) for name in ("chelsea", "astronaut") for kind in kinds]
    cases = [case_of(good[name], name, references, kind) for name, kind in keys]
    columns = [judge.judge(cases) for judge in judges.values()]
    return {key: [column[row] for column in columns] for row, key in enumerate(keys)}


def scores(verdicts: Sequence[Verdict]) -> list[float]:
    return [verdict.score for verdict in verdicts if verdict.score is not None]


@pytest.mark.parametrize("kind", NEGATIVES)
@pytest.mark.parametrize("name", ["chelsea", "astronaut"])
def test_two_judges_trust_a_negative_pair_less_than_the_good_one_of_its_scene(
    name: str, kind: str, verdicts: dict[tuple[str, str | None], list[Verdict]]
) -> None:
    own, negative = scores(verdicts[name, None]), scores(verdicts[name, kind])
    assert len(own) == len(negative) == 3
    assert sum(c < g for g, c in zip(own, negative, strict=True)) >= 2


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("repeated_pattern", "repeated_pattern"),
        ("heavy_compression", "heavy_compression"),
        ("wrong_target", "target_of_another_scene"),
        ("misaligned_target", "target_misaligned"),
        ("colour_shifted_target", "target_colour_shifted"),
        ("smoothed_target", "target_smoothed"),
    ],
)
def test_a_fault_is_dropped_by_its_name(
    kind: str, reason: str, verdicts: dict[tuple[str, str | None], list[Verdict]]
) -> None:
    for name in ("chelsea", "astronaut"):
        found = verdicts[name, kind]
        assert any(v.decision is Decision.DROP and v.reason == reason for v in found), (name, found)


def test_verdicts_agree_with_their_scores(verdicts: dict[tuple[str, str | None], list[Verdict]]) -> None:
    names = ("builtin:rain-layer", "builtin:typicality", "builtin:pairing")
    for found in verdicts.values():
        assert tuple(verdict.judge for verdict in found) == names
        for verdict in found:
            assert verdict.score is not None
            assert (verdict.decision is Decision.KEEP) == (verdict.score > 0)
            assert verdict.reason


def test_each_case_is_judged_as_if_alone(
    judges: dict[str, Judge],
    good: dict[str, GoodPair],
    references: tuple[View, ...],
    verdicts: dict[tuple[str, str | None], list[Verdict]],
) -> None:
    fresh = (RainLayerJudge(), TypicalityJudge(BuiltinVisualEncoder()), PairingJudge())
    case = case_of(good["chelsea"], "chelsea", references, "grey_lines")
    for judge, known in zip(fresh, verdicts["chelsea", "grey_lines"], strict=True):
        assert judge.judge([case]) == [known]
    for judge in judges.values():
        assert judge.judge([]) == []


def test_without_partner_and_without_references(judges: dict[str, Judge], good: dict[str, GoodPair]) -> None:
    shown = case_of(good["astronaut"], "astronaut", ())
    alone = Case(shown.candidate, None, "drs", ())
    for name, judge in judges.items():
        (verdict,) = judge.judge([alone])
        assert verdict.score is not None, name


@pytest.mark.parametrize("kind", ["heavy_compression", "blurred_background"])
def test_of_a_picture_without_partner_the_background_is_judged(
    kind: str, judges: dict[str, Judge], good: dict[str, GoodPair]
) -> None:
    sound = Case(view_of(to_pixels(good["chelsea"].rainy), "chelsea-"), None, "drs", ())
    spoiled = make_negative(kind, good["chelsea"], seeded(3)).rainy
    (before,), (after,) = (
        judges["pairing"].judge([case])
        for case in (sound, Case(view_of(to_pixels(spoiled), f"alone-{kind}"), None, "drs", ()))
    )
    assert before.score is not None
    assert after.score is not None
    assert after.score < before.score - 1
    assert (after.decision, after.reason) == (Decision.DROP, kind)


def test_what_cannot_be_measured_is_no_vote(judges: dict[str, Judge], references: tuple[View, ...]) -> None:
    tiny = Case(view_of(SCENES["coffee"][:40, :60], "tiny"), None, "drs", references)
    for judge in judges.values():
        (verdict,) = judge.judge([tiny])
        assert (verdict.decision, verdict.score, verdict.reason) == (Decision.ABSTAIN, None, "picture_too_small")
    flat = Case(view_of(np.full((200, 260, 3), 90, np.uint8), "flat"), None, "drs", references)
    (verdict,) = judges["rain-layer"].judge([flat])
    assert (verdict.decision, verdict.reason) == (Decision.ABSTAIN, "no_rain_found")


def test_a_partner_of_another_size_is_judged_and_not_believed(
    judges: dict[str, Judge], good: dict[str, GoodPair], references: tuple[View, ...]
) -> None:
    shown = case_of(good["coffee"], "coffee", references)
    partner = view_of(SCENES["chelsea"][:200, :200], "square")
    (verdict,) = judges["pairing"].judge([Case(shown.candidate, partner, "drs", references)])
    assert verdict.decision is Decision.DROP


def test_references_count(derainer: Derainer, good: dict[str, GoodPair], references: tuple[View, ...]) -> None:
    judge = RainLayerJudge(derainer)
    shown = case_of(good["coffee"], "coffee", references)
    without = Case(shown.candidate, shown.clean, "drs", ())
    with_them, alone = judge.features(shown), judge.features(without)
    assert with_them is not None
    assert alone is not None
    names = judge.feature_names(True)
    assert len(names) == len(with_them) == len(alone)
    apart = [name.endswith("_from_references") for name in names]
    assert np.isnan(alone[apart]).all()
    assert np.isfinite(with_them[apart]).sum() > 20
    np.testing.assert_array_equal(with_them[np.logical_not(apart)], alone[np.logical_not(apart)])


def test_a_bias_shifts_every_score_and_the_identity(
    derainer: Derainer, good: dict[str, GoodPair], references: tuple[View, ...]
) -> None:
    shown = case_of(good["coffee"], "coffee", references)
    for plain in (RainLayerJudge(derainer), TypicalityJudge(BuiltinVisualEncoder()), PairingJudge(derainer)):
        shifted = BiasedJudge(plain, 1.5)
        (before,), (after,) = plain.judge([shown]), shifted.judge([shown])
        assert before.score is not None
        assert after.score == pytest.approx(before.score - 1.5, abs=2e-4)
        assert plain.identity.digest != shifted.identity.digest


class ColourEncoder:
    """Mean colours of four quarters: an encoder that nothing is shipped for."""

    dimensions = 12
    identity = Identity("quarter-colours", "1")

    def encode_views(self, views: Sequence[View]) -> Vectors:
        rows = []
        for view in views:
            half, middle = view.height // 2, view.width // 2
            halves = (view.pixels[:half], view.pixels[half:])
            quarters = [quarter for part in halves for quarter in (part[:, :middle], part[:, middle:])]
            row = np.concatenate([quarter.mean(axis=(0, 1)) for quarter in quarters])
            rows.append(row / np.linalg.norm(row))
        return np.array(rows, np.float32)


def test_any_encoder_serves_by_its_distances(good: dict[str, GoodPair], references: tuple[View, ...]) -> None:
    judge = TypicalityJudge(ColourEncoder())
    shown = case_of(good["coffee"], "coffee", references)
    (verdict,) = judge.judge([shown])
    assert verdict.score is not None
    assert len(judge.features(shown)) == len(judge.feature_names(True)) == 7
    (alone,) = judge.judge([Case(shown.candidate, None, "drs", references[:1])])
    assert (alone.decision, alone.reason) == (Decision.ABSTAIN, "too_few_references")
    assert judge.identity.digest != TypicalityJudge(BuiltinVisualEncoder()).identity.digest


def test_the_shipped_directions_are_those_of_the_shipped_encoder() -> None:
    # With other weights the judge would fall back to distances alone: benchmarks/distill_judges.py --fit makes anew.
    assert read_basis(BuiltinVisualEncoder().identity.digest) is not None
    assert read_basis("another encoder") is None


def test_distances_are_angles() -> None:
    own, references = np.array([1.0, 0, 0]), np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    right = np.pi / 2
    found = distances(own, references)
    np.testing.assert_allclose(found[:4], [0, right * 2 / 3, right, -right / 3], atol=1e-7)
    assert found[4] == pytest.approx(np.log((right * 2 / 3 + 1e-3) / (right + 1e-3)))
    assert np.isnan(distances(own, references[:0])).all()
    assert np.isnan(distances(own, references[:1])).sum() == 3
    np.testing.assert_allclose(partner_distances(own, references[0], references), [right, 0], atol=1e-7)
    assert angles(np.array([1.0000001, -1.1])).tolist() == [0.0, np.pi]


def test_the_working_copy_is_reduced_and_never_enlarged() -> None:
    small, large = torch.rand(1, 3, 100, 200), torch.rand(1, 3, 600, 1200)
    assert working_copy(small) is small
    assert working_copy(large).shape == (1, 3, WORKING_SIDE // 2, WORKING_SIDE)


def test_a_picture_is_derained_once_while_it_is_kept() -> None:
    derainer = Derainer(kept=1)
    first, second = (view_of(SCENES[name][:112, :128], f"small-{name}") for name in ("chelsea", "coffee"))
    found = derainer(first)
    assert derainer(first) is found
    assert found.picture.shape == found.without_rain.shape == (1, 3, 112, 128)
    derainer(second)
    again = derainer(first)
    assert again is not found
    assert torch.equal(again.without_rain, found.without_rain)
    assert shared_derainer() is shared_derainer()


def labelled_points() -> tuple[Matrix, list[str]]:
    """Good around 0; one fault where the first number is large; another where the second is far off either way."""
    random = np.random.default_rng(3)
    values = random.normal(size=(300, 3))
    labels = [GOOD] * 100 + ["large"] * 100 + ["odd"] * 100
    values[100:200, 0] += 6
    values[200:, 1] += np.where(np.arange(100) % 2 == 0, 6, -6)
    return values, labels


def test_the_model_finds_faults_on_one_side_and_on_both() -> None:
    values, labels = labelled_points()
    model = fit(("a", "b", "c"), values, labels, (GOOD, "large", "odd"))
    right = 0
    for row, label in zip(values, labels, strict=True):
        score, fault = model.log_odds(row)
        right += (score > 0) == (label == GOOD) and label in (GOOD, fault)
    assert right >= 290
    usual = np.full(3, np.nan)
    assert model.log_odds(usual)[0] > 0  # what is not known counts as usual


def test_log_odds_are_those_of_the_softmax() -> None:
    values, labels = labelled_points()
    model = fit(("a", "b", "c"), values, labels, (GOOD, "large", "odd"))
    row = values[140]
    logits = model.weights @ expanded(row[None], model.usual, model.scale, "absolute")[0] + model.bias
    chances = np.exp(logits) / np.exp(logits).sum()
    score, fault = replace(model, threshold=model.threshold + 0.25).log_odds(row)
    assert score == pytest.approx(np.log(chances[0] / (1 - chances[0])) - 0.25)
    assert fault == ("large", "odd")[int(chances[2] > chances[1])]


def test_models_and_directions_come_back_from_their_text() -> None:
    values, labels = labelled_points()
    model = fit(("a", "b", "c"), values, labels, (GOOD, "large", "odd"))
    model = replace(model, threshold=model.threshold + 0.125)
    again = parse_model(model_json(model))
    assert again.classes == model.classes
    for row in values[::50]:
        assert again.log_odds(row)[0] == pytest.approx(model.log_odds(row)[0], abs=1e-2)
    assert model_json(parse_model(model_json(again))) == model_json(again)
    basis = principal_components("encoder", values, 2)
    np.testing.assert_allclose(basis.directions @ basis.directions.T, np.eye(2), atol=1e-9)
    spread = ((values - values.mean(0)) @ basis.directions.T).var(axis=0)
    np.testing.assert_allclose(spread, np.linalg.eigvalsh(np.cov(values.T, bias=True))[::-1][:2])
    np.testing.assert_allclose(parse_basis(basis_json(basis)).places(values[0]), basis.places(values[0]), atol=1e-3)


def test_errors_name_what_is_missing() -> None:
    with pytest.raises(DistillError, match="none of torn"):
        fit(("a",), np.zeros((2, 1)), [GOOD, "odd"], (GOOD, "odd", "torn"))
    with pytest.raises(DistillError, match="no_such_model"):
        read_model("no_such_model")
