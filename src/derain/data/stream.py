"""A stream of training batches that any number of worker processes makes alike and that starts at any step.

`dataset[k]` is sample k: everything in it follows from the run's seed and k. `batches` puts crops of samples together
as the `Schedule` says. What a sample is and what a batch of crops looks like is the dataset's: pairs
(`derain.data.paired`), unpaired pictures (`derain.data.unpaired`), replay of earlier data (`derain.data.replay`).
"""

import signal
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from derain.data.schedule import Schedule

SampleT = TypeVar("SampleT")
BatchT = TypeVar("BatchT")


class SampleDataset(Dataset[Any], ABC, Generic[SampleT, BatchT]):
    """Samples of a run by number, and batches of their crops. Workers get a copy, so a dataset can be pickled."""

    @abstractmethod
    def __getitem__(self, sample: int) -> Any:
        """Sample number `sample` >= 0 with all its crops; it follows from the seed and this number. Runs in a worker.

        Raises:
            DatasetError, ImageError: a picture cannot be used; named in the message.
        """

    @abstractmethod
    def finish(self, item: Any) -> SampleT:
        """What `__getitem__` gave, ready to be kept in the training process: copied out of shared memory, simulated."""

    @abstractmethod
    def collate(self, crops: Sequence[tuple[SampleT, int]]) -> BatchT:
        """One batch of a crop each of some samples; it has `to(device)`, which gives the same on another device."""


def batches(
    dataset: SampleDataset[SampleT, BatchT],
    schedule: Schedule,
    slots: range,
    first_step: int,
    last_step: int,
    workers: int,
) -> Generator[BatchT, None, None]:
    """The batches of the steps first_step <= step < last_step; the same ones whatever the number of workers.

    Of each batch only the given slots, so that several processes can each make their share of it.
    Memory: about `3 x len(slots)` samples with all their crops.
    """
    samples = _Samples(schedule, slots, first_step, last_step)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=None,
        sampler=samples,
        num_workers=workers,
        collate_fn=_as_is,
        # Else the loader draws a seed from torch's own generator, which a resumed run must find as it was.
        generator=torch.Generator(),
        worker_init_fn=_ignore_signals if workers else None,
        prefetch_factor=max(2, len(slots) // workers) if workers else None,
        # A forked copy of a process that runs threads (torch, TensorBoard, the progress display) may hang.
        multiprocessing_context="spawn" if workers else None,
    )
    items = iter(loader)
    current: dict[int, SampleT] = {}
    for step in range(first_step, last_step):
        uses = schedule.uses(step)[slots.start : slots.stop]
        for use in uses:
            if step == first_step or use.crop == 0:
                current[use.slot] = dataset.finish(next(items))
        yield dataset.collate([(current[use.slot], use.crop) for use in uses])


def to_bytes(image: Tensor) -> Tensor:
    """A picture in [0, 1] as 8-bit integers, which is what a camera delivers and what travels quickly."""
    return (image.clamp(0, 1) * 255).round_().to(torch.uint8)


def stack_unit(crops: Sequence[Tensor]) -> Tensor:
    """8-bit crops as one batch in [0, 1], on the device of the first that is not in plain memory."""
    device = next((crop.device for crop in crops if crop.device.type != "cpu"), crops[0].device)
    return torch.stack([crop.to(device) for crop in crops]).to(torch.float32).div_(255)


class _Samples(Sampler[int]):
    """The schedule's samples for some slots in the order they are needed."""

    def __init__(self, schedule: Schedule, slots: range, first_step: int, last_step: int) -> None:
        self.schedule = schedule
        self.slots = slots
        self.first_step = first_step
        self.last_step = last_step

    def __iter__(self) -> Iterator[int]:
        return self.schedule.samples(self.first_step, self.last_step, self.slots)


def _as_is(item: Any) -> Any:
    """Samples are not stacked by the loader; torch types this hook as taking a list."""
    return item


def _ignore_signals(_worker: int) -> None:
    """The parent decides when to stop: it finishes its step and saves first, for which it needs its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
