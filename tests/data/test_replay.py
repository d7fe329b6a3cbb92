"""Replay: earlier samples among the present ones, at an exact ratio, the same for any start and any process."""

import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from derain.data.paired import Batch, PairedDataset
from derain.data.pending import PendingSimulation
from derain.data.replay import ReplayDataset
from derain.data.schedule import Schedule
from derain.data.sources import RainyPicture
from derain.data.stream import batches


def difference(rainy: Tensor, clean: Tensor) -> Tensor:
    return (rainy - clean).abs().mean(dim=1, keepdim=True)


def simulate(scene: PendingSimulation) -> RainyPicture:
    clean = scene.clean.float() / 255
    return RainyPicture(clean + scene.seed / 255, clean)


@dataclass(frozen=True)
class FlatSource:
    """Noise, brighter in the rainy picture by a number of 8-bit levels; it can leave that pending."""

    type_name: str
    level: int

    @property
    def types(self) -> frozenset[str]:
        return frozenset([self.type_name])

    def draw(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        return simulate(self.prepare(type_name, generator))

    def prepare(self, type_name: str, generator: torch.Generator) -> PendingSimulation:
        clean = torch.rand(3, 24, 30, generator=generator).mul(100).to(torch.uint8)
        return PendingSimulation(clean, type_name, False, self.level)


def paired(name: str, level: int, seed: int, in_trainer: bool = False) -> PairedDataset:
    source = FlatSource(name, level)
    pending = simulate if in_trainer else None
    return PairedDataset(source, [name], seed, 16, 2, 0.0, True, difference, simulate=pending)


def replaying(share: float, in_trainer: bool = False) -> ReplayDataset:
    return ReplayDataset(paired("now", 30, 1, in_trainer), paired("then", 60, 2), share)


def stream(dataset: ReplayDataset, first: int = 0) -> list[Batch]:
    return list(batches(dataset, Schedule(4, 2), range(4), first, 10, 0))


@pytest.mark.parametrize(("share", "replayed"), [(0.5, 2), (0.25, 1)])
def test_every_batch_has_its_share_of_replayed_samples(share: float, replayed: int) -> None:
    for batch in stream(replaying(share)):
        assert sum(batch.is_replayed) == replayed
        labels = tuple("then" if flag else "now" for flag in batch.is_replayed)
        assert batch.labels == labels
        levels = torch.tensor([60 if flag else 30 for flag in batch.is_replayed]) / 255
        torch.testing.assert_close((batch.rainy - batch.clean).mean(dim=(1, 2, 3)), levels)
        assert [part.is_replayed for part in batch.parts(2)] == [batch.is_replayed[:2], batch.is_replayed[2:]]


@pytest.mark.parametrize("share", [0.1, 0.3, 1 / 3, 0.9])
def test_the_ratio_is_exact_over_time_and_no_sample_is_left_out(share: float) -> None:
    dataset = replaying(share)
    for total in (10, 30, 90):
        flags = [dataset[number][1] for number in range(total)]
        assert abs(sum(flags) - share * total) < 1
    present = [dataset[number][0] for number in range(20) if not dataset[number][1]]
    alone = paired("now", 30, 1)
    assert all(torch.equal(sample.rainy, alone[number].rainy) for number, sample in enumerate(present))


def test_samples_are_the_same_in_every_process_wherever_a_stream_begins_and_rain_is_simulated() -> None:
    whole = stream(replaying(0.5))
    others = [stream(replaying(0.5), 3), stream(pickle.loads(pickle.dumps(replaying(0.5))), 3)]
    others.append(stream(replaying(0.5, in_trainer=True), 3))
    for other in others:
        for one, two in zip(whole[3:], other, strict=True):
            assert torch.equal(one.rainy, two.rainy)
            assert torch.equal(one.clean, two.clean)
            assert (one.labels, one.is_replayed) == (two.labels, two.is_replayed)


def test_a_share_of_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="share: wanted a number from 0 to below 1, got 1"):
        replaying(1.0)
