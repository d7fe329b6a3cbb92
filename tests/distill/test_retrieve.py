"""Retrieval equals the obvious search over everything, ties and duplicates included."""

import sys
from dataclasses import replace

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from knowledge_samples import TYPES, digest_of, record, records, ssim, structure_only, unit

from derain.distill.knowledge import search
from derain.distill.knowledge.record import ReviewStatus
from derain.distill.knowledge.references import hexadecimal
from derain.distill.knowledge.retrieval import Query, Retriever, fitted_k1, references_for
from derain.distill.knowledge.search import Measure, VectorIndex
from derain.distill.settings import RetrievalSettings
from derain.errors import DistillError, MissingExtraError
from derain.types import RainType


def query(number, type="drs", seed=1):
    one = record(number, type, seed)
    return Query(one.digest, type, one.text, one.visual, one.luminance)


def obvious(stored, asked, options, compare=ssim):
    """Three sorts over everything that passes the filters."""
    wanted = RainType(asked.type)
    left = [
        one
        for one in stored
        if one.digest != asked.digest
        and (not options.same_light or RainType(one.type).is_night == wanted.is_night)
        and (not options.same_form or RainType(one.type).is_drop == wanted.is_drop)
    ]
    steps = [left]
    k1 = fitted_k1(len(stored), options.k1)
    for size, cost in (
        (k1, lambda one: np.float32(np.square(one.text.astype(float) - asked.text.astype(float)).sum())),
        (options.k2, lambda one: np.float32(-cosine(one.visual, asked.visual))),
        (options.k3, lambda one: np.float32(-compare(one.luminance, asked.luminance))),
    ):
        steps.append(sorted(steps[-1], key=lambda one: (cost(one), one.digest))[:size])
    return [[one.digest for one in step] for step in steps[1:]]


def cosine(a, b):
    a, b = a.astype(float), b.astype(float)
    return (a @ b) / np.sqrt((a @ a) * (b @ b))


def coarse(one, levels):
    """Few different vectors, so that many are equally near; exact in any arithmetic."""
    draw = np.random.default_rng(int(one.digest[:8], 16))
    return replace(
        one,
        text=np.eye(12, dtype=np.float32)[draw.integers(levels)],
        visual=np.eye(8, dtype=np.float32)[draw.integers(min(levels, 8))],
    )


@given(
    count=st.integers(0, 60),
    sizes=st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 4)),
    levels=st.sampled_from([None, 1, 2, 5]),
    filters=st.tuples(st.booleans(), st.booleans()),
    type=st.sampled_from(TYPES),
    spare=st.sampled_from([0, 16]),
)
@settings(max_examples=30, deadline=None)
def test_three_levels_are_those_of_the_obvious_search(count, sizes, levels, filters, type, spare):
    flat = np.zeros((256, 256), np.uint8)
    stored = [replace(one, luminance=flat + number % 5) for number, one in enumerate(records(count))]
    asked = [query(number, type) for number in (3, 1000, 1001)]
    if levels is not None:
        stored = [coarse(one, levels) for one in stored]
        asked = [replace(one, text=np.eye(12, dtype=np.float32)[0]) for one in asked]
    k1, k2, k3 = sorted(sizes, reverse=True)
    options = RetrievalSettings(k1=k1, k2=k2, k3=k3, same_light=filters[0], same_form=filters[1])
    before = search._SPARE
    search._SPARE = spare  # so that small bases are searched like large ones
    try:
        retriever = Retriever(stored, options)
        first = retriever.by_text(asked)
        second = retriever.by_features(asked, first)
        third = retriever.by_structure(asked, second)
    finally:
        search._SPARE = before
    for one, *found in zip(asked, first, second, third, strict=True):
        names = [[match.digest for match in retriever.matches(level)] for level in found]
        assert names == obvious(stored, one, options)
        assert set(names[0]) >= set(names[1]) >= set(names[2])


@pytest.mark.parametrize("measure", list(Measure))
@pytest.mark.parametrize("kind", ["spread", "crowded", "equal", "same"])
def test_neighbours_are_exact_where_single_precision_cannot_tell(measure, kind):
    draw = np.random.default_rng(5)
    centre = unit(draw.normal(size=64))
    vectors = {
        "spread": lambda: unit(draw.normal(size=(3000, 64))),
        "crowded": lambda: unit(centre + 1e-6 * draw.normal(size=(3000, 64))),
        "equal": lambda: unit(draw.normal(size=(40, 64)))[draw.integers(40, size=3000)],
        "same": lambda: np.tile(centre, (3000, 1)),
    }[kind]()
    rank = draw.permutation(3000)
    asked = np.concatenate([vectors[:5], unit(centre + 0.1 * draw.normal(size=(5, 64)))])
    own = np.array([0, 1, 2, 3, 4] + [-1] * 5)
    index = VectorIndex(vectors, rank, measure)
    for k in (1, 30):
        for i, found in enumerate(index.nearest(asked, k, own)):
            costs = search.exact_costs(asked[i : i + 1], vectors, measure)
            rows = [row for row in np.lexsort((rank, costs)) if row != own[i]][:k]
            assert found.rows.tolist() == rows
            assert (found.costs == costs[rows]).all()


