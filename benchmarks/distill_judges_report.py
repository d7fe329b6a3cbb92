"""Tables of how well the built-in judges, and their vote, tell good pairs from negative ones."""

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from derain.distill.calibrating import area_under_curve
from derain.distill.judges.builtin import verdict_of
from derain.distill.judges.coefficients import FeatureBasis
from derain.distill.judges.interface import Decision, Outcome, Verdict
from derain.distill.judges.vote import join, quorum
from derain.distill.measure.logistic import LogisticModel
from derain.types import RainType
from distill_judges_features import FeatureMaker, Measured
from distill_judges_fit import PAIR_FAULTS, RAIN_FAULTS, TASKS, basis_of, fit_all

JUDGES = ("rain_layer", "typicality", "pairing")
ORIGINS = {"photo": "simulated pairs", "real": "real photographs"}
"""What good cases are, and negative ones are made of: `Labelled.origin`, and its name in tables."""
_FURTHEST = 5.0  # log odds: no judge outweighs the two others by being surer

Models = tuple[FeatureBasis, Mapping[str, LogisticModel]]


def precision_at_recall(good: Sequence[float], negative: Sequence[float], recall: float) -> float:
    """Part that is good of what is kept, at the highest threshold that keeps at least `recall` of the good cases."""
    above, below = np.array(good), np.array(negative)
    threshold = np.sort(above)[::-1][math.ceil(recall * len(above) - 1e-9) - 1]
    kept_good, kept_negative = int((above >= threshold).sum()), int((below >= threshold).sum())
    return kept_good / (kept_good + kept_negative)


@dataclass(frozen=True)
class Judged:
    """A case with the judges' verdicts."""

    measured: Measured
    verdicts: tuple[Verdict, ...]

    @property
    def kind(self) -> str:
        return self.measured.case.kind

    @property
    def is_good(self) -> bool:
        return self.measured.case.is_good

    @property
    def is_kept(self) -> bool:
        return join(self.verdicts, len(JUDGES)).outcome is Outcome.KEPT

    def score(self, judge: str) -> float | None:
        """A judge's score, None where it abstains; the vote's (`vote`) ranks by keeps, then by the mean margin.

        So what the vote keeps has a higher score than all that it drops (but for what is undecided).
        """
        if judge != "vote":
            return next((verdict.score for verdict in self.verdicts if verdict.judge == judge), None)
        scores = [verdict.score for verdict in self.verdicts if verdict.score is not None]
        if len(scores) < quorum(len(JUDGES)):
            return -math.inf
        keeps = sum(score > 0 for score in scores)
        mean = float(np.mean(np.clip(scores, -_FURTHEST, _FURTHEST)))
        return keeps - quorum(len(scores)) + 0.5 + 0.5 * mean / (_FURTHEST + 1)


def judged(cases: Sequence[Measured], models: Models) -> list[Judged]:
    """Every judge's verdict on every case: on pairs as pairs, on photographs without partner alone."""
    basis, by_name = models
    found = []
    for measured in cases:
        verdicts = []
        for judge in JUDGES:
            task = next(task for task in TASKS if task.name == f"{judge}_{measured.variants[-1]}")
            values = task.values(measured, basis)
            if values is None:
                verdicts.append(Verdict(judge, Decision.ABSTAIN, None, "cannot_measure"))
            else:
                verdicts.append(verdict_of(judge, by_name[task.name], values, "good"))
        found.append(Judged(measured, tuple(verdicts)))
    return found


