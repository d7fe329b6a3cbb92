"""Which sample is used when: plain arithmetic, so that any step of a run can be reached without replaying the others.

A picture costs much (it is decoded, and rain is rendered), a crop little. So each picture gives `crops_per_picture`
crops, which go into that many successive batches, one into each. A batch has `batch_size` slots; a slot works through
one picture after the other. The slots change their picture at different steps, so that a batch is always a mixture of
fresh and older pictures and the load on the workers is even.

With step s, slot i of B, m crops a picture, and the slot's phase p_i = floor(i m / B):

    n, j = divmod(s + p_i, m)         the slot's n-th picture, the j-th crop of it
    k = n B + i                       the number of that sample in the run
    type = types[k mod T]             so that each type is drawn equally often; where T divides B, in every batch

or, with shares w of the types, type = types[min {t : u_k < (w_1 + ... + w_t) / sum w}], u_k in [0, 1) from seed and k.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Use:
    """What one slot of a batch holds at one step."""

    slot: int
    sample: int
    crop: int


@dataclass(frozen=True)
class Schedule:
    """The arithmetic above."""

    batch_size: int
    crops_per_picture: int

    def uses(self, step: int) -> list[Use]:
        """What each slot holds at `step`, in slot order."""
        return [self._use(step, slot) for slot in range(self.batch_size)]

    def arrivals(self, step: int) -> list[Use]:
        """The uses at `step` that begin a picture; at the step a run starts at, take all `uses` instead."""
        return [use for use in self.uses(step) if use.crop == 0]

    def samples(self, first_step: int, last_step: int, slots: range) -> Iterator[int]:
        """All samples needed in `slots` for the steps first_step <= step < last_step, in the order they are needed."""
        for step in range(first_step, last_step):
            for use in self.uses(step) if step == first_step else self.arrivals(step):
                if use.slot in slots:
                    yield use.sample

    def _use(self, step: int, slot: int) -> Use:
        phase = slot * self.crops_per_picture // self.batch_size
        picture, crop = divmod(step + phase, self.crops_per_picture)
        return Use(slot, picture * self.batch_size + slot, crop)


def type_of_sample(sample: int, types: Sequence[str], shares: Sequence[float] | None = None, seed: int = 0) -> str:
    """The type of a sample: types take turns over the samples, or are drawn by their shares.

    Args:
        sample: its number k.
        types: T names.
        shares: T weights >= 0, not all of them 0; none to take turns.
        seed: of the run; with shares, the type follows from it and k alone.
    """
    if shares is None:
        return types[sample % len(types)]
    # Drawn apart from what the sample itself is made of, whose generator has the seed seed_of_sample(seed, k).
    drawn = (seed_of_sample(seed_of_sample(seed, _TYPE_STREAM), sample) >> 10) / 2**53
    sums = list(accumulate(shares))
    return types[bisect_right(sums, drawn * sums[-1], hi=len(types) - 1)]


_TYPE_STREAM = 2**60
"""A sample number that no run reaches."""


def seed_of_sample(seed: int, sample: int) -> int:
    """A seed in [0, 2^63) that depends on both numbers and scatters neighbours (splitmix64, Steele et al. 2014)."""
    mask = 2**64 - 1
    z = (seed * 0x9E3779B97F4A7C15 + (sample + 1) * 0xD1342543DE82EF95) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 1
