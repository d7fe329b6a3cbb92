"""Fits the coefficients of the built-in judges on cases of the split train, and writes them into the package."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from derain.distill.calibrating import area_under_curve, bias_for
from derain.distill.judges.coefficients import BASIS, GOOD, FeatureBasis, parse_basis, read_model, shipped_text
from derain.distill.judges.pairing import PairingJudge
from derain.distill.judges.rain_layer import RainLayerJudge
from derain.distill.judges.typicality import DISTANCES, PARTNER, distances, partner_distances
from derain.distill.measure.logistic import LogisticModel, Matrix, expanded
from derain.errors import DistillError
from distill_judges_features import FeatureMaker, Measured

RAIN_FAULTS = ("grey_lines", "round_blobs", "repeated_pattern", "heavy_compression", "blurred_background")
"""What can be seen in the rainy picture alone."""

PAIR_FAULTS = ("misaligned_target", "wrong_target", "target_still_rainy", "smoothed_target", "colour_shifted_target")
"""What can be seen in the pair alone."""

FOLDS = 5
COMPONENTS = 96
PENALTIES = (0.01, 0.03, 0.1, 0.3)
USUAL_PENALTY = (0.03,)
"""What is tried where a kind is left out, to save time."""
MOST_KEPT = (0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02)
"""Parts of the negative cases that a judge may keep: what is tried, in this order."""
WANTED_PRECISION = 0.9
Flags = npt.NDArray[np.bool_]
BACKGROUND_FAULTS = ("heavy_compression", "blurred_background")


@dataclass(frozen=True)
class Seen:
    """A case as a model sees it."""

    measured: Measured
    variant: str
    """`alone` (partner left out) or `paired`."""
    basis: FeatureBasis


@dataclass(frozen=True)
class Task:
    """What one of the shipped models is to tell apart, and what it sees."""

    name: str
    """JUDGE_alone or JUDGE_paired."""
    faults: tuple[str, ...]
    features: Callable[[Seen], Matrix | None]
    """What the judge gives its model; None where it abstains."""
    names: Callable[[], tuple[str, ...]]

    @property
    def variant(self) -> str:
        return self.name.rsplit("_", 1)[1]

    def values(self, measured: Measured, basis: FeatureBasis) -> Matrix | None:
        """(F,) of a case that has the variant; None where the judge abstains."""
        return self.features(Seen(measured, self.variant, basis))


def _rain_layer(seen: Seen) -> Matrix | None:
    return seen.measured.rain_layer[seen.variant]


def _pairing(seen: Seen) -> Matrix | None:
    return seen.measured.pairing[seen.variant]


def _typicality(seen: Seen) -> Matrix:
    """As `TypicalityJudge.features` gives them."""
    measured, basis = seen.measured, seen.basis
    parts = [_distances(seen), basis.places(measured.vector)]
    if seen.variant == "paired":
        assert measured.clean_vector is not None
        parts.append(basis.places(measured.vector) - basis.places(measured.clean_vector))
    return np.concatenate(parts)


def _distances(seen: Seen) -> Matrix:
    """As `TypicalityJudge.features` gives them for an encoder without basis."""
    measured = seen.measured
    parts = [distances(measured.vector, measured.reference_vectors)]
    if seen.variant == "paired":
        assert measured.clean_vector is not None
        parts.append(partner_distances(measured.vector, measured.clean_vector, measured.reference_vectors))
    return np.concatenate(parts)


def _typicality_names(is_pair: bool) -> tuple[str, ...]:
    places = tuple(f"place_{n}" for n in range(COMPONENTS))
    partner = tuple(f"from_partner_{n}" for n in range(COMPONENTS)) if is_pair else ()
    return DISTANCES + (PARTNER if is_pair else ()) + places + partner


ALL_FAULTS = RAIN_FAULTS + PAIR_FAULTS
SEEN_IN_FEATURES = tuple(fault for fault in ALL_FAULTS if fault != "misaligned_target")
"""Pooled features do not say where anything is."""


TASKS: tuple[Task, ...] = (
    Task("rain_layer_alone", RAIN_FAULTS, _rain_layer, lambda: RainLayerJudge.feature_names(False)),
    Task("rain_layer_paired", ALL_FAULTS, _rain_layer, lambda: RainLayerJudge.feature_names(True)),
    Task("typicality_alone", RAIN_FAULTS, _typicality, lambda: _typicality_names(False)),
    Task("typicality_paired", SEEN_IN_FEATURES, _typicality, lambda: _typicality_names(True)),
    Task("distances_alone", RAIN_FAULTS, _distances, lambda: DISTANCES),
    Task("distances_paired", SEEN_IN_FEATURES, _distances, lambda: DISTANCES + PARTNER),
    Task("pairing_alone", BACKGROUND_FAULTS, _pairing, lambda: PairingJudge.feature_names(False)),
    Task("pairing_paired", ALL_FAULTS, _pairing, lambda: PairingJudge.feature_names(True)),
)


@dataclass(frozen=True)
class Examples:
    """What a task can see of the cases: all those that have its variant."""

    values: Matrix
    """(N, F)."""
    labels: list[str]
    scenes: list[str]
    places: list[int]
    """Which of the cases these are."""

    def of(self, kinds: Sequence[str]) -> Flags:
        """(N,) whether an example is of one of these kinds."""
        return np.array([label in kinds for label in self.labels])


def examples(task: Task, cases: Sequence[Measured], basis: FeatureBasis) -> Examples:
    """Good cases and negative ones, of every kind."""
    found = Examples(np.zeros(0), [], [], [])
    rows = []
    for place, measured in enumerate(cases):
        is_labelled = measured.case.is_good or measured.case.kind in ALL_FAULTS
        row = task.values(measured, basis) if task.variant in measured.variants else None
        if is_labelled and row is not None:
            rows.append(row)
            found.labels.append(GOOD if measured.case.is_good else measured.case.kind)
            found.scenes.append(measured.case.name)
            found.places.append(place)
    return replace(found, values=np.array(rows))


def basis_of(maker: FeatureMaker, cases: Sequence[Measured]) -> FeatureBasis:
    """Directions in which the train split's rainy pictures, good and negative, vary most."""
    vectors = {measured.case.rainy.digest: measured.vector for measured in cases}
    return principal_components(maker.encoder.identity.digest, np.array(list(vectors.values())), COMPONENTS)


