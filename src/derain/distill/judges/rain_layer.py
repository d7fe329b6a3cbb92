"""Built-in judge (i): does the layer of rain behave as rain does, and as it does in the references?

The layer of the candidate (picture minus its derained version) is measured by `measure/rain_layer.py`, and so are those
of the references; the model sees what the layer is like, and how far that lies from the references' mean (from what is
usual in real photographs, where there are no references). With a clean partner the layer can be had in another way,
picture minus partner; how the two agree is judged as well.
"""

import numpy as np

from derain.backends.interfaces import Identity
from derain.backends.view import View
from derain.distill.judges.builtin import BuiltinJudge, abstention, verdict_of
from derain.distill.judges.coefficients import coefficients_digest, read_model
from derain.distill.judges.interface import Case, Verdict
from derain.distill.measure.derained import (
    WORKING_SIDE,
    Derainer,
    LruCache,
    fitted,
    is_too_small,
    shared_derainer,
    weights_digest,
    working_copy,
)
from derain.distill.measure.logistic import Matrix
from derain.distill.measure.pair import LayerAgreement, layer_agreement
from derain.distill.measure.rain_layer import RainLayerStatistics, rain_layer_statistics

_REVISION = 1  # raised when measures change
_KEPT_REFERENCES = 20_000


class RainLayerJudge(BuiltinJudge):
    """Statistics of the rain layer against those of the references."""

    NAME = "builtin:rain-layer"

    def __init__(self, derainer: Derainer | None = None) -> None:
        """`derainer` is by default the one that judges of a process share."""
        self._derainer = derainer or shared_derainer()
        self._references = LruCache[str, RainLayerStatistics | None](_KEPT_REFERENCES)

    @property
    def identity(self) -> Identity:
        coefficients = coefficients_digest("rain_layer_alone", "rain_layer_paired")
        return Identity(
            model=self.NAME,
            revision=f"{_REVISION}-{weights_digest()}-{coefficients}",
            parameters={"side": WORKING_SIDE},
        )

    def judge_one(self, case: Case) -> Verdict:
        """The verdict; an abstention where the picture is too small or shows no rain that can be measured."""
        if is_too_small(working_copy(case.candidate.image)):
            return abstention(self.NAME, "picture_too_small")
        values = self.features(case)
        if values is None:
            return abstention(self.NAME, "no_rain_found")
        model = read_model("rain_layer_alone" if case.clean is None else "rain_layer_paired")
        return verdict_of(self.NAME, model, values, "looks_real")

    def features(self, case: Case) -> Matrix | None:
        """What the model is given, (F,); None where there is no rain to measure.

        The candidate's statistics, their distance from the references' mean (NaN without references) and, with a
        partner, the agreement of the two layers and the statistics of the one that the partner gives.
        """
        own = self.measured(case.candidate)
        if own is None:
            return None
        found = [statistics for view in case.references if (statistics := self.measured_reference(view)) is not None]
        vector = own.vector()
        mean = np.mean([statistics.vector() for statistics in found], axis=0) if found else np.full_like(vector, np.nan)
        parts = [vector, np.abs(vector - mean)]
        if case.clean is not None:
            parts.append(self.by_pair(case.candidate, case.clean))
        return np.concatenate(parts)

    @staticmethod
    def feature_names(is_pair: bool) -> tuple[str, ...]:
        """Names of the features of a candidate with or without a partner."""
        own = RainLayerStatistics.names()
        apart = tuple(f"{name}_from_references" for name in own)
        by_pair = LayerAgreement.names() + tuple(f"{name}_by_pair" for name in own)
        return own + apart + (by_pair if is_pair else ())

    def measured(self, view: View) -> RainLayerStatistics | None:
        """Statistics of the layer that the network finds, None where there is no rain."""
        pictures = self._derainer(view)
        return rain_layer_statistics(pictures.picture, pictures.without_rain)

    def measured_reference(self, view: View) -> RainLayerStatistics | None:
        """The same of a reference, which will come again with other candidates."""
        return self._references.get(view.digest, lambda: self.measured(view))

    def by_pair(self, candidate: View, clean: View) -> Matrix:
        """Of the layer that the partner gives: how it agrees with the network's, and its own statistics."""
        pictures = self._derainer(candidate)
        partner = fitted(clean.image, pictures.picture)
        statistics = rain_layer_statistics(pictures.picture, partner)
        nothing = np.full(len(RainLayerStatistics.names()), np.nan)
        agreement = layer_agreement(pictures.picture, pictures.without_rain, partner).vector()
        return np.concatenate([agreement, nothing if statistics is None else statistics.vector()])