def report(cases: Sequence[Measured], models: Models, with_reasons: bool) -> None:
    """Print all tables."""
    everything = judged(cases, models)
    labelled = [case for case in everything if case.kind != "other_simulator"]
    good, negative = [c for c in labelled if c.is_good], [c for c in labelled if not c.is_good]
    counts = Counter(case.kind for case in labelled)
    print(
        f"{len(good)} good cases ({counts['simulated']} simulated pairs, {counts['real']} real photographs), "
        f"{len(negative)} negative ones.\n"
    )
    columns = "AUC | precision at recall 0.5 | precision of what is kept | the same at equal halves | recall"
    print(f"| | {columns} | negative kept | silent |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for judge in JUDGES:
        print(f"| {_title(judge)} | {' | '.join(_summary(judge, good, negative))} |")
    vote = " | ".join(f"**{cell}**" for cell in _summary("vote", good, negative))
    print(f"| **vote of the three** | {vote} |")
    for origin, title in ORIGINS.items():
        sides = [[case for case in side if case.measured.case.origin == origin] for side in (good, negative)]
        print(f"| vote, {title} only | {' | '.join(_summary('vote', *sides))} |")
    _by_type(labelled)
    _by_kind(labelled)
    if with_reasons:
        _reasons(negative)
    others = [case for case in everything if case.kind == "other_simulator"]
    if others:
        kept = sum(case.is_kept for case in others)
        print(
            f"\nThe vote keeps {kept} of {len(others)} pairs of other simulators, which are neither good nor negative."
        )


def _title(name: str) -> str:
    """A judge or a negative kind as documents name it."""
    return name.replace("_", "-" if name in JUDGES else " ")


def _summary(judge: str, good: Sequence[Judged], negative: Sequence[Judged]) -> list[str]:
    """Cells of a judge's row."""
    a, b = _scores(judge, good), _scores(judge, negative)
    kept_good, kept_negative = (sum(_is_kept(judge, case) for case in cases) for cases in (good, negative))
    silent = sum(case.score(judge) in (None, -math.inf) for case in (*good, *negative))
    precision, share = kept_good / max(kept_good + kept_negative, 1), kept_negative / len(negative)
    even = kept_good / len(good) / max(kept_good / len(good) + share, 1e-9)
    figures = (area_under_curve(a, b), precision_at_recall(a, b, 0.5), precision, even)
    return [
        *(f"{figure:.3f}" for figure in figures),
        f"{kept_good / len(good):.2f}",
        f"{100 * share:.1f} %",
        str(silent),
    ]


def _is_kept(judge: str, case: Judged) -> bool:
    return case.is_kept if judge == "vote" else (case.score(judge) or -1.0) > 0


def _scores(judge: str, cases: Sequence[Judged]) -> list[float]:
    """Scores, an abstention as the lowest of all: such a case is not kept."""
    found = [case.score(judge) for case in cases]
    return [-math.inf if score is None else score for score in found]


def _areas(good: Sequence[Judged], negative: Sequence[Judged]) -> list[float]:
    """AUC of each judge and of the vote."""
    return [area_under_curve(_scores(judge, good), _scores(judge, negative)) for judge in (*JUDGES, "vote")]


def _by_type(labelled: Sequence[Judged]) -> None:
    print("\n| type | good | negative | AUC of the vote | precision at recall 0.5 | good kept | negative kept |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in RainType:
        good = [case for case in labelled if case.measured.case.type == name and case.is_good]
        negative = [case for case in labelled if case.measured.case.type == name and not case.is_good]
        if good and negative:
            a, b = _scores("vote", good), _scores("vote", negative)
            print(
                f"| {name} | {len(good)} | {len(negative)} | {area_under_curve(a, b):.3f} | "
                f"{precision_at_recall(a, b, 0.5):.3f} | {_kept_share(good)} | {_kept_share(negative)} |"
            )


def _by_kind(labelled: Sequence[Judged]) -> None:
    """AUC of every negative kind against the good cases of the same origin, and what is kept."""
    print("\n| kind | made of | cases | rain-layer | typicality | pairing | vote | kept by the vote |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for origin, title in ORIGINS.items():
        here = [case for case in labelled if case.measured.case.origin == origin]
        good = [case for case in here if case.is_good]
        print(f"| good | {title} | {len(good)} | | | | | {_kept_share(good)} |")
        for kind in (*RAIN_FAULTS, *PAIR_FAULTS):
            negative = [case for case in here if case.kind == kind]
            if negative:
                areas = " | ".join(f"{area:.3f}" for area in _areas(good, negative))
                print(f"| {_title(kind)} | {title} | {len(negative)} | {areas} | {_kept_share(negative)} |")


def _reasons(negative: Sequence[Judged]) -> None:
    """Which reason the judges that drop a kind give most."""
    print("\n| kind | reasons of those that drop it |")
    print("|---|---|")
    for kind in (*RAIN_FAULTS, *PAIR_FAULTS):
        reasons = Counter(
            verdict.reason
            for case in negative
            if case.kind == kind
            for verdict in case.verdicts
            if verdict.decision is Decision.DROP
        )
        print(f"| {_title(kind)} | {', '.join(f'{name} {count}' for name, count in reasons.most_common(4))} |")


def _kept_share(cases: Sequence[Judged]) -> str:
    return f"{100 * np.mean([case.is_kept for case in cases]):.0f} %" if cases else ""


def report_held_out(maker: FeatureMaker, train: Sequence[Measured], val: Sequence[Measured]) -> None:
    """AUC of each kind against good when the judges were fitted without it, the kind that is told best first."""
    basis = basis_of(maker, train)
    found: list[tuple[float, str]] = []
    for kind in (*RAIN_FAULTS, *PAIR_FAULTS):
        print(f"without {_title(kind)}", file=sys.stderr, flush=True)
        models = fit_all(train, basis, without=kind)
        cases = judged([case for case in val if case.case.is_good or case.case.kind == kind], (basis, models))
        origins = {case.measured.case.origin for case in cases if case.kind == kind}
        good = [case for case in cases if case.is_good and case.measured.case.origin in origins]
        negative = [case for case in cases if case.kind == kind]
        areas = _areas(good, negative)
        cells = " | ".join(f"{area:.3f}" for area in areas)
        found.append((areas[-1], f"| {_title(kind)} | {cells} | {_kept_share(negative)} |"))
    print("| left out of the fit | rain-layer | typicality | pairing | vote | kept by the vote |")
    print("|---|---:|---:|---:|---:|---:|")
    for _, row in sorted(found, reverse=True):
        print(row)
