"""Sources, and the stream of batches: the same whatever starts it and however many processes make it."""

from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from derain.data.paired import CLEAN_LABEL, Batch, PairedDataset
from derain.data.schedule import Schedule
from derain.data.sources import Mixture, RainyPicture, WeightedSource
from derain.data.stream import batches
from derain.errors import DatasetError


def brightness_mask(rainy: Tensor, clean: Tensor) -> Tensor:
    return (rainy - clean).abs().mean(dim=1, keepdim=True)


@dataclass(frozen=True)
class FlatSource:
    """Grey pictures: the rainy one brighter than the clean one by a number of 8-bit levels that names the type."""

    levels: dict[str, int]

    @property
    def types(self) -> frozenset[str]:
        return frozenset(self.levels)

    def draw(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        clean = torch.rand(3, 24, 30, generator=generator).mul(100).round() / 255
        return RainyPicture(clean + self.levels[type_name] / 255, clean)


SOURCE = FlatSource({"drs": 10, "snow": 20, "haze": 30})


def dataset(seed: int = 0, clean_fraction: float = 0.0) -> PairedDataset:
    return PairedDataset(SOURCE, sorted(SOURCE.types), seed, 16, 4, clean_fraction, True, brightness_mask)


def collect(workers: int, first: int = 0, last: int = 9, seed: int = 0) -> list[Batch]:
    return list(batches(dataset(seed), Schedule(6, 4), range(6), first, last, workers))


def equal(a: Batch, b: Batch) -> bool:
    return (
        torch.equal(a.rainy, b.rainy)
        and torch.equal(a.clean, b.clean)
        and torch.equal(a.rain_amount, b.rain_amount)
        and a.labels == b.labels
    )


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # torch's advice on machines with few cores
def test_any_number_of_processes_gives_the_same_batches() -> None:
    alone, shared = collect(workers=0), collect(workers=2)
    assert len(alone) == len(shared) == 9
    assert all(equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_stream_begun_in_the_middle_goes_on_alike() -> None:
    whole = collect(workers=0)
    for first in (1, 4, 7):
        assert all(equal(a, b) for a, b in zip(whole[first:], collect(0, first), strict=True))


def test_other_seed_gives_other_batches() -> None:
    assert not torch.equal(collect(0, 0, 1)[0].clean, collect(0, 0, 1, seed=1)[0].clean)


def test_batches_are_balanced_crops_with_their_amount_of_rain() -> None:
    for batch in collect(workers=0):
        assert batch.rainy.shape == batch.clean.shape == (6, 3, 16, 16)
        assert batch.rainy.dtype == torch.float32
        assert Counter(batch.labels) == {"drs": 2, "snow": 2, "haze": 2}
        levels = torch.tensor([SOURCE.levels[label] for label in batch.labels]) / 255
        torch.testing.assert_close(batch.rainy - batch.clean, levels.view(-1, 1, 1, 1).expand(6, 3, 16, 16))
        torch.testing.assert_close(batch.rain_amount, levels)


def test_clean_samples_have_themselves_as_input_and_no_rain() -> None:
    samples = [dataset(clean_fraction=0.25)[number] for number in range(400)]
    clean = [sample for sample in samples if sample.label == CLEAN_LABEL]
    assert abs(len(clean) - 100) < 5 * 75**0.5
    assert all(torch.equal(sample.rainy, sample.clean) and sample.rain_amount == 0 for sample in clean)
    assert not any(torch.equal(sample.rainy, sample.clean) for sample in samples if sample.label != CLEAN_LABEL)


def test_mixture_asks_its_sources_by_weight() -> None:
    dim, bright = FlatSource({"drs": 1}), FlatSource({"drs": 100, "snow": 50})
    mixture = Mixture([WeightedSource(dim, 3.0), WeightedSource(bright, 1.0)], ["drs", "snow"])
    generator = torch.Generator().manual_seed(0)
    shifts = [float((p.rainy - p.clean).mean() * 255) for p in (mixture.draw("drs", generator) for _ in range(400))]
    assert abs(sum(shift > 50 for shift in shifts) - 100) < 5 * 75**0.5
    picture = mixture.draw("snow", generator)
    assert float((picture.rainy - picture.clean).mean() * 255) == pytest.approx(50, abs=0.01)


def test_mixture_without_a_wanted_type_is_refused() -> None:
    with pytest.raises(DatasetError, match="type 'hail' is in none of the sources, they have drs, haze, snow"):
        Mixture([WeightedSource(SOURCE, 1.0)], ["drs", "hail"])
    with pytest.raises(DatasetError, match="type 'drs' is in none"):
        Mixture([WeightedSource(SOURCE, 0.0)], ["drs"])


def test_a_mixture_tells_where_a_type_is_only_in_sources_without_weight() -> None:
    with pytest.raises(
        DatasetError, match="type 'drs' is in none of the sources that have a weight, they have nothing"
    ):
        Mixture([WeightedSource(SOURCE, 0.0)], ["drs"])
