"""Built-in judge (ii): does the candidate lie where the references lie, in the space of visual features?

The few references of a case span little, so distances to them are compared with the distances among them. What a
photograph of rain looks like at all is shipped for the built-in encoder, as the directions in which its vectors vary
most and a model over them; for any other encoder the distances alone are judged.
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from derain.backends.interfaces import Identity, VisualEncoder
from derain.backends.view import View
from derain.distill.describe.builtin_visual import BuiltinVisualEncoder
from derain.distill.judges.builtin import BuiltinJudge, abstention, verdict_of
from derain.distill.judges.coefficients import coefficients_digest, read_basis, read_model
from derain.distill.judges.interface import Case, Verdict
from derain.distill.measure.derained import is_too_small, working_copy
from derain.distill.measure.logistic import Matrix

DISTANCES = ("to_nearest", "to_mean", "among", "beyond", "ratio")
"""Names of the features that any encoder gives."""

PARTNER = ("partner_cosine", "partner_away")
"""Names of those that a partner adds."""

_REVISION = 1  # raised when features change
_KEPT_REFERENCES = 20_000


class TypicalityJudge(BuiltinJudge):
    """Feature-space typicality against the references."""

    NAME = "builtin:typicality"

    def __init__(self, encoder: VisualEncoder | None = None) -> None:
        """By default the built-in encoder, the only one that the shipped model knows more of than distances."""
        self._encoder = encoder = encoder or BuiltinVisualEncoder()
        self._references: OrderedDict[str, Matrix] = OrderedDict()  # by digest, those used last at the end
        self._own: dict[str, Matrix] = {}  # of candidates and partners asked about last
        self._basis = read_basis(encoder.identity.digest)

    @property
    def identity(self) -> Identity:
        return Identity(
            model=self.NAME,
            revision=f"{_REVISION}-{coefficients_digest('typicality_basis', *self._model_names())}",
            parameters={"encoder": self._encoder.identity.digest},
        )

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """A verdict for each case; abstains where the picture is too small or there is nothing to compare with."""
        self._encode(cases)
        return super().judge(cases)

    def judge_one(self, case: Case) -> Verdict:
        """Of a case, whose vectors need not be at hand."""
        if is_too_small(working_copy(case.candidate.image)):
            return abstention(self.NAME, "picture_too_small")
        if self._basis is None and len(case.references) < 2:
            return abstention(self.NAME, "too_few_references")
        model = read_model(self._model_names()[case.clean is not None])
        return verdict_of(self.NAME, model, self.features(case), "typical_of_references")

    def _model_names(self) -> tuple[str, str]:
        return model_names(self._basis is not None)

    def features(self, case: Case) -> Matrix:
        """What the model is given, (F,): distances, and places along the shipped directions where there are any."""
        if any(view.digest not in self._own for view in _own_views(case)) or any(
            view.digest not in self._references for view in case.references
        ):
            self._encode([case])
        own = self._own[case.candidate.digest]
        references = np.array([self._references[view.digest] for view in case.references])
        clean = None if case.clean is None else self._own[case.clean.digest]
        parts = [distances(own, references)]
        if clean is not None:
            parts.append(partner_distances(own, clean, references))
        if self._basis is not None:
            parts.append(self._basis.places(own))
            if clean is not None:
                parts.append(self._basis.places(own) - self._basis.places(clean))
        return np.concatenate(parts)

    def feature_names(self, is_pair: bool) -> tuple[str, ...]:
        """Names of the features of a candidate with or without a partner."""
        count = 0 if self._basis is None else len(self._basis.directions)
        names = DISTANCES + (PARTNER if is_pair else ()) + tuple(f"place_{n}" for n in range(count))
        return names + (tuple(f"from_partner_{n}" for n in range(count)) if is_pair else ())

    def _encode(self, cases: Sequence[Case]) -> None:
        """Have the vectors of these cases at hand. Those of references serve many candidates: the last used are kept;
        candidates do not come again."""
        references = {view.digest: view for case in cases for view in case.references}
        own = {view.digest: view for case in cases for view in _own_views(case)}
        vectors = {**self._own, **self._references}
        missing = [view for digest, view in {**own, **references}.items() if digest not in vectors]
        if missing:
            encoded = self._encoder.encode_views(missing)
            vectors |= {
                view.digest: np.asarray(vector, np.float64) for view, vector in zip(missing, encoded, strict=True)
            }
        self._own = {digest: vectors[digest] for digest in own}
        for digest in references:
            self._references[digest] = vectors[digest]
            self._references.move_to_end(digest)
        while len(self._references) > max(_KEPT_REFERENCES, len(references)):
            self._references.popitem(last=False)


def model_names(has_basis: bool) -> tuple[str, str]:
    """Names of the coefficients without and with partner."""
    return ("typicality_alone", "typicality_paired") if has_basis else ("distances_alone", "distances_paired")


def distances(own: Matrix, references: Matrix) -> Matrix:
    """Where a vector (D,) lies among references (K, D), all of length 1, as angles in radians, in `DISTANCES`' order.

    Angle to the nearest and mean angle to all of them, mean angle among them, by how much the second exceeds the
    third, and the logarithm of their ratio; NaN where there are too few references.
    """
    if not len(references):
        return np.full(len(DISTANCES), np.nan)
    to_each = angles(references @ own)
    nearest, mean = to_each.min(), to_each.mean()
    if len(references) < 2:
        return np.array([nearest, mean, np.nan, np.nan, np.nan])
    among = angles((references @ references.T)[np.triu_indices(len(references), 1)]).mean()
    return np.array([nearest, mean, among, mean - among, np.log((mean + 1e-3) / (among + 1e-3))])


def partner_distances(own: Matrix, clean: Matrix, references: Matrix) -> Matrix:
    """Angle between candidate and partner, and how much further from the references the partner lies (NaN without)."""
    between = float(angles(np.array([own @ clean]))[0])
    if not len(references):
        return np.array([between, np.nan])
    return np.array([between, angles(references @ clean).mean() - angles(references @ own).mean()])


def angles(cosines: Matrix) -> Matrix:
    """Angles in radians, of cosines that rounding may have pushed beyond 1."""
    return np.asarray(np.arccos(np.clip(cosines, -1.0, 1.0)))


def _own_views(case: Case) -> list[View]:
    """Candidate and partner."""
    return [case.candidate] + ([] if case.clean is None else [case.clean])
