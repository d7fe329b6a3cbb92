"""Train the classifier of day and night, streaks and drops, and say how often it is right.

    python benchmarks/train_rain_type.py --photos photographs/index.csv --rounds 2 --write
    python benchmarks/train_rain_type.py --photos photographs/index.csv --pairs val/manifest.csv

Rain of all four types is simulated on clean photographs of the split `train` of the index (columns path, light, split,
source, scene; with a column `role`, those of the role `clean`). Rows of the role `real` or `rainy` (which name their
type) take part as they are; together they weigh a third, each type among them by the root of its number. Photographs of
dusk are left out. Without `--write` nothing is trained: the shipped coefficients are measured, on the pictures of the
index that they were not fitted on, and on the rainy pictures of `--pairs`.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression

from derain.backends.view import View, read_view
from derain.data.pairs import Photo, read_photos
from derain.data.rows import read_records
from derain.distill.measure.logistic import LogisticModel, Matrix, expanded
from derain.distill.measure.rain_type import (
    FORM_NAMES,
    NIGHT_NAMES,
    TypeModel,
    coefficients_path,
    form_features,
    night_features,
    shipped_model,
)
from derain.imaging.io import read_image
from derain.imaging.pixels import to_pixels
from derain.rain.simulate import simulate
from derain.types import RainType

SCALE_LONGEST = 640
"""Larger photographs are cropped to their centre before it rains on them."""


@dataclass(frozen=True)
class Example:
    """What is measured on a picture whose type is known."""

    type: RainType
    group: str
    """Where it comes from: simulated, or role/split."""
    night: list[float]
    form: list[float]


def main() -> None:
    """Parse the arguments; train and write, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="CSV index of photographs")
    parser.add_argument("--pairs", type=Path, help="manifest whose rainy pictures are measured as well")
    parser.add_argument("--rounds", type=int, default=2, help="times that it rains on each photograph, types in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--night-penalty", type=float, default=0.0003, help="weight of the light's squared coefficients"
    )
    parser.add_argument("--form-penalty", type=float, default=0.003, help="weight of squared coefficients: form")
    parser.add_argument("--write", action="store_true", help="train, and write the shipped coefficients anew")
    arguments = parser.parse_args()
    examples = list(real_examples(arguments.photos, with_train=arguments.write))
    if arguments.write:
        simulated = list(simulated_examples(read_photos(arguments.photos, "train"), arguments.rounds, arguments.seed))
        learning = simulated + [example for example in examples if example.group.endswith("/train")]
        model = TypeModel(
            night=fit_logistic(
                NIGHT_NAMES,
                np.array([example.night for example in learning]),
                np.array([example.type.is_night for example in learning]),
                weigh(learning),
                arguments.night_penalty,
            ),
            drops=fit_logistic(
                FORM_NAMES,
                np.array([example.form for example in learning]),
                np.array([example.type.is_drop for example in learning]),
                weigh(learning),
                arguments.form_penalty,
            ),
        )
        write_model(coefficients_path(), model)
        examples += simulated
    else:
        model = shipped_model()
    if arguments.pairs is not None:
        examples += pair_examples(arguments.pairs)
    print_table(model, examples)


def real_examples(index: Path, with_train: bool) -> Iterator[Example]:
    """Rainy photographs of an index, by role and split; those of the split `train` only if wanted."""
    for _, row in read_records(index, ["path", "role", "type", "split"]):
        if row["role"] in ("real", "rainy") and row["type"] and (with_train or row["split"] != "train"):
            view = read_view(index.parent / row["path"])
            yield _example(view, RainType(row["type"]), f"{row['role']}/{row['split']}")


def pair_examples(manifest: Path) -> list[Example]:
    """Rainy pictures of a manifest, by split."""
    return [
        _example(read_view(manifest.parent / row["rainy"]), RainType(row["type"]), f"pairs/{row['split']}")
        for _, row in read_records(manifest, ["rainy", "type", "split"])
    ]


