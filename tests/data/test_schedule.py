"""The arithmetic of who is used when."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from derain.data.schedule import Schedule, seed_of_sample, type_of_sample


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 100))
def test_stream_from_any_step_brings_what_each_batch_uses(batch_size: int, crops: int, first: int) -> None:
    schedule = Schedule(batch_size, crops)
    pictures = schedule.samples(first, first + 30, range(schedule.batch_size))
    held: dict[int, int] = {}
    for step in range(first, first + 30):
        for use in schedule.uses(step) if step == first else schedule.arrivals(step):
            held[use.slot] = next(pictures)
        assert [held[use.slot] for use in schedule.uses(step)] == [use.sample for use in schedule.uses(step)]
    assert next(pictures, None) is None


def test_each_crop_of_each_picture_is_used_once_and_never_twice_in_a_batch() -> None:
    schedule = Schedule(batch_size=6, crops_per_picture=4)
    uses = [(use.sample, use.crop) for step in range(4, 400) for use in schedule.uses(step)]
    assert len(set(uses)) == len(uses)
    per_picture = Counter(sample for sample, _ in uses)
    whole = [count for sample, count in per_picture.items() if 12 <= sample < 580]
    assert set(whole) == {4}
    assert all(len({use.sample for use in schedule.uses(step)}) == 6 for step in range(50))


def test_load_is_spread_over_the_steps() -> None:
    schedule = Schedule(batch_size=32, crops_per_picture=10)
    arrivals = [len(schedule.arrivals(step)) for step in range(1, 101)]
    assert sum(arrivals) == 320
    assert set(arrivals) <= {3, 4}


@pytest.mark.parametrize(("batch_size", "types"), [(8, 4), (32, 4), (6, 2), (9, 3)])
def test_every_batch_has_each_type_equally_often(batch_size: int, types: int) -> None:
    names = [f"type {number}" for number in range(types)]
    schedule = Schedule(batch_size, crops_per_picture=5)
    for step in range(40):
        counts = Counter(type_of_sample(use.sample, names) for use in schedule.uses(step))
        assert set(counts.values()) == {batch_size // types}
        assert len(counts) == types


@pytest.mark.parametrize(("batch_size", "types"), [(5, 4), (6, 4), (1, 3), (8, 3)])
def test_types_are_balanced_over_time_where_they_do_not_divide_the_batch(batch_size: int, types: int) -> None:
    names = [f"type {number}" for number in range(types)]
    schedule = Schedule(batch_size, crops_per_picture=3)
    counts = Counter(type_of_sample(use.sample, names) for step in range(1200) for use in schedule.uses(step))
    assert len(counts) == types
    assert max(counts.values()) - min(counts.values()) <= 2 * 3 * batch_size


def test_seeds_differ_between_samples_and_between_runs() -> None:
    seeds = {seed_of_sample(run, sample) for run in range(20) for sample in range(5000)}
    assert len(seeds) == 100_000
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    low = Counter(seed % 16 for seed in seeds)  # torch's generator looks at the low 32 bits only
    assert all(abs(count - 6250) < 5 * 6250**0.5 for count in low.values())
