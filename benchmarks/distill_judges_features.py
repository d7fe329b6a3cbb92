"""What the built-in judges measure of the labelled cases, computed once and kept on disk."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from derain.backends.interfaces import Identity, Vectors
from derain.backends.view import View
from derain.distill.describe.builtin_visual import (
    BuiltinVisualEncoder,
    balanced,
    constants_path,
    measurements,
    read_constants,
    shipped_network,
)
from derain.distill.judges.interface import Case
from derain.distill.judges.pairing import PairingJudge
from derain.distill.judges.rain_layer import RainLayerJudge
from derain.distill.measure.derained import Derained, Derainer, working_copy
from derain.distill.measure.logistic import Matrix
from derain.distill.measure.rain_layer import RainLayerStatistics
from distill_cases import Labelled, labelled_cases

REFERENCES = 3


@dataclass(frozen=True)
class Measured:
    """A case with what two judges measure of it and with the vectors that the third compares."""

    case: Labelled
    vector: Matrix
    """(D,) of the rainy picture."""
    clean_vector: Matrix | None
    reference_vectors: Matrix
    """(K, D)."""
    rain_layer: dict[str, Matrix | None]
    """By the variant `alone` (partner left out) and `paired`; None where the judge abstains."""
    pairing: dict[str, Matrix | None]

    @property
    def variants(self) -> tuple[str, ...]:
        return ("alone",) if self.clean_vector is None else ("alone", "paired")


class KeptDerainer(Derainer):
    """Derains once in a lifetime."""

    def __init__(self, folder: Path) -> None:
        super().__init__(kept=1)
        self._folder = folder
        self._last: tuple[str, Derained] | None = None

    def __call__(self, view: View) -> Derained:
        if self._last is None or self._last[0] != view.digest:
            file = self._folder / f"{view.digest}.npy"
            without_rain = kept(file, lambda: super(KeptDerainer, self).__call__(view).without_rain.numpy())
            self._last = view.digest, Derained(working_copy(view.image), torch.from_numpy(without_rain))
        return self._last[1]


class KeptEncoder:
    """The built-in visual encoder, which measures a picture once in a lifetime."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._network = shipped_network()
        self._constants = read_constants(constants_path())

    @property
    def identity(self) -> Identity:
        return BuiltinVisualEncoder().identity

    @property
    def dimensions(self) -> int:
        return BuiltinVisualEncoder().dimensions

    def encode_views(self, views: list[View]) -> Vectors:
        return np.stack([self._encode(view) for view in views])

    def _encode(self, view: View) -> Vectors:
        numbers = kept(self._folder / f"{view.digest}.npy", lambda: measurements(self._network, view.pixels))
        return balanced(numbers, *self._constants)


class KeptRainLayer(RainLayerJudge):
    """The judge of rain layers, which measures a layer once in a lifetime."""

    def __init__(self, derainer: Derainer, folder: Path) -> None:
        super().__init__(derainer)
        self._folder = folder

    def measured(self, view: View) -> RainLayerStatistics | None:
        def measure() -> Matrix:
            found = super(KeptRainLayer, self).measured(view)
            return np.array([]) if found is None else found.vector()

        vector = kept(self._folder / f"{view.digest}.npy", measure)
        return RainLayerStatistics(*vector.tolist()) if len(vector) else None

    def by_pair(self, candidate: View, clean: View) -> Matrix:
        file = self._folder / f"{candidate.digest[:32]}-{clean.digest[:32]}.npy"
        return kept(file, lambda: super(KeptRainLayer, self).by_pair(candidate, clean))


class KeptPairing(PairingJudge):
    """The judge of pairs, which measures a pair once in a lifetime."""

    def __init__(self, derainer: Derainer, folder: Path) -> None:
        super().__init__(derainer)
        self._folder = folder

    def features(self, case: Case) -> Matrix | None:
        def measure() -> Matrix:
            found = super(KeptPairing, self).features(case)
            return np.array([]) if found is None else found

        partner = "" if case.clean is None else case.clean.digest[:32]
        vector = kept(self._folder / f"{case.candidate.digest[:32]}-{partner}.npy", measure)
        return vector if len(vector) else None


def kept(file: Path, measure: Callable[[], Matrix]) -> Matrix:
    """What is in a file, measured and put there if it is not yet."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.{os.getpid()}.npy")
        np.save(part, measure())
        part.replace(file)
    found: Matrix = np.load(file)
    return found


class FeatureMaker:
    """Measures labelled cases, with references from the real photographs of the split train."""

    def __init__(self, index: Path, cache: Path, reals: int) -> None:
        self.index = index
        self.encoder = KeptEncoder(cache / "encoded")
        self.derainer = KeptDerainer(cache / "derained")
        self.rain_layer = KeptRainLayer(self.derainer, cache / "layers")
        self.pairing = KeptPairing(self.derainer, cache / "pairs")
        pool = [case for case in labelled_cases(index, "train", 0, reals) if case.kind == "real"]
        self._pool = [case.rainy for case in pool]
        self._pool_names = np.array([case.name for case in pool])
        self._pool_vectors = self.encoder.encode_views(self._pool).astype(np.float64)

    def cases(self, split: str, scenes: int, reals: int) -> list[Measured]:
        """All cases of a split, measured."""
        return [self.measure(case) for case in labelled_cases(self.index, split, scenes, reals)]

    def references(self, case: Labelled) -> list[int]:
        """The places in the pool of the nearest photographs, nearest first; not the picture itself."""
        cosines = self._pool_vectors @ self.encoder.encode_views([case.rainy])[0].astype(np.float64)
        cosines[self._pool_names == case.name] = -2
        return [int(place) for place in np.argsort(-cosines, kind="stable")[:REFERENCES]]

    def measure(self, case: Labelled) -> Measured:
        """Features of one case."""
        places = self.references(case)
        views = tuple(self._pool[place] for place in places)
        vectors = self.encoder.encode_views([case.rainy] + ([] if case.clean is None else [case.clean]))
        alone = Case(case.rainy, None, case.type, views)
        paired = None if case.clean is None else Case(case.rainy, case.clean, case.type, views)
        return Measured(
            case=case,
            vector=vectors[0].astype(np.float64),
            clean_vector=None if case.clean is None else vectors[1].astype(np.float64),
            reference_vectors=self._pool_vectors[places],
            rain_layer={
                "alone": self.rain_layer.features(alone),
                "paired": None if paired is None else self.rain_layer.features(paired),
            },
            pairing={
                "alone": self.pairing.features(alone),
                "paired": None if paired is None else self.pairing.features(paired),
            },
        )