def simulated_examples(photos: Sequence[Photo], rounds: int, seed: int) -> Iterator[Example]:
    """Rain on each photograph, another type each round; night photographs get rain by night only."""
    by_light: Counter[bool] = Counter()
    for round_number in range(rounds):
        for number, photo in enumerate(photos):
            if photo.light == "dusk":
                continue
            is_night = photo.light == "night"
            fitting = [kind for kind in RainType if kind.is_night or not is_night]
            kind = fitting[by_light[is_night] % len(fitting)]
            by_light[is_night] += 1
            clean = centre_crop(read_image(photo.path), SCALE_LONGEST)
            generator = torch.Generator().manual_seed(seed + round_number * len(photos) + number)
            rainy = simulate(clean, kind, generator, is_night=is_night).rainy
            pixels = np.ascontiguousarray(to_pixels(rainy), np.uint8)
            yield _example(View("", pixels), kind, "simulated/train")


def centre_crop(image: torch.Tensor, longest: int) -> torch.Tensor:
    """The centre of (B, 3, H, W), at most `longest` pixels on a side."""
    height, width = image.shape[-2:]
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return image[..., top : top + longest, left : left + longest]


def _example(view: View, kind: RainType, group: str) -> Example:
    return Example(kind, group, night_features(view), form_features(view))


def weigh(examples: Sequence[Example]) -> Matrix:
    """(N,) weights that sum to 1: simulated ones 2/3, real ones 1/3; types by the root of their number.

    Few real photographs of a type would decide too much if their type weighed as much as others.
    """
    kinds = [(example.group.startswith("simulated"), example.type) for example in examples]
    counts = Counter(kinds)
    total = {part: sum(sqrt(n) for (of, _), n in counts.items() if of == part) for part in (False, True)}
    share = {True: 2 / 3, False: 1 / 3} if all(total.values()) else {True: 1.0, False: 1.0}
    return np.array([share[kind[0]] * sqrt(counts[kind]) / total[kind[0]] / counts[kind] for kind in kinds])


def fit_logistic(
    names: tuple[str, ...], values: Matrix, is_so: npt.NDArray[np.bool_], weights: Matrix, penalty: float
) -> LogisticModel:
    """Least sum_i v_i log(1 + e^(-y_i f(x_i))) + penalty |w|^2 / 2.

    f(x) = b + w . e(z), z of values (N, D) by their unweighted means and deviations, e with products by twos. Weights
    v (N,) are balanced so that both answers weigh alike.
    """
    means, deviations = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)
    share = float(weights[is_so].sum())
    balanced = np.where(is_so, weights / (2 * share), weights / (2 * (1 - share)))
    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit(expanded(values, means, deviations, "products"), is_so, sample_weight=balanced)
    both, bias = np.vstack([model.coef_, np.zeros_like(model.coef_)]), np.array([model.intercept_[0], 0.0])
    return LogisticModel(names, ("yes", "no"), means, deviations, both, bias, terms="products")


def write_model(path: Path, model: TypeModel) -> None:
    """Coefficients as JSON, rounded to 6 digits."""
    parts = {
        name: {
            "names": list(part.features),
            "means": _rounded(part.usual),
            "deviations": _rounded(part.scale),
            "weights": _rounded(part.weights[0]),
            "bias": _rounded(part.bias)[0],
        }
        for name, part in (("night", model.night), ("drops", model.drops))
    }
    path.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")


def _rounded(values: Matrix) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def print_table(model: TypeModel, examples: Sequence[Example]) -> None:
    """Right answers by group and type."""
    print("| pictures of | type | pictures | light right | form right | type right |")
    print("|---|---|---:|---:|---:|---:|")
    for group in sorted({example.group for example in examples}):
        for kind in (*RainType, "all"):
            chosen = [each for each in examples if each.group == group and kind in (each.type, "all")]
            if chosen:
                light = [(model.night.probability(each.night) > 0.5) == each.type.is_night for each in chosen]
                form = [(model.drops.probability(each.form) > 0.5) == each.type.is_drop for each in chosen]
                both = [a and b for a, b in zip(light, form, strict=True)]
                print(f"| {group} | {kind} | {len(chosen)} | {sum(light)} | {sum(form)} | {sum(both)} |", flush=True)


if __name__ == "__main__":
    main()
