"""Types drawn in proportion to their rows: by the seed and the sample's number alone."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from derain.data.schedule import seed_of_sample, type_of_sample

NAMES = ["drs", "drd", "snow"]


def test_without_shares_types_take_turns_whatever_the_seed() -> None:
    assert [type_of_sample(k, NAMES) for k in range(6)] == NAMES * 2
    assert [type_of_sample(k, NAMES, None, seed=5) for k in range(6)] == NAMES * 2


def test_shares_are_kept_over_time_and_in_every_slot() -> None:
    shares = [600_000.0, 300_000.0, 100_000.0]
    drawn = [type_of_sample(k, NAMES, shares, seed=3) for k in range(40_000)]
    for start, stride in ((0, 1), (0, 8), (5, 8)):  # all samples; those of one slot of a batch of 8
        counts, total = Counter(drawn[start::stride]), len(drawn[start::stride])
        for name, share in zip(NAMES, (0.6, 0.3, 0.1), strict=True):
            assert abs(counts[name] - share * total) < 5 * (share * (1 - share) * total) ** 0.5


@given(st.integers(0, 2**40), st.integers(0, 2**32), st.lists(st.floats(0, 1e9), min_size=3, max_size=3))
def test_a_sample_has_one_type_and_none_without_a_share(sample: int, seed: int, shares: list[float]) -> None:
    if sum(shares) == 0:
        shares[1] = 1.0
    name = type_of_sample(sample, NAMES, shares, seed)
    assert name == type_of_sample(sample, NAMES, shares, seed)
    assert shares[NAMES.index(name)] > 0


def test_type_is_drawn_apart_from_the_sample_itself() -> None:
    high = [seed_of_sample(1, k) >= 2**62 for k in range(20_000)]
    first = [type_of_sample(k, ["a", "b"], [1, 1], seed=1) == "a" for k in range(20_000)]
    agreeing = sum(a == b for a, b in zip(high, first, strict=True))
    assert agreeing == pytest.approx(10_000, abs=5 * 5000**0.5)
