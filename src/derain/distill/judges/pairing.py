"""Built-in judge (iii): is the background sound, and do the rainy picture and its clean partner belong together?

Backgrounds are measured on the pixels of the files (`measure/quality.py`), the pair at working size
(`measure/pair.py`). Of a picture without partner the background alone is judged.
"""

import numpy as np

from derain.backends.interfaces import Identity
from derain.distill.judges.builtin import BuiltinJudge, abstention, verdict_of
from derain.distill.judges.coefficients import coefficients_digest, read_model
from derain.distill.judges.interface import Case, Verdict
from derain.distill.measure.derained import (
    WORKING_SIDE,
    Derainer,
    fitted,
    is_too_small,
    shared_derainer,
    weights_digest,
    working_copy,
)
from derain.distill.measure.logistic import Matrix
from derain.distill.measure.pair import LayerAgreement, PairStatistics, layer_agreement, pair_statistics
from derain.distill.measure.quality import BackgroundStatistics, background_statistics

_REVISION = 1  # raised when measures change


class PairingJudge(BuiltinJudge):
    """Quality of the background and of the pair."""

    NAME = "builtin:pairing"

    def __init__(self, derainer: Derainer | None = None) -> None:
        """`derainer` is by default the one that judges of a process share."""
        self._derainer = derainer or shared_derainer()

    @property
    def identity(self) -> Identity:
        coefficients = coefficients_digest("pairing_alone", "pairing_paired")
        return Identity(
            model=self.NAME,
            revision=f"{_REVISION}-{weights_digest()}-{coefficients}",
            parameters={"side": WORKING_SIDE},
        )

    def judge_one(self, case: Case) -> Verdict:
        """The verdict; an abstention where a picture is too small."""
        values = self.features(case)
        if values is None:
            return abstention(self.NAME, "picture_too_small")
        if case.clean is None:
            return verdict_of(self.NAME, read_model("pairing_alone"), values, "background_is_sound")
        return verdict_of(self.NAME, read_model("pairing_paired"), values, "pair_is_sound")

    def features(self, case: Case) -> Matrix | None:
        """What the model is given, (F,); None where a picture is too small.

        The candidate's background and, with a partner, the partner's, the pair and its two rain layers.
        """
        views = [case.candidate] if case.clean is None else [case.candidate, case.clean]
        found = [background_statistics(view) for view in views]
        own = found[0]
        if own is None or found[-1] is None or is_too_small(working_copy(case.candidate.image)):
            return None
        parts = [own.vector()]
        if case.clean is not None:
            pictures = self._derainer(case.candidate)
            partner = fitted(case.clean.image, pictures.picture)
            parts += [
                found[-1].vector(),
                pair_statistics(pictures.picture, pictures.without_rain, partner).vector(),
                layer_agreement(pictures.picture, pictures.without_rain, partner).vector(),
            ]
        return np.concatenate(parts)

    @staticmethod
    def feature_names(is_pair: bool) -> tuple[str, ...]:
        """Names of the features of a candidate with or without a partner."""
        own = BackgroundStatistics.names()
        if not is_pair:
            return own
        partner = tuple(f"{name}_of_target" for name in own)
        layers = tuple(f"layers_{name}" for name in LayerAgreement.names())
        return own + partner + PairStatistics.names() + layers
