"""References for candidates in three levels, each choosing among those of the level before (UniRain, Eq. 1-3).

1. The K1 nearest by L2 between text vectors. Eq. 1 as printed takes the K1 *highest* of a distance, which would be the
   least similar; its supplement says that the distance is used to obtain the nearest, and these are taken here.
2. Of these, the K2 of the highest cosine between visual features (Eq. 2).
3. Of these, the K3 of the highest SSIM (Eq. 3).

Of references that are equally similar those of the smaller digest come first, so results do not depend on the order in
which a base was filled, on the batch or on the number of threads.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import numpy.typing as npt

from derain.distill.knowledge.record import Record
from derain.distill.knowledge.references import (
    Floats,
    RecordsInMemory,
    ReferenceSource,
    ReferenceVectors,
    hexadecimal,
    raw_digests,
)
from derain.distill.knowledge.search import Measure, Neighbours, Rows, VectorIndex, exact_costs
from derain.distill.knowledge.structure import Luminance, Moments, StructureMeasure, moments, similarity
from derain.distill.settings import RetrievalSettings, Variant
from derain.errors import DistillError
from derain.types import RainType

_SMALL_BASE = 500
_QUERIES_AT_ONCE = 64
_MOMENTS_HELD = 384  # about 0.75 MB each


@dataclass(frozen=True)
class Query:
    """A candidate as retrieval sees it."""

    digest: str
    """sha256 of the file; a reference of this digest is the candidate itself and no match."""
    type: str
    """Rain type: drs, drd, nrs, nrd."""
    text: npt.NDArray[np.float32]
    """(D_text,), length 1; may be empty where level 1 is skipped."""
    visual: npt.NDArray[np.float32]
    """(D_visual,), length 1."""
    luminance: Luminance
    """(256, 256), as `structure.luminance` makes it."""


@dataclass(frozen=True)
class Match:
    """A reference of a candidate. What a variant does not measure is None."""

    digest: str
    path: str
    text_distance: float | None
    """L2 between text vectors."""
    cosine: float | None
    """Of visual features, in [-1, 1]."""
    ssim: float | None
    """Plain SSIM, or the structure term alone, as the settings say."""


@dataclass(frozen=True)
class Chosen:
    """Rows of the references that a level chose for one query, most similar first, and what was found out of them."""

    rows: Rows
    text_distances: Floats | None = None
    cosines: Floats | None = None
    ssims: Floats | None = None

    def take(self, places: Rows) -> "Chosen":
        """Those at some places, in that order."""
        columns = (self.text_distances, self.cosines, self.ssims)
        return Chosen(self.rows[places], *(None if column is None else column[places] for column in columns))


def fitted_k1(count: int, k1: int) -> int:
    """K1 for a base of `count` references: max(16, 20 % of them) below 500 if k1 is the default, else k1.

    The default of 64 is meant for large bases; of a small one it would keep nearly everything.
    """
    if count >= _SMALL_BASE or k1 != RetrievalSettings().k1:
        return k1
    return max(16, ceil(count / 5))


class Retriever:
    """Finds references for candidates. Holds the vectors of a base as it was when this was made.

    Args:
        source: a `KnowledgeBase`, or records. Those rejected or filtered are no references.
        settings: sizes of the levels, filters, SSIM. `k1` left at its default is fitted to a small base (`fitted_k1`).

    Raises:
        DistillError: the base cannot be read.
        MissingExtraError: the index is hnsw, and faiss is not there.
    """

    def __init__(self, source: ReferenceSource | Sequence[Record], settings: RetrievalSettings | None = None) -> None:
        self._source = RecordsInMemory(source) if isinstance(source, Sequence) else source
        self._settings = settings or RetrievalSettings()
        self._references = self._source.vectors()
        self._k1 = fitted_k1(len(self._references), self._settings.k1)
        self._by_digest = np.argsort(self._references.digests)
        self._rank = np.empty_like(self._by_digest)
        self._rank[self._by_digest] = np.arange(len(self))
        self._indices: dict[tuple[Measure, int, int], VectorIndex] = {}
        self._by_types: dict[frozenset[RainType], Rows] = {}
        self._structure = _HeldMoments(self._settings.structure)

    def __len__(self) -> int:
        return len(self._references)

    @property
    def references(self) -> ReferenceVectors:
        """What is searched; `Chosen.rows` are its rows."""
        return self._references

    @property
    def k1(self) -> int:
        """References that level 1 chooses."""
        return self._k1

    @property
    def k3(self) -> int:
        """References that level 3 chooses."""
        return self._settings.k3

    def retrieve(self, queries: Sequence[Query]) -> list[list[Match]]:
        """At most K3 references of each candidate, most similar first; fewer, or none, where the base has no more.

        Raises:
            DistillError: a query has an unknown rain type, or vectors of another length than the base's.
        """
        matches: list[list[Match]] = []
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            part = queries[first : first + _QUERIES_AT_ONCE]
            chosen = self.by_structure(part, self.by_features(part, self.by_text(part)))
            matches.extend(self.matches(of_one) for of_one in chosen)
        return matches

    def by_text(self, queries: Sequence[Query]) -> list[Chosen]:
        """Level 1: the K1 references nearest by text vectors."""
        return [
            Chosen(found.rows, text_distances=np.sqrt(found.costs))
            for found in self._nearest(queries, Measure.DISTANCE, self._k1)
        ]

    def by_features(self, queries: Sequence[Query], among: Sequence[Chosen] | None) -> list[Chosen]:
        """Level 2: the K2 references of the highest cosine among those of level 1; among all if None."""
        k2 = self._settings.k2
        if among is None:
            return [Chosen(found.rows, cosines=-found.costs) for found in self._nearest(queries, Measure.COSINE, k2)]
        chosen: list[Chosen] = []
        visual = self._references.visual
        for query, level in zip(queries, among, strict=True):
            if not level.rows.size:
                chosen.append(level)
                continue
            costs = exact_costs(_checked(query, "visual", visual), visual[level.rows], Measure.COSINE)
            best = np.lexsort((self._rank[level.rows], costs))[:k2]
            chosen.append(replace(level.take(best), cosines=-costs[best]))
        return chosen

    def by_structure(self, queries: Sequence[Query], among: Sequence[Chosen]) -> list[Chosen]:
        """Level 3: the K3 references of the highest SSIM among those of level 2."""
        rows = np.unique(np.concatenate([level.rows for level in among])) if among else np.empty(0, np.int64)
        digests = [hexadecimal(digest) for digest in self._references.digests[rows]]
        luminances = dict(zip(rows.tolist(), self._source.luminances(digests) if digests else (), strict=True))
        chosen: list[Chosen] = []
        for query, level in zip(queries, among, strict=True):
            mine = moments(query.luminance, self._settings.structure)
            theirs = (self._structure.of(row, luminances[row]) for row in level.rows.tolist())
            ssims = np.array([similarity(mine, other) for other in theirs], np.float32)
            best = np.lexsort((self._rank[level.rows], -ssims))[: self._settings.k3]
            chosen.append(replace(level.take(best), ssims=ssims[best]))
        return chosen

    def matches(self, chosen: Chosen) -> list[Match]:
        """What a level chose for one query, with digests and paths."""
        columns = (chosen.text_distances, chosen.cosines, chosen.ssims)
        return [
            Match(
                hexadecimal(self._references.digests[row]),
                self._references.paths[row],
                *(None if column is None else float(column[place]) for column in columns),
            )
            for place, row in enumerate(chosen.rows.tolist())
        ]

    def path_of(self, digest: str) -> str:
        """The path of a reference, by its digest.

        Raises:
            DistillError: it is no reference.
        """
        (row,) = self._rows_of([digest])
        if row < 0:
            raise DistillError(f"{digest}: is no reference of the knowledge base any more; run it with --fresh")
        return self._references.paths[int(row)]

    def has_references_of(self, type_name: str) -> bool:
        """Whether the filters admit any reference for candidates of a rain type; raises as `retrieve`."""
        slices = self._references.slices
        return any(slices[rain_type].start < slices[rain_type].stop for rain_type in self._types(type_name))

    def comparable(self, query: Query) -> Rows:
        """All references that the filters admit for a query, by digest, itself left out."""
        rows = self._admitted(self._types(query.type))
        others: Rows = rows[rows != self._rows_of([query.digest])[0]]
        return others

    def _admitted(self, types: frozenset[RainType]) -> Rows:
        """Rows of some types by digest; sorted once."""
        if types not in self._by_types:
            every = np.concatenate([np.arange(len(self))[self._references.slices[name]] for name in types])
            self._by_types[types] = every[np.argsort(self._rank[every])]
        return self._by_types[types]

    def _nearest(self, queries: Sequence[Query], measure: Measure, k: int) -> list[Neighbours]:
        """The k nearest of each query: those nearest in each run of rows that it is compared with, together."""
        own = self._rows_of([query.digest for query in queries])
        found = [[Neighbours(np.empty(0, np.int64), np.empty(0, np.float32))] for _ in queries]
        runs = [self._runs(query) for query in queries]
        name = "text" if measure is Measure.DISTANCE else "visual"
        vectors: Floats = getattr(self._references, name)
        for run in sorted({run for of_one in runs for run in of_one}):
            asking = [i for i, of_one in enumerate(runs) if run in of_one]
            if (measure, *run) not in self._indices:
                rows, is_approximate = slice(*run), self._settings.index == "hnsw"
                self._indices[measure, *run] = VectorIndex(vectors[rows], self._rank[rows], measure, is_approximate)
            asked = np.concatenate([_checked(queries[i], name, vectors) for i in asking])
            nearest = self._indices[measure, *run].nearest(asked, k, own[asking] - run[0])
            for i, of_one in zip(asking, nearest, strict=True):
                found[i].append(Neighbours(of_one.rows + run[0], of_one.costs))
        return [Neighbours.joined(parts).best(k, self._rank) for parts in found]

    def _runs(self, query: Query) -> tuple[tuple[int, int], ...]:
        """First and last (excluded) rows of what a query is compared with; adjacent types are one run, as one search
        costs less than two."""
        types, runs = self._types(query.type), list[tuple[int, int]]()
        for rain_type, rows in self._references.slices.items():
            if rain_type in types and rows.start < rows.stop:
                first = runs.pop()[0] if runs and runs[-1][1] == rows.start else rows.start
                runs.append((first, rows.stop))
        return tuple(runs)

    def _types(self, type_name: str) -> frozenset[RainType]:
        """Types of the references that candidates of a type are compared with."""
        if type_name not in [rain_type.value for rain_type in RainType]:
            raise DistillError(f"wanted a rain type ({', '.join(RainType)}), got {type_name!r}")
        wanted = RainType(type_name)
        return frozenset(
            rain_type
            for rain_type in RainType
            if (rain_type.is_night == wanted.is_night or not self._settings.same_light)
            and (rain_type.is_drop == wanted.is_drop or not self._settings.same_form)
        )

    def _rows_of(self, hexadecimals: Sequence[str]) -> Rows:
        """(N,) the row of each digest, -1 for none."""
        digests, references = raw_digests(hexadecimals), self._references.digests
        if not len(references):
            return np.full(len(digests), -1)
        places = np.searchsorted(references, digests, sorter=self._by_digest)
        rows = self._by_digest[np.minimum(places, len(references) - 1)]
        return np.where(references[rows] == digests, rows, -1)


def references_for(variant: Variant, retriever: Retriever, queries: Sequence[Query], seed: int) -> list[list[Match]]:
    """At most K3 references of each candidate under a variant of the ablation (UniRain, Table 4).

    | variant | references |
    |---|---|
    | `full` | three levels |
    | `no-generation` | no texts: level 2 among all, then level 3 |
    | `no-retrieval` | drawn at random among those the filters admit, by a hash of seed and digest |
    | `only-vlm` | none |

    The paper does not say what the judges see without retrieval; drawing at random keeps their question the same.
    Raises as `Retriever.retrieve`.
    """
    if variant == "full":
        return retriever.retrieve(queries)
    if variant == "no-generation":
        chosen = retriever.by_structure(queries, retriever.by_features(queries, None))
        return [retriever.matches(of_one) for of_one in chosen]
    if variant == "no-retrieval":
        return [retriever.matches(Chosen(_drawn(retriever, query, seed))) for query in queries]
    return [[] for _ in queries]


def _drawn(retriever: Retriever, query: Query, seed: int) -> Rows:
    """K3 different rows of the comparable references, or all of them, by hashing seed, digest and a running number."""
    rows = retriever.comparable(query)
    drawn: dict[int, None] = {}
    attempt = 0
    while len(drawn) < min(len(rows), retriever.k3):
        hashed = hashlib.blake2b(f"{seed} {query.digest} {attempt}".encode(), digest_size=8).digest()
        drawn[int.from_bytes(hashed, "big") % len(rows)] = None
        attempt += 1
    return rows[list(drawn)]


class _HeldMoments:
    """Moments of references, of which those used last are held."""

    def __init__(self, measure: StructureMeasure) -> None:
        self._measure = measure
        self._held: OrderedDict[int, Moments] = OrderedDict()

    def of(self, row: int, picture: Luminance) -> Moments:
        if row not in self._held:
            self._held[row] = moments(picture, self._measure)
        self._held.move_to_end(row)
        while len(self._held) > _MOMENTS_HELD:
            self._held.popitem(last=False)
        return self._held[row]


def _checked(query: Query, name: str, vectors: Floats) -> Floats:
    """(1, D) the query's vector of that name."""
    vector: Floats = getattr(query, name)
    if vector.shape != vectors.shape[1:] or not np.isfinite(vector).all():
        raise DistillError(
            f"{query.digest}: wanted a finite {name} vector of {vectors.shape[1]} values, as the base holds, got "
            f"{vector.shape}; describe candidates with the models of the base"
        )
    return np.ascontiguousarray(vector[None], np.float32)
