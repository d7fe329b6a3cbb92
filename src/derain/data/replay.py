"""Replay: samples of earlier data among those of the present data, at a fixed ratio, so that it is not forgotten."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from derain.data.paired import Batch, PairedDataset, PictureCrops
from derain.data.stream import SampleDataset


class ReplayDataset(SampleDataset[PictureCrops, Batch]):
    """Two datasets as one: sample k is the next one of `former` or of `present`.

    Of the first n samples floor(n share) are replayed, so the ratio is exact over time and, where share times the batch
    size is a whole number, in every batch. Each of the two hands out its own samples 0, 1, 2, ... in order: the present
    data is seen as it would be without replay, only less often.

    Args:
        present: the data that is learnt now.
        former: earlier data, or a memory of it; another seed than that of `present` keeps their random numbers apart.
        share: replayed samples among all, in [0, 1).
    """

    def __init__(self, present: PairedDataset, former: PairedDataset, share: float) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"share: wanted a number from 0 to below 1, got {share}")
        self.present = present
        self.former = former
        self.share = Fraction(share).limit_denominator(1_000_000)

    def __getitem__(self, sample: int) -> tuple[Any, bool]:
        """Sample number `sample`, and whether it is replayed."""
        replayed = int(sample * self.share)
        if int((sample + 1) * self.share) > replayed:
            return self.former[replayed], True
        return self.present[sample - replayed], False

    def finish(self, item: tuple[Any, bool]) -> PictureCrops:
        """The sample by its own dataset's rules."""
        content, is_replayed = item
        dataset = self.former if is_replayed else self.present
        return replace(dataset.finish(content), is_replayed=is_replayed)

    def collate(self, crops: Sequence[tuple[PictureCrops, int]]) -> Batch:
        """A batch of one crop of each picture, of both kinds in the order of the slots."""
        return self.present.collate(crops)
