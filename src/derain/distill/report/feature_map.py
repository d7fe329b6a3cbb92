"""The feature map of a report: a bounded, even sample of candidates and references (UniRain, Figure 6b)."""

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from derain.distill.judges.interface import Outcome
from derain.distill.knowledge.references import ReferenceVectors, hexadecimal
from derain.distill.report.charts import colour_classes, scatter
from derain.distill.results import iterate_batches

Floats = npt.NDArray[np.floating]

NEIGHBOURS_NEED = 30
"""Points that t-SNE needs; with fewer, principal components show as much."""
_DIMENSIONS_BEFORE_TSNE = 30

REAL = "real photographs"
"""How references are named on the map, beside the sources of candidates."""


@dataclass(frozen=True)
class Dot:
    """A picture on the map."""

    key: str
    """Decides whether it is drawn, and the order of the dots."""
    vector: npt.NDArray[np.float32]
    source: str
    type: str
    outcome: str
    """kept, dropped, or real."""


@dataclass(frozen=True)
class FeatureMap:
    """A drawing with its legends."""

    svg: str
    """Dots have a class `s-cN` for the source, `t-cN` for the type, `o-NAME` for the outcome."""
    method: str
    shown: int
    sources: tuple[tuple[str, str, int], ...]
    """(class, name, dots) of the legend."""
    types: tuple[tuple[str, str, int], ...]
    outcomes: tuple[tuple[str, str, int], ...]


def draw_feature_map(out: Path, references: ReferenceVectors | None, most: int) -> FeatureMap | None:
    """The map of a run's kept and dropped candidates and of references; None with fewer than three pictures.

    Each of the three gets a third of `most` dots; what one does not need goes to the others.
    """
    groups = [
        _smallest(_candidates(out, Outcome.KEPT), most),
        _smallest(_candidates(out, Outcome.DROPPED), most),
        _smallest(_real(references), most) if references is not None else [],
    ]
    dimensions = {len(dot.vector) for group in groups for dot in group}
    if len(dimensions) > 1:  # references that another encoder described cannot be laid beside the candidates
        groups = groups[:2]
    dots = sorted(_share(groups, most), key=lambda dot: dot.key)
    if len(dots) < 3:
        return None
    points, method = on_plane(np.stack([dot.vector for dot in dots]))
    sources = colour_classes([dot.source for dot in dots])
    types = colour_classes([dot.type for dot in dots])
    svg = scatter(
        points,
        [f"s-{sources[dot.source]} t-{types[dot.type]} o-{dot.outcome}" for dot in dots],
        [f"{dot.source}, {dot.type or 'unknown'}, {dot.outcome}" for dot in dots],
    )
    return FeatureMap(
        svg,
        method,
        len(dots),
        _legend([("s-" + sources[dot.source], dot.source) for dot in dots]),
        _legend([("t-" + types[dot.type], dot.type or "unknown") for dot in dots]),
        _legend([("o-" + dot.outcome, dot.outcome) for dot in dots]),
    )


def _candidates(out: Path, outcome: Outcome) -> Iterator[Dot]:
    for batch in iterate_batches(out, outcome, ("id", "digest", "source", "type", "visual")):
        columns = [batch.column(name) for name in ("id", "digest", "source", "type", "visual")]
        for identity, digest, source, rain_type, visual in zip(*columns, strict=True):
            if visual.is_valid and len(visual):
                # The vector stays where it is until the dot is drawn: of millions, a few hundred are.
                yield Dot(
                    _key(f"{identity.as_py()}\0{digest.as_py()}"),
                    visual.values.to_numpy(zero_copy_only=False).astype(np.float32),
                    source.as_py() or "",
                    rain_type.as_py() or "",
                    outcome.value,
                )


def _real(references: ReferenceVectors) -> Iterator[Dot]:
    for rain_type, rows in references.slices.items():
        for row in range(rows.start, rows.stop):
            digest = hexadecimal(references.digests[row])
            yield Dot(_key(digest), references.visual[row], REAL, rain_type.value, "real")


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _smallest(dots: Iterable[Dot], count: int) -> list[Dot]:
    return heapq.nsmallest(count, dots, key=lambda dot: dot.key)


def _share(groups: Sequence[list[Dot]], most: int) -> list[Dot]:
    """One of each group in turn, until there are `most` or none is left."""
    drawn: list[Dot] = []
    for turn in range(most):
        drawn += [group[turn] for group in groups if turn < len(group)]
        if len(drawn) >= most:
            return drawn[:most]
    return drawn


def _legend(shown: Sequence[tuple[str, str]]) -> tuple[tuple[str, str, int], ...]:
    entries = []
    for name in sorted({colour for colour, _ in shown}):
        labels = sorted({label for colour, label in shown if colour == name})
        count = sum(colour == name for colour, _ in shown)
        entries.append((name, labels[0] if len(labels) == 1 else f"{len(labels)} others", count))
    return tuple(entries)


def on_plane(vectors: Floats) -> tuple[npt.NDArray[np.float64], str]:
    """Points (N, 2) within [0, 1], neighbours near each other, and the name of the method.

    t-SNE where there are at least `NEIGHBOURS_NEED` points, on one thread, started from the principal components: the
    same vectors give the same map. Principal components otherwise.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(vectors) < 2 or (vectors == vectors[0]).all():
        return np.full((len(vectors), 2), 0.5), "principal components"
    with threadpool_limits(1):
        if len(vectors) < NEIGHBOURS_NEED:
            return _within_unit(principal_components(vectors, 2)), "principal components"
        start = principal_components(vectors, _DIMENSIONS_BEFORE_TSNE)
        first = start[:, :2] / max(float(start[:, 0].std()), 1e-12) * 1e-4
        method = TSNE(2, perplexity=min(30.0, len(vectors) / 4), init=first, learning_rate="auto", random_state=0)
        return _within_unit(method.fit_transform(start)), "t-SNE"


def principal_components(vectors: Floats, dimensions: int) -> npt.NDArray[np.float64]:
    """Coordinates (N, `dimensions`) of vectors (N, D) along the directions of their greatest variance.

    scikit-learn gives directions a sign that follows from the vectors alone. Where there are fewer directions than
    asked for, the other coordinates are 0.
    """
    from sklearn.decomposition import PCA

    count = min(dimensions, *vectors.shape)
    coordinates = np.zeros((len(vectors), dimensions))
    coordinates[:, :count] = PCA(count, svd_solver="full").fit_transform(np.asarray(vectors, np.float64))
    return coordinates


def _within_unit(points: Floats) -> npt.NDArray[np.float64]:
    low = points.min(axis=0)
    span = float((points.max(axis=0) - low).max())
    return np.asarray((points - low) / span if span > 0 else np.full_like(points, 0.5), np.float64)