def fit(
    features: Sequence[str], values: Matrix, labels: Sequence[str], classes: Sequence[str], penalty: float = 0.02
) -> LogisticModel:
    """Fit the coefficients; good cases weigh as much as all faults together, and each fault as much as any other.

    Args:
        values: (N, F); NaN where a feature could not be measured.
        labels: (N,) the class of each case.
        classes: `good` first.
        penalty: weight of the squared coefficients beside the mean log loss.

    Raises:
        DistillError: a class has no case.
    """
    missing = [name for name in classes if name not in labels]
    if missing or classes[0] != GOOD:
        raise DistillError(f"wanted cases of every class, {GOOD} first; none of {', '.join(missing) or GOOD}; add some")
    good = values[[label == GOOD for label in labels]]
    usual = np.nan_to_num(np.nanmedian(good, axis=0))
    spread = 1.4826 * np.nanmedian(np.abs(good - usual), axis=0)
    scale = np.maximum(np.nan_to_num(spread, nan=1.0), 1e-3)
    y = np.array([list(classes).index(label) for label in labels])
    per_class = np.array([0.5] + [0.5 / (len(classes) - 1)] * (len(classes) - 1)) / np.bincount(y)
    # Of two classes the library fits the difference of their coefficients, whose square counts a quarter as much.
    pair = len(classes) == 2
    model = LogisticRegression(C=(2 if pair else 1) / penalty, tol=1e-7, max_iter=5000)
    model.fit(expanded(values, usual, scale, "absolute"), y, sample_weight=per_class[y])
    weights, bias = model.coef_, model.intercept_
    if pair:
        weights, bias = np.vstack([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])
    return LogisticModel(tuple(features), tuple(classes), usual, scale, weights, bias)


def principal_components(encoder: str, vectors: Matrix, count: int) -> FeatureBasis:
    """The `count` directions of largest variance of vectors (N, D), each with its largest entry positive."""
    mean = vectors.mean(axis=0)
    _, _, rows = np.linalg.svd(vectors - mean, full_matrices=False)
    rows = rows[:count]
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])
    return FeatureBasis(encoder, mean, rows * signs[:, None])


def model_json(model: LogisticModel) -> str:
    """Text that `parse_model` reads."""
    whole = {
        "features": list(model.features),
        "classes": list(model.classes),
        "usual": _rounded(model.usual),
        "scale": _rounded(model.scale),
        "weights": [_rounded(row) for row in model.weights],
        "bias": _rounded(model.bias),
        "threshold": round(model.threshold, 4),
    }
    return "{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in whole.items()) + "\n}\n"


def basis_json(basis: FeatureBasis) -> str:
    """Text that `parse_basis` reads."""
    rows = ",\n  ".join(json.dumps([round(float(x), 4) for x in row]) for row in basis.directions)
    mean = json.dumps([round(float(x), 5) for x in basis.mean])
    return f'{{\n "encoder": {json.dumps(basis.encoder)},\n "mean": {mean},\n "directions": [\n  {rows}\n ]\n}}\n'


def _rounded(values: Matrix) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


@dataclass(frozen=True)
class Fitted:
    """A model without threshold, and what it says of scenes that it had not seen."""

    model: LogisticModel
    examples: Examples
    unseen: Matrix
    """(N,) score of each example."""
    negative: Flags
    """(N,) whether an example is of a kind that the model was fitted against."""

    def with_threshold(self, most_kept: float) -> LogisticModel:
        """The model that keeps at most this part of the negative cases of unseen scenes."""
        return replace(self.model, threshold=round(bias_for(self.unseen[self.negative].tolist(), most_kept), 4))


