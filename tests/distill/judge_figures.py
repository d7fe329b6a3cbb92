"""What the built-in judges measure on fixed pictures, without networks: stand-ins give derained pictures and vectors.

Pictures are made with whole numbers alone, so that they are the same on every machine. Run as a program it writes the
figures, and the revisions that they are of, into `judge_figures.json` beside it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import skimage.data

from derain.backends.interfaces import Identity, Vectors
from derain.backends.view import Pixels8, View
from derain.distill.judges import typicality
from derain.distill.judges.coefficients import FeatureBasis
from derain.distill.judges.interface import Case
from derain.distill.judges.pairing import PairingJudge
from derain.distill.judges.rain_layer import RainLayerJudge
from derain.distill.measure.derained import Derained, Derainer, fitted, working_copy
from derain.imaging.io import to_tensor

FILE = Path(__file__).with_suffix(".json")

Figures = dict[str, float]
"""By name; NaN where there is nothing to measure."""


@dataclass(frozen=True)
class Measured:
    """What a judge measured."""

    revision: int
    """The judge's own, at the beginning of the revision in its identity."""
    figures: list[Figures]
    """Of each case."""


def overexposed(pixels: Pixels8) -> Pixels8:
    """Much lighter; what would be above white is white."""
    return np.minimum(pixels.astype(np.int64) * 3 // 2, 255).astype(np.uint8)


SCENES: dict[str, Pixels8] = {
    "rocket": skimage.data.rocket()[120:330, :464],  # longer than what is worked on
    "chelsea": skimage.data.chelsea()[40:232, 60:316],
    "coffee": skimage.data.coffee()[100:292, 130:386],
    "astronaut": skimage.data.astronaut()[:192, 100:356],
    "glare": overexposed(skimage.data.chelsea()[60:252, 190:446]),
}
CANDIDATES = ("rocket", "chelsea", "glare")
REFERENCES = ("coffee", "astronaut")


class StandIn(Derainer):
    """Derained pictures that are given, by digest."""

    def __init__(self, without_rain: Mapping[str, Pixels8]) -> None:
        super().__init__()
        self._without_rain = without_rain

    def _derain(self, view: View) -> Derained:
        picture = working_copy(view.image)
        return Derained(picture, fitted(to_tensor(self._without_rain[view.digest]), picture))


class QuarterColours:
    """Mean colours of the four quarters: a visual encoder without weights."""

    dimensions = 12
    identity = Identity("quarter-colours", "1")

    def encode_views(self, views: Sequence[View]) -> Vectors:
        """(N, 12)."""
        rows = []
        for view in views:
            halves = np.array_split(view.pixels.astype(np.float64), 2)
            quarters = [quarter for half in halves for quarter in np.array_split(half, 2, axis=1)]
            row = np.concatenate([quarter.mean(axis=(0, 1)) for quarter in quarters])
            rows.append(row / np.linalg.norm(row))
        return np.array(rows, np.float32)


DIRECTIONS = FeatureBasis("quarter-colours", np.full(12, 0.25), np.eye(12)[[0, 4, 11]])
"""In place of those that are fitted to the shipped network."""


def rainy_of(clean: Pixels8, seed: int) -> Pixels8:
    """Slanted streaks of light that hide what is behind them, of many strengths, and some broad soft spots."""
    random = np.random.default_rng(seed)
    height, width, _ = clean.shape
    cover = np.zeros((height, width), np.int64)  # in 1/256
    for _ in range(height * width // 260):
        top, left = int(random.integers(0, height - 24)), int(random.integers(8, width - 4))
        length, strength = int(random.integers(6, 24)), int(random.integers(20, 110))
        steps = np.arange(length)
        for beside, part in ((0, 2), (1, 1)):
            cover[top + steps, left - steps // 5 + beside] += strength * part // 2
    for _ in range(4):
        y, x = int(random.integers(0, height)), int(random.integers(0, width))
        rows, columns = np.ogrid[:height, :width]
        cover += np.maximum(0, 60 - (rows - y) ** 2 // 6 - (columns - x) ** 2 // 6)
    cover = np.minimum(cover, 200)[..., None]
    light = np.array([205, 210, 218])
    return ((clean * (256 - cover) + light * cover) // 256).astype(np.uint8)


def smoothed(pixels: Pixels8) -> Pixels8:
    """Means of three times three pixels, as a network might lose detail."""
    padded = np.pad(pixels.astype(np.int64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width, _ = pixels.shape
    total = sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
    return (np.asarray(total) // 9).astype(np.uint8)


def partner_of(clean: Pixels8) -> Pixels8:
    """The clean picture a little brighter, moved by a pixel, with more red than it had."""
    moved = np.concatenate([clean[:, 1:], clean[:, -1:]], axis=1).astype(np.int64)
    return np.minimum(moved * 33 // 32 + np.array([3, 1, 0]), 255).astype(np.uint8)


def cases_and_stand_in() -> tuple[list[Case], StandIn]:
    """A case of each candidate with partner and references."""
    views, without_rain = {}, {}
    for seed, (name, clean) in enumerate(SCENES.items()):
        views[name] = View(f"{seed:064x}", np.ascontiguousarray(rainy_of(clean, seed)))
        without_rain[views[name].digest] = smoothed(clean)
    references = tuple(views[name] for name in REFERENCES)
    cases = [
        Case(views[name], View(f"{16 + seed:064x}", partner_of(SCENES[name])), "drs", references)
        for seed, name in enumerate(CANDIDATES)
    ]
    return cases, StandIn(without_rain)


def measured() -> dict[str, Measured]:
    """By judge, what each measures."""
    cases, stand_in = cases_and_stand_in()
    # The shipped directions are fitted to the shipped network, and their digest is in the judge's identity.
    with patch.object(typicality, "read_basis", lambda encoder: DIRECTIONS):  # noqa: ARG005
        judges = (RainLayerJudge(stand_in), PairingJudge(stand_in), typicality.TypicalityJudge(QuarterColours()))
    found = {}
    for judge in judges:
        revision = int(judge.identity.revision.partition("-")[0])
        names = judge.feature_names(is_pair=True)
        figures = [dict(zip(names, _numbers(judge.features(case)), strict=True)) for case in cases]
        found[judge.name] = Measured(revision, figures)
    return found


def pinned() -> dict[str, Measured]:
    """What was measured when the judges had the revisions that stand there."""
    whole = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: Measured(each["revision"], each["figures"]) for name, each in whole.items()}


def _numbers(values: npt.NDArray[np.float64] | None) -> list[float]:
    assert values is not None
    return [round(value, 6) for value in values.tolist()]


if __name__ == "__main__":
    now = {name: {"revision": each.revision, "figures": each.figures} for name, each in measured().items()}
    FILE.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
