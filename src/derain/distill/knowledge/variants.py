"""References under the variants of an ablation (UniRain, Table 4).

| variant | references |
|---|---|
| `full` | three levels |
| `no-generation` | no texts: level 2 among all, then level 3 |
| `no-retrieval` | drawn blindly among those the filters admit |
| `only-vlm` | none |

The paper does not say what the judges see without retrieval; drawing blindly keeps their question the same.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from derain.distill.knowledge.nearest import Rows
from derain.distill.knowledge.retrieve import Chosen, Match, Query, Retriever
from derain.distill.settings import Variant


def references_for(variant: Variant, retriever: Retriever, queries: Sequence[Query], seed: int) -> list[list[Match]]:
    """At most K3 references of each candidate under a variant; raises as `Retriever.retrieve`."""
    if variant == "full":
        return retriever.retrieve(queries)
    if variant == "no-generation":
        return retrieve_without_texts(retriever, queries)
    if variant == "no-retrieval":
        return [draw_blindly(retriever, query, seed) for query in queries]
    return [[] for _ in queries]


def retrieve_without_texts(retriever: Retriever, queries: Sequence[Query]) -> list[list[Match]]:
    """Level 1 is skipped: the K2 of the highest cosine among all that the filters admit, then the K3 of these."""
    chosen = retriever.by_structure(queries, retriever.by_features(queries, None))
    return [retriever.matches(of_one) for of_one in chosen]


def draw_blindly(retriever: Retriever, query: Query, seed: int) -> list[Match]:
    """K3 different references among all that the filters admit, by chance that follows from seed and digest alone."""
    places = _drawn(retriever.count_comparable(query), retriever.k3, f"{seed} {query.digest}")
    return retriever.matches(Chosen(retriever.drawn(query, places)))


def _drawn(count: int, wanted: int, key: str) -> Rows:
    """`wanted` different numbers below `count`, or all of them, by hashing the key with a running number."""
    drawn: dict[int, None] = {}
    attempt = 0
    while len(drawn) < min(count, wanted):
        hashed = hashlib.blake2b(f"{key} {attempt}".encode(), digest_size=8).digest()
        drawn[int.from_bytes(hashed, "big") % count] = None
        attempt += 1
    return np.fromiter(drawn, np.int64)