def fit_task(task: Task, cases: Sequence[Measured], basis: FeatureBasis, without: str | None = None) -> Fitted:
    """Fit one model; its penalty is the one with the largest area on scenes that the fit had not seen."""
    known = examples(task, cases, basis)
    classes = [GOOD, *(fault for fault in task.faults if fault != without)]
    good, negative = known.of([GOOD]), known.of(classes[1:])
    penalties = PENALTIES if without is None else USUAL_PENALTY
    by_penalty = {penalty: unseen_scores(task, known, classes, penalty) for penalty in penalties}

    def area(penalty: float) -> float:
        return area_under_curve(by_penalty[penalty][good].tolist(), by_penalty[penalty][negative].tolist())

    best = max(penalties, key=area)
    learned = np.flatnonzero(good | negative)
    model = fit(task.names(), known.values[learned], [known.labels[i] for i in learned], classes, best)
    return Fitted(model, known, by_penalty[best], negative)


def unseen_scores(task: Task, known: Examples, classes: Sequence[str], penalty: float) -> Matrix:
    """Score of each example by a model that saw no case of its scene: scenes are dealt out to five folds in turn."""
    order = {scene: number for number, scene in enumerate(dict.fromkeys(known.scenes))}
    folds = np.array([order[scene] % FOLDS for scene in known.scenes])
    wanted = known.of(classes)
    scores = np.zeros(len(known.labels))
    for fold in range(FOLDS):
        seen = np.flatnonzero((folds != fold) & wanted)
        model = fit(task.names(), known.values[seen], [known.labels[i] for i in seen], classes, penalty)
        for place in np.flatnonzero(folds == fold):
            scores[place] = model.log_odds(known.values[place])[0]
    return scores


def fit_all(cases: Sequence[Measured], basis: FeatureBasis, without: str | None = None) -> dict[str, LogisticModel]:
    """All models. Each of a variant keeps the same part of the negative cases it was fitted against, at most a fifth.

    It is the largest part at which nine of ten cases that the vote of the three keeps are good, but never so small that
    the vote keeps less than half of the good ones: on unseen scenes of `cases`, in the mixture that they have.
    """
    fitted = {task.name: fit_task(task, cases, basis, without) for task in TASKS}
    models: dict[str, LogisticModel] = {}
    for variant in ("alone", "paired"):
        chosen = MOST_KEPT[0]
        for most_kept in MOST_KEPT:
            precision, recall = _vote_on_unseen(cases, fitted, variant, most_kept, without)
            if without is None:
                kept = f"{variant}, each keeps {most_kept:.2f} of negative"
                print(f"{kept}: precision {precision:.3f}, recall {recall:.3f}", file=sys.stderr)
            if recall < 0.5:
                break
            chosen = most_kept
            if precision >= WANTED_PRECISION:
                break
        models |= {task.name: fitted[task.name].with_threshold(chosen) for task in TASKS if task.variant == variant}
    return models


def _vote_on_unseen(
    cases: Sequence[Measured], fitted: dict[str, Fitted], variant: str, most_kept: float, without: str | None
) -> tuple[float, float]:
    """Precision and recall of the vote on the cases that are shown in this variant."""
    keeps = np.zeros(len(cases), int)
    for judge in ("rain_layer", "typicality", "pairing"):
        one = fitted[f"{judge}_{variant}"]
        threshold = one.with_threshold(most_kept).threshold
        for place, score in zip(one.examples.places, one.unseen, strict=True):
            keeps[place] += int(score > threshold)
    shown = [
        (measured.case.is_good, count >= 2)
        for measured, count in zip(cases, keeps, strict=True)
        if measured.variants[-1] == variant and measured.case.kind not in (without, "other_simulator")
    ]
    kept_good = sum(is_good and is_kept for is_good, is_kept in shown)
    kept = sum(is_kept for _, is_kept in shown)
    return kept_good / max(kept, 1), kept_good / sum(is_good for is_good, _ in shown)


def write_coefficients(maker: FeatureMaker, cases: Sequence[Measured]) -> None:
    """Fit all tasks and write their JSON."""
    folder = Path(str(resources.files("derain.distill.judges"))) / "coefficients"
    folder.mkdir(exist_ok=True)
    basis = basis_of(maker, cases)
    (folder / f"{BASIS}.json").write_text(basis_json(basis), encoding="utf-8")
    basis = parse_basis(basis_json(basis))
    for name, model in fit_all(cases, basis).items():
        (folder / f"{name}.json").write_text(model_json(model), encoding="utf-8")


def shipped_models() -> tuple[FeatureBasis, dict[str, LogisticModel]]:
    """The coefficients in the package."""
    return parse_basis(shipped_text(BASIS)), {task.name: read_model(task.name) for task in TASKS}
