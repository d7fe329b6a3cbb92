"""Exact nearest neighbours among many unit vectors, the same whatever the batch, the block or the number of threads.

Distances are defined in double precision and rounded to single; equal ones are ordered by the references' digests.
Candidates come from single-precision matrix products, whose error is bounded; where the bound leaves in doubt whether
the candidates hold all nearest ones, every row within the bound is compared. Equal vectors (a captioner that says the
same of many pictures makes them) are compared once.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from derain.distill.knowledge.references import Floats
from derain.errors import MissingExtraError

Rows = npt.NDArray[np.int64]

_BLOCK_ROWS = 1 << 15
_QUERIES_AT_ONCE = 128
_FEWEST_EQUAL = 0.9
"""Vectors are compared once a group if there are at most so many groups for each of them."""
_LINKS, _EFFORT_BUILDING, _EFFORT_SEARCHING = 32, 80, 256
"""HNSW: links of a vector, and vectors looked at on the way in and on the way to an answer."""
_LEAST_FOR_A_GRAPH = 1000
_SPARE = 16
"""Candidates beside those wanted, so that the bound on rounding rarely leaves a doubt."""
_ROUNDING = 2.0**-24
_EXACT_AT_ONCE = 4096  # rows in double precision


class Measure(StrEnum):
    """What is near. A cost is smaller for what is nearer."""

    DISTANCE = "distance"
    """Cost: the squared L2 distance."""
    COSINE = "cosine"
    """Cost: minus the cosine of the angle."""


@dataclass(frozen=True)
class Neighbours:
    """Rows nearest to one query, nearest first, with their costs (float32)."""

    rows: Rows
    costs: Floats

    @classmethod
    def joined(cls, parts: Sequence["Neighbours"]) -> "Neighbours":
        return cls(np.concatenate([part.rows for part in parts]), np.concatenate([part.costs for part in parts]))

    def best(self, k: int, rank: Rows) -> "Neighbours":
        """The k of least cost; of equal ones those of least rank."""
        order = np.lexsort((rank[self.rows], self.costs))[:k]
        return Neighbours(self.rows[order], self.costs[order])


def exact_costs(queries: Floats, vectors: Floats, measure: Measure) -> Floats:
    """Costs of (N, D) or (1, D) against (N, D), row by row: computed in float64, rounded to float32, (N,)."""
    costs = np.empty(len(vectors), np.float32)
    for first in range(0, len(vectors), _EXACT_AT_ONCE):
        part = slice(first, first + _EXACT_AT_ONCE)
        a = (queries if len(queries) == 1 else queries[part]).astype(np.float64)
        b = vectors[part].astype(np.float64)
        if measure is Measure.DISTANCE:
            costs[part] = np.square(a - b).sum(axis=1)
        else:
            lengths = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
            costs[part] = -(a * b).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return costs


class VectorIndex:
    """Nearest neighbours among the vectors of one slice of the references.

    Args:
        vectors: (N, D) float32, about of length 1; not copied unless many are equal.
        rank: (N,) order among vectors that are equally near.
        measure: what is near.
        approximate: search over a graph instead of everywhere; then neighbours may be missed.
    """

    def __init__(self, vectors: Floats, rank: Rows, measure: Measure, approximate: bool = False) -> None:
        self._rank, self._measure = rank, measure
        self._groups = _equal_rows(vectors, rank)
        self._vectors = vectors if self._groups is None else vectors[self._groups.first]
        self._flat = FlatSearch(self._vectors, measure)
        is_large = len(self._vectors) > _LEAST_FOR_A_GRAPH
        self._graph = HnswSearch(self._vectors) if approximate and is_large else None

    def nearest(self, queries: Floats, k: int, own: Rows) -> list[Neighbours]:
        """The k nearest of each query (Q, D), nearest first; all there are if fewer.

        Args:
            queries: (Q, D) float32.
            k: how many.
            own: (Q,) a row that is no neighbour of the query, for it is the query itself; -1 for none.
        """
        found: list[Neighbours] = []
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            part = slice(first, first + _QUERIES_AT_ONCE)
            found.extend(self._nearest(queries[part], k, own[part]))
        return found

    def _nearest(self, queries: Floats, k: int, own: Rows) -> list[Neighbours]:
        count, wanted = len(self._vectors), k + 1  # one more, for one of them may be the query itself
        if count <= wanted + _SPARE:
            rows, least_other = np.tile(np.arange(count), (len(queries), 1)), None
        elif self._graph is not None:
            rows, least_other = self._graph.propose(queries, wanted + _SPARE), None
        else:
            rows, least_other = self._flat.propose(queries, wanted + _SPARE)
        owners = np.repeat(np.arange(len(queries)), rows.shape[1])
        costs = exact_costs(queries[owners], self._vectors[rows.ravel()], self._measure).reshape(rows.shape)
        neighbours: list[Neighbours] = []
        for i, query in enumerate(queries):
            is_row = rows[i] >= 0  # the graph returns -1 where it found no more
            mine = Neighbours(rows[i][is_row], costs[i][is_row])
            if least_other is not None:
                reach = self._flat.bound(query, float(np.partition(costs[i], wanted - 1)[wanted - 1]))
                if reach >= least_other[i]:
                    near = self._flat.within(query[None], reach)
                    mine = Neighbours(near, exact_costs(query[None], self._vectors[near], self._measure))
            mine = self._expanded(mine, wanted)
            kept = mine.rows != own[i]
            neighbours.append(Neighbours(mine.rows[kept], mine.costs[kept]).best(k, self._rank))
        return neighbours

    def _expanded(self, found: Neighbours, wanted: int) -> Neighbours:
        """Each of several equal vectors in place of the one that was searched for; no more of them than can count."""
        if self._groups is None:
            return found
        sizes = np.minimum(self._groups.sizes[found.rows], wanted)
        places = np.repeat(self._groups.starts[found.rows] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        return Neighbours(self._groups.members[places], np.repeat(found.costs, sizes))


class FlatSearch:
    """Looks at all rows, by matrix products in single precision.

    What is computed of a query q and a row x is |x|^2 / 2 - q x = (|q - x|^2 - |q|^2) / 2 for the distance, and
    -q x / |x| = -|q| cos for the cosine: it orders rows as the cost does.
    """

    def __init__(self, vectors: Floats, measure: Measure) -> None:
        self._vectors = torch.from_numpy(vectors)
        self._measure = measure
        self._lengths = torch.linalg.vector_norm(self._vectors, dim=1)
        self._half_squares = self._lengths.square() / 2
        self._longest = float(self._lengths.max()) if len(vectors) else 0.0

    def propose(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        """For (Q, D) the k nearest rows (Q, k), and the largest of their values (Q,), which no other row is below."""
        best_values, best_rows = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
        for first in range(0, len(self._vectors), _BLOCK_ROWS):
            values = self._values(queries, slice(first, first + _BLOCK_ROWS))
            least = torch.topk(values, min(k, values.shape[1]), dim=1, largest=False, sorted=False)
            best_values = torch.cat([best_values, least.values], dim=1)
            best_rows = torch.cat([best_rows, least.indices + first], dim=1)
            if best_values.shape[1] > k:
                kept = torch.topk(best_values, k, dim=1, largest=False, sorted=False)
                best_values, best_rows = kept.values, best_rows.gather(1, kept.indices)
        return best_rows.numpy(), best_values.max(dim=1).values.numpy()

    def bound(self, query: Floats, cost: float) -> float:
        """No row of at most this cost to the query (D,) has a computed value above this."""
        length = float(np.linalg.norm(query.astype(np.float64)))
        is_distance = self._measure is Measure.DISTANCE
        value = (cost - length**2) / 2 if is_distance else length * cost
        # Errors of a product of D terms and of the squares, twice over for what is rounded besides (Higham 2002, 3.1).
        scale = (length + self._longest) ** 2 if is_distance else length
        return value + 2 * (len(query) + 8) * _ROUNDING * scale

    def within(self, query: Floats, value: float) -> Rows:
        """All rows whose value for the query (1, D) is at most this."""
        found = [
            torch.nonzero(self._values(query, slice(first, first + _BLOCK_ROWS))[0] <= value)[:, 0] + first
            for first in range(0, len(self._vectors), _BLOCK_ROWS)
        ]
        return torch.cat(found).numpy()

    def _values(self, queries: Floats, rows: slice) -> Tensor:
        block, asked = self._vectors[rows], torch.from_numpy(queries)
        if self._measure is Measure.DISTANCE:
            return torch.addmm(self._half_squares[rows], asked, block.T, alpha=-1)
        return (asked @ block.T).div_(self._lengths[rows]).neg_()


class HnswSearch:
    """Approximate, over a graph (Malkov and Yashunin 2018), by faiss; built by one thread, so always the same."""

    def __init__(self, vectors: Floats) -> None:
        try:
            import faiss
        except ImportError as error:
            raise MissingExtraError("the index hnsw", "distill") from error
        self._index = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS)
        self._index.hnsw.efConstruction = _EFFORT_BUILDING
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            self._index.add(vectors)
        finally:
            faiss.omp_set_num_threads(threads)

    def propose(self, queries: Floats, k: int) -> Rows:
        """For (Q, D) about the k nearest rows, (Q, k); -1 where it found no more."""
        self._index.hnsw.efSearch = max(_EFFORT_SEARCHING, 2 * k)
        rows: Rows = self._index.search(queries, k)[1]
        return rows


@dataclass(frozen=True)
class _EqualRows:
    """Rows grouped by equal vectors; the members of a group are adjacent, by rank."""

    first: Rows
    """(G,) a row of each group."""
    starts: Rows
    """(G,) where its members begin."""
    sizes: Rows
    """(G,)."""
    members: Rows
    """(N,)."""


def _equal_rows(vectors: Floats, rank: Rows) -> _EqualRows | None:
    """Groups of equal vectors; None where so few are equal that a copy of the others would not pay."""
    group_of: dict[bytes, int] = {}
    groups = np.empty(len(vectors), np.int64)
    for row, vector in enumerate(vectors):
        key = hashlib.blake2b(vector.tobytes(), digest_size=16).digest()
        groups[row] = group_of.setdefault(key, len(group_of))
    if len(group_of) > _FEWEST_EQUAL * len(vectors):
        return None
    members = np.lexsort((rank, groups))
    sizes = np.bincount(groups, minlength=len(group_of))
    starts = np.cumsum(sizes) - sizes
    return _EqualRows(members[starts], starts, sizes, members)
