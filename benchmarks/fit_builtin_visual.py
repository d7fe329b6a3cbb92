"""Constants of the built-in visual encoder, from photographs; and whether its neighbours are of a kind.

    python benchmarks/fit_builtin_visual.py photographs/index.csv [--write] [--simulate 30]

The index has the columns path, role (clean, rainy, target, real), type, light and split. Means and deviations of every
measurement are taken over its split `train`; --write puts them into the package. Then every picture of the split `val`
asks for its five nearest of `train`, and the share that is of its own kind is printed beside what chance would give:
light among all pictures, rain type among rainy ones, and rainy or dry among pairs. With --simulate N, N clean day
photographs of `val` and twice as many of `train` are asked as well, dry, in simulated streaks and behind simulated
drops: unlike collected pairs, these differ in nothing but the rain.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from derain.backends.interfaces import Vectors
from derain.backends.view import file_digest, read_view
from derain.distill.describe.builtin_visual import (
    VERSION,
    Numbers,
    balanced,
    constants_path,
    measurements,
    shipped_network,
)
from derain.imaging.io import to_pixels
from derain.models.find import shipped_weights
from derain.rain.simulate import simulate
from derain.types import RainType

NEIGHBOURS = 5


@dataclass(frozen=True)
class Row:
    """A row of the index."""

    path: Path
    role: str
    type: str
    light: str
    split: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="CSV of photographs: path, role, type, light, split")
    parser.add_argument("--write", action="store_true", help="put the constants into the package")
    parser.add_argument("--simulate", type=int, default=0, metavar="N", help="photographs of val to simulate rain on")
    arguments = parser.parse_args()
    rows = read_rows(arguments.index)
    numbers = measure(rows)
    train = np.array([row.split == "train" for row in rows])
    means, deviations = fit(numbers[train])
    if arguments.write:
        write(means, deviations, int(train.sum()))
        print(f"wrote {constants_path()}")
    vectors = np.stack([balanced(row_numbers, means, deviations) for row_numbers in numbers])
    print("| what is asked | kind | pictures | neighbours of its kind | by chance |")
    print("|---|---|---:|---:|---:|")
    compare("light", rows, vectors, lambda _: True, lambda row: row.light)
    compare("rain type", rows, vectors, lambda row: row.role in ("rainy", "real"), lambda row: row.type)
    compare("rain type of real photographs", rows, vectors, lambda row: row.role == "real", lambda row: row.type)
    compare("rainy or dry", rows, vectors, lambda row: row.role in ("rainy", "target"), lambda row: row.role)
    if arguments.simulate:
        rows, numbers = simulated(rows, arguments.simulate)
        vectors = np.stack([balanced(row_numbers, means, deviations) for row_numbers in numbers])
        for pair in (("dry", "drs"), ("dry", "drd"), ("drs", "drd")):
            title = f"simulated {pair[0]} or {pair[1]}"
            places = [place for place, row in enumerate(rows) if row.type in pair]
            compare(title, [rows[place] for place in places], vectors[places], lambda _: True, lambda row: row.type)


def read_rows(index: Path) -> list[Row]:
    """The rows of an index, in its order."""
    with index.open(newline="", encoding="utf-8") as file:
        return [
            Row(index.parent / row["path"], row["role"], row["type"], row["light"], row["split"])
            for row in csv.DictReader(file)
        ]


def measure(rows: list[Row]) -> Numbers:
    """The measurements of every picture, (N, 512), and how long one takes."""
    network, numbers, seconds = shipped_network(), [], []
    for row in rows:
        view = read_view(row.path)
        begin = time.thread_time()
        numbers.append(measurements(network, view.pixels))
        seconds.append(time.thread_time() - begin)
    print(f"{len(rows)} pictures; processor time of one: median {np.median(seconds) * 1000:.0f} ms, most "
          f"{max(seconds) * 1000:.0f} ms\n")  # fmt: skip
    return np.stack(numbers)


def simulated(rows: list[Row], count: int) -> tuple[list[Row], Numbers]:
    """Clean day photographs, each dry, in streaks and behind drops, and the measurements of each."""
    network, made, numbers = shipped_network(), [], []
    for split, wanted in (("train", 2 * count), ("val", count)):
        clean = [row for row in rows if row.role == "clean" and row.light == "day" and row.split == split]
        for number in np.random.default_rng(0).permutation(len(clean))[:wanted]:
            scene = read_view(clean[number].path)
            for rain_type in (None, RainType.DRS, RainType.DRD):
                pixels = scene.pixels
                if rain_type is not None:
                    generator = torch.Generator().manual_seed(int(scene.digest[:8], 16))
                    pixels = np.asarray(to_pixels(simulate(scene.image, rain_type, generator).rainy), np.uint8)
                made.append(replace(clean[number], type=rain_type or "dry"))
                numbers.append(measurements(network, pixels))
    return made, np.stack(numbers)


def fit(numbers: Numbers) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation of each measurement; numbers that never change get a deviation of 1."""
    deviations = numbers.std(axis=0)
    return numbers.mean(axis=0), np.where(deviations > 1e-9, deviations, 1.0)


def write(means: Numbers, deviations: Numbers, pictures: int) -> None:
    """Put the constants into the package."""
    content = {
        "version": VERSION,
        "fitted_on_pictures": pictures,
        "fitted_for_weights": file_digest(shipped_weights()["tiny"]),
        "means": [float(f"{value:.6g}") for value in means],
        "deviations": [float(f"{value:.6g}") for value in deviations],
    }
    constants_path().write_text(json.dumps(content) + "\n", encoding="utf-8")


def compare(
    title: str, rows: list[Row], vectors: Vectors, takes_part: Callable[[Row], bool], kind_of: Callable[[Row], str]
) -> None:
    """Print, for each kind, the share of the nearest of `train` that a picture of `val` has the kind in common with."""
    base = np.array([place for place, row in enumerate(rows) if row.split == "train" and takes_part(row)])
    kinds = np.array([kind_of(row) for row in rows])
    queries = [place for place, row in enumerate(rows) if row.split == "val" and takes_part(row)]
    for kind in sorted({kinds[place] for place in queries}):
        asked = [place for place in queries if kinds[place] == kind]
        nearest = [base[np.argsort(-(vectors[base] @ vectors[place]), kind="stable")[:NEIGHBOURS]] for place in asked]
        share = float(np.mean([(kinds[places] == kind).mean() for places in nearest]))
        chance = float((kinds[base] == kind).mean())
        print(f"| {title} | {kind} | {len(asked)} | {share:.2f} | {chance:.2f} |")


if __name__ == "__main__":
    main()
