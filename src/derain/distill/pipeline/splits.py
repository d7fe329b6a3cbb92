"""Kept pairs cut into training and test sets, whole scenes at a time."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from derain.data.near_duplicates import connected, near_groups
from derain.data.pairs import Pair


@dataclass(frozen=True)
class KeptPair:
    """What the split looks at."""

    pair: Pair
    """Its type is known; its split is that of its data set and is not looked at."""
    clean_digest: str
    clean_hash: int | None
    """Perceptual hash of the clean picture."""


@dataclass(frozen=True)
class Shortfall:
    """A type whose set is smaller or larger than wanted."""

    split: str
    type: str
    wanted: int
    got: int
    pairs: int
    """That were kept of the type in all."""

    def __str__(self) -> str:
        return (
            f"{self.type}: wanted {self.wanted} pairs for {self.split}, got {self.got} of {self.pairs} kept, "
            "for scenes stay whole and at least half of a type is left to train on"
        )


def split_by_scene(
    kept: Sequence[KeptPair], wanted: Mapping[str, int], seed: int, near_bits: int
) -> tuple[list[Pair], tuple[Shortfall, ...]]:
    """The pairs in their order, each with the split that its scene was given; everything else is `train`.

    Pairs belong together that name one scene of one source or whose clean pictures look alike, of whatever source.
    Which scenes are set apart depends on the seed and their names alone. Rare types choose first. Of each type as many
    pairs are taken as come nearest to what is wanted, and no more than half by all splits together (scenes that hold
    several types are chosen for one of them, and may exceed it for another). Where half is not enough the splits share
    it in proportion to what they want, the last one first where there are hardly any.

    Args:
        wanted: split -> pairs of each type, in the order in which they choose.
        near_bits: perceptual hashes that differ in at most so many bits are those of one scene.
    """
    groups = scene_groups(kept, near_bits)
    names = [_lot(seed, min(_scene_name(kept[row]) for row in rows)) for rows in groups]
    order = sorted(range(len(groups)), key=lambda group: names[group])
    groups = [groups[group] for group in order]
    sizes = [Counter(str(kept[row].pair.type) for row in rows) for rows in groups]
    totals = Counter(str(one.pair.type) for one in kept)
    given: dict[int, str] = {}
    shortfalls: list[Shortfall] = []
    for split, count in wanted.items():
        to_share = sum(list(wanted.values())[list(wanted).index(split) :])  # among this split and those that follow
        for group in _set_apart(sizes, given, totals, count, to_share):
            given[group] = split
        got: Counter[str] = Counter()
        for group, name in given.items():
            if name == split:
                got.update(sizes[group])
        shortfalls += [
            Shortfall(split, name, count, got[name], total)
            for name, total in sorted(totals.items())
            if got[name] != count
        ]
    split_of = {row: given.get(group, "train") for group, rows in enumerate(groups) for row in rows}
    pairs = []
    for row, one in enumerate(kept):
        pair = one.pair
        scene = pair.scene or f"clean-{one.clean_digest[:16]}"
        pairs.append(Pair(pair.id, pair.rainy, pair.clean, pair.type, pair.source, split_of[row], scene))
    return pairs, tuple(shortfalls)


def scene_groups(kept: Sequence[KeptPair], near_bits: int) -> list[list[int]]:
    """Row numbers of pairs that belong together, each once, in the order of their first rows."""
    seen: dict[tuple[str, ...], int] = {}
    pairs = [(seen.setdefault(key, row), row) for row, one in enumerate(kept) for key in _keys(one)]
    hashed = [(row, one.clean_hash) for row, one in enumerate(kept) if one.clean_hash is not None]
    alike = near_groups(np.array([value for _, value in hashed], np.uint64), near_bits)
    pairs += [(hashed[first][0], row) for first, (row, _) in zip(alike.tolist(), hashed, strict=True)]
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    groups: dict[int, list[int]] = defaultdict(list)
    for row, leader in enumerate(connected(len(kept), first, second).tolist()):
        groups[leader].append(row)
    return list(groups.values())


def nearest_sum(sizes: Sequence[int], target: int, most: int) -> list[int]:
    """Places of sizes whose sum is as near to `target` as can be without exceeding `most`; the smaller of two sums.

    Of the ways to the same sum the one that is reached with the fewest leading sizes is taken: earlier ones first.
    """
    last_used: dict[int, int] = {0: -1}
    """Sum -> the first place with which it is reached."""
    limit = min(most, target + max(sizes, default=0))
    for place, size in enumerate(sizes):
        if size <= 0:
            continue
        for total in sorted(last_used, reverse=True):
            if total + size <= limit:
                last_used.setdefault(total + size, place)
        if target in last_used:
            break
    total = min(last_used, key=lambda total: (abs(total - target), total))
    chosen = []
    while total:
        chosen.append(last_used[total])
        total -= sizes[chosen[-1]]
    return sorted(chosen)


def _set_apart(
    sizes: Sequence[Mapping[str, int]], given: Mapping[int, str], totals: Mapping[str, int], count: int, to_share: int
) -> list[int]:
    """Groups for one split; rare types choose first, and types that have chosen are not touched again.

    It may have `count` parts of `to_share` of what is left of half of a type.
    """
    chosen: list[int] = []
    done: set[str] = set()
    for name in sorted(totals, key=lambda name: (totals[name], name)):
        has = sum(sizes[group].get(name, 0) for group in chosen)
        free = [
            group
            for group, held in enumerate(sizes)
            if held.get(name) and group not in given and group not in chosen and not done & set(held)
        ]
        before = sum(sizes[group].get(name, 0) for group in given)
        room = max(0, (totals[name] // 2 - before) * count // max(to_share, 1) - has)
        target = max(0, count - has)
        chosen += [free[place] for place in nearest_sum([sizes[group][name] for group in free], target, room)]
        done.add(name)
    return chosen


def _keys(one: KeptPair) -> list[tuple[str, ...]]:
    keys: list[tuple[str, ...]] = [("clean", one.clean_digest)] if one.clean_digest else []
    return [*keys, ("scene", one.pair.source, one.pair.scene)] if one.pair.scene else keys


def _scene_name(one: KeptPair) -> str:
    return f"{one.pair.source}\0{one.pair.scene}\0{one.clean_digest}"


def _lot(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()
