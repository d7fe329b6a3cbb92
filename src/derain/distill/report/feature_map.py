"""The feature map of a report: a bounded, even sample of candidates and references, on a plane."""

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from derain.distill.knowledge.references import ReferenceVectors, hexadecimal
from derain.distill.pipeline.schema import Outcome
from derain.distill.report.charts import colour_classes, scatter
from derain.distill.report.projection import on_plane
from derain.distill.results import iterate_batches

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