def test_batch_block_and_threads_do_not_matter(monkeypatch):
    draw = np.random.default_rng(6)
    vectors, asked = unit(draw.normal(size=(2000, 32))), unit(draw.normal(size=(50, 32)))
    none = np.full(50, -1)
    whole = VectorIndex(vectors, np.arange(2000), Measure.DISTANCE).nearest(asked, 20, none)
    monkeypatch.setattr(search, "_BLOCK_ROWS", 77)
    parts = VectorIndex(vectors, np.arange(2000), Measure.DISTANCE)
    for i in range(50):
        (alone,) = parts.nearest(asked[i : i + 1], 20, none[:1])
        assert (alone.rows == whole[i].rows).all()
        assert (alone.costs == whole[i].costs).all()
    _, rows = faiss.knn(asked, vectors, 20)
    assert (np.stack([found.rows for found in whole]) == rows).mean() > 0.999


def test_the_least_distances_are_taken_and_not_the_greatest():
    stored = [replace(record(i), text=unit(np.eye(12)[0] + i * np.eye(12)[1])) for i in range(40)]
    asked = replace(query(1000), text=stored[0].text)
    (found,) = Retriever(stored, RetrievalSettings(k1=3, k2=3, k3=3)).by_text([asked])
    assert found.rows.size == 3
    assert found.text_distances[0] == 0
    distances = sorted(float(np.linalg.norm(one.text - asked.text)) for one in stored)
    assert found.text_distances == pytest.approx(distances[:3], abs=1e-6)


@pytest.mark.parametrize("type", TYPES)
def test_a_candidate_is_compared_with_its_own_light_and_form(type):
    stored = records(80)
    types = {one.path: one.type for one in stored}
    for variant in ("full", "no-generation", "no-retrieval"):
        for matches in references_for(variant, Retriever(stored), [query(n, type) for n in (1000, 1001, 1002)], seed=0):
            assert len(matches) == 3
            assert {types[match.path] for match in matches} == {type}


def test_a_candidate_that_is_in_the_base_is_not_its_own_reference():
    stored = records(12, ["drs"])
    asked = [Query(one.digest, "drs", one.text, one.visual, one.luminance) for one in stored]
    options = RetrievalSettings(k1=100, k2=100, k3=100)
    for variant in ("full", "no-generation", "no-retrieval"):
        for one, matches in zip(asked, references_for(variant, Retriever(stored, options), asked, 0), strict=True):
            assert {match.digest for match in matches} == {other.digest for other in stored} - {one.digest}


def test_fewer_references_give_fewer_matches():
    stored = [record(1, "drs"), record(2, "drs"), replace(record(3, "drs"), status=ReviewStatus.REJECTED)]
    assert len(Retriever(stored).retrieve([query(1000, "drs")])[0]) == 2
    assert Retriever(stored).retrieve([query(1000, "nrd")]) == [[]]
    for variant in ("full", "no-generation", "no-retrieval", "only-vlm"):
        assert references_for(variant, Retriever([]), [query(1000)], 0) == [[]]
    assert Retriever(stored).retrieve([]) == []


def test_random_draws_follow_from_seed_and_digest_alone():
    stored = records(200, ["drs"])
    asked = [query(number) for number in range(1000, 1200)]
    drawn = references_for("no-retrieval", Retriever(stored), asked, seed=1)
    assert drawn == references_for("no-retrieval", Retriever(stored[::-1]), asked, seed=1)
    assert drawn[7:8] == references_for("no-retrieval", Retriever(stored), asked[7:8], seed=1)
    assert drawn != references_for("no-retrieval", Retriever(stored), asked, seed=2)
    assert all(len({match.digest for match in matches}) == 3 for matches in drawn)
    assert all(match.ssim is None and match.cosine is None for matches in drawn for match in matches)
    # 600 draws out of 200: all but about 10 are drawn at least once.
    assert len({match.digest for matches in drawn for match in matches}) > 170


