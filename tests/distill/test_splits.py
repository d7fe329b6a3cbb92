"""Splits by whole scenes: nothing leaks, sizes come near to what is wanted, and the seed decides."""

from collections import Counter
from itertools import combinations
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from derain.data.pairs import Pair
from derain.distill.pipeline.splits import KeptPair, nearest_sum, scene_groups, split_by_scene


def kept(
    number: int, type_name: str, scene: str, clean: str = "", source: str = "a", look: int | None = None
) -> KeptPair:
    pair = Pair(f"p{number}", Path(f"r{number}"), Path(f"c{number}"), type_name, source, "val", scene)
    return KeptPair(pair, clean or f"{number:064x}", look)


def many(scenes: int, frames: int, types: tuple[str, ...] = ("drs", "nrd")) -> list[KeptPair]:
    return [
        kept(1000 * scene + frame, types[scene % len(types)], f"s{scene}")
        for scene in range(scenes)
        for frame in range(frames)
    ]


def test_as_many_test_pairs_of_each_type_as_wanted_and_scenes_stay_whole():
    pairs, shortfalls = split_by_scene(many(60, 7), {"test": 100}, 0, 4)
    counts = Counter((pair.type, pair.split) for pair in pairs)
    # 30 scenes of 7 a type: 98 is the nearest to 100.
    assert counts == {("drs", "test"): 98, ("drs", "train"): 112, ("nrd", "test"): 98, ("nrd", "train"): 112}
    scenes = {split: {pair.scene for pair in pairs if pair.split == split} for split in ("test", "train")}
    assert not scenes["test"] & scenes["train"]
    assert str(shortfalls[0]).startswith("drs: wanted 100 pairs for test, got 98 of 210 kept")


def test_exactly_as_many_where_scenes_permit():
    pairs, shortfalls = split_by_scene([*many(60, 7), *many(60, 3)], {"test": 100, "probe": 30}, 0, 4)
    counts = Counter((pair.type, pair.split) for pair in pairs)
    assert {counts[name, "test"] for name in ("drs", "nrd")} == {100}
    assert {counts[name, "probe"] for name in ("drs", "nrd")} == {30}
    assert shortfalls == ()


def test_a_type_with_few_pairs_keeps_half_to_train_on_and_says_so():
    some = [*many(40, 10, ("drs",)), *[kept(10**6 + n, "nrd", f"night{n}") for n in range(9)]]
    pairs, shortfalls = split_by_scene(some, {"test": 100}, 0, 4)
    assert Counter(pair.split for pair in pairs if pair.type == "nrd") == {"train": 5, "test": 4}
    (short,) = shortfalls
    assert (short.type, short.wanted, short.got, short.pairs) == ("nrd", 100, 4, 9)


def test_splits_share_half_of_a_type_that_has_few_pairs_and_validation_has_the_last_of_them():
    for total, test, val in ((2000, 100, 25), (40, 16, 4), (7, 2, 1), (3, 0, 1), (1, 0, 0)):
        some = [kept(number, "nrd", f"night{number}") for number in range(total)]
        pairs, _ = split_by_scene(some, {"test": 100, "val": 25}, 0, 4)
        counts = Counter(pair.split for pair in pairs)
        assert (counts["test"], counts["val"], counts["train"]) == (test, val, total - test - val)


def test_pairs_of_one_clean_picture_or_one_scene_of_one_source_stay_together():
    some = [
        kept(0, "drs", "x", "a" * 64),
        kept(1, "drd", "y", "a" * 64),
        kept(2, "drs", "y", "b" * 64),
        kept(3, "drs", "y", "c" * 64, source="b"),
        kept(4, "nrs", "", "c" * 64),
        kept(5, "nrs", "", "d" * 64),
    ]
    assert scene_groups(some, 4) == [[0, 1, 2], [3, 4], [5]]
    pairs, _ = split_by_scene(some, {"test": 1}, 0, 4)
    assert len({pairs[row].split for row in (0, 1, 2)}) == 1
    assert pairs[5].scene == "clean-dddddddddddddddd"
    assert pairs[0].scene == "x"


def test_clean_pictures_that_look_alike_stay_together_across_sources():
    some = [
        kept(0, "drs", "x", source="a", look=0b1111),
        kept(1, "drs", "y", source="b", look=0b0000),  # 4 bits from the first
        kept(2, "drs", "z", source="c", look=0b11110000_0000),  # 4 bits from the second, 8 from the first
        kept(3, "drs", "w", source="d", look=2**64 - 1),
        kept(4, "drs", "v", source="e", look=2**64 - 1),
    ]
    assert scene_groups(some, 4) == [[0, 1, 2], [3, 4]]
    assert scene_groups(some, 3) == [[0], [1], [2], [3, 4]]
    assert scene_groups([kept(n, "drs", f"s{n}") for n in range(2)], 4) == [[0], [1]]


def test_seed_and_names_alone_decide():
    some = many(40, 5)
    splits = {pair.id: pair.split for pair in split_by_scene(some, {"test": 20}, 3, 4)[0]}
    assert {pair.id: pair.split for pair in split_by_scene(some[::-1], {"test": 20}, 3, 4)[0]} == splits
    assert {pair.id: pair.split for pair in split_by_scene(some, {"test": 20}, 4, 4)[0]} != splits
    assert [pair.id for pair in split_by_scene(some, {"test": 20}, 3, 4)[0]] == [one.pair.id for one in some]


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=200)
def test_the_nearest_sum_is_that_of_a_search_through_all(sizes, target, most):
    chosen = nearest_sum(sizes, target, most)
    assert len(set(chosen)) == len(chosen)
    every = [sum(some) for count in range(len(sizes) + 1) for some in combinations(sizes, count)]
    best = min((total for total in every if total <= most), key=lambda total: (abs(total - target), total))
    assert sum(sizes[place] for place in chosen) == best


def test_no_pairs_and_no_test_set():
    assert split_by_scene([], {"test": 100}, 0, 4) == ([], ())
    pairs, shortfalls = split_by_scene(many(3, 2), {"test": 0}, 0, 4)
    assert {pair.split for pair in pairs} == {"train"}
    assert shortfalls == ()