def test_a_random_draw_is_one_of_the_list_without_the_candidate_itself():
    retriever = Retriever(records(60), RetrievalSettings(k3=5))
    for number in (0, 3, 17, 59, 400):
        for type in TYPES:
            asked = query(number, type)
            listed = retriever.comparable(asked)
            rows = np.concatenate([np.arange(60)[retriever.references.slices[RainType(type)]]])
            digests = [hexadecimal(retriever.references.digests[row]) for row in rows]
            wanted = sorted(digest for digest in digests if digest != asked.digest)
            assert [hexadecimal(retriever.references.digests[row]) for row in listed] == wanted
            (drawn,) = references_for("no-retrieval", retriever, [asked], seed=2)
            assert len(drawn) == min(5, len(wanted))
            assert {match.digest for match in drawn} <= set(wanted)


def test_a_graph_that_finds_too_few_gives_fewer_and_never_a_wrong_one():
    vectors = unit(np.random.default_rng(0).normal(size=(1200, 8)))
    index = VectorIndex(vectors, np.arange(1200), Measure.COSINE, approximate=True)
    graph = index._graph

    class Broken:
        def propose(self, queries, k):
            rows = graph.propose(queries, k).copy()
            rows[:, 2:] = -1
            return rows

    whole = index.nearest(vectors[:3], 4, np.full(3, -1))
    index._graph = Broken()
    for few, all_of_them in zip(index.nearest(vectors[:3], 4, np.full(3, -1)), whole, strict=True):
        assert few.rows.tolist() == all_of_them.rows[:2].tolist()


def test_without_texts_the_visually_most_alike_are_taken_from_all():
    stored, asked = records(120, ["drs"]), query(1000)
    options = RetrievalSettings(k1=7, k2=7, k3=7)
    (found,) = references_for("no-generation", Retriever(stored, options), [asked], 0)
    expected = sorted(stored, key=lambda one: (np.float32(-cosine(one.visual, asked.visual)), one.digest))[:7]
    assert {match.digest for match in found} == {one.digest for one in expected}
    assert all(match.text_distance is None for match in found)


@pytest.mark.parametrize(("name", "compare"), [("plain", ssim), ("structure-only", structure_only)])
def test_matches_tell_what_was_measured(name, compare):
    stored, asked = records(30, ["nrs"]), query(1000, "nrs")
    options = RetrievalSettings(k1=20, k2=6, k3=2, structure=name)
    (found,) = Retriever(stored, options).retrieve([asked])
    assert [match.digest for match in found] == obvious(stored, asked, options, compare)[2]
    by_digest = {one.digest: one for one in stored}
    for match in found:
        one = by_digest[match.digest]
        assert match.path == one.path
        assert match.text_distance == pytest.approx(np.linalg.norm(one.text - asked.text), abs=1e-6)
        assert match.cosine == pytest.approx(cosine(one.visual, asked.visual), abs=1e-6)
        assert match.ssim == pytest.approx(compare(one.luminance, asked.luminance), abs=1e-7)


def test_the_graph_finds_most_of_what_the_exact_search_finds():
    draw = np.random.default_rng(8)
    vectors, asked = unit(draw.normal(size=(3000, 16))), unit(draw.normal(size=(100, 16)))
    none = np.full(100, -1)
    exact = VectorIndex(vectors, np.arange(3000), Measure.DISTANCE).nearest(asked, 20, none)
    graphs = [VectorIndex(vectors, np.arange(3000), Measure.DISTANCE, approximate=True) for _ in range(2)]
    found = [graph.nearest(asked, 20, none) for graph in graphs]
    shared = [len(set(a.rows) & set(b.rows)) / 20 for a, b in zip(exact, found[0], strict=True)]
    assert np.mean(shared) > 0.95
    assert all((a.rows == b.rows).all() for a, b in zip(*found, strict=True))


def test_k1_fits_a_small_base():
    assert [fitted_k1(count, 64) for count in (0, 50, 100, 400, 499, 500, 10**6)] == [16, 16, 20, 80, 100, 64, 64]
    assert fitted_k1(100, 32) == 32
    assert Retriever(records(100)).k1 == 20


def test_a_query_of_another_encoder_or_type_is_refused():
    retriever = Retriever(records(10))
    with pytest.raises(DistillError, match="text vector of 12 values"):
        retriever.retrieve([replace(query(1), text=np.ones(5, np.float32))])
    with pytest.raises(DistillError, match=r"wanted a rain type .*'snow'"):
        retriever.retrieve([replace(query(1), type="snow")])
    with pytest.raises(DistillError, match="64 hexadecimal digits"):
        retriever.retrieve([replace(query(1), digest=digest_of(1)[:10])])


def test_without_faiss_the_graph_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    vectors = unit(np.random.default_rng(9).normal(size=(1200, 4)))
    with pytest.raises(MissingExtraError, match=r"the index hnsw .*derain\[distill\]"):
        VectorIndex(vectors, np.arange(1200), Measure.DISTANCE, approximate=True)
