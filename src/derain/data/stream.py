"""A stream of training batches that any number of worker processes makes alike and that starts at any step.

`CropDataset[k]` makes sample k: everything in it follows from the run's seed and k. `batches` puts samples together
after the `Schedule`.
"""

import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from derain.data.crops import CropPlan, cut_crops, plan_crops
from derain.data.scene import DryScene
from derain.data.schedule import Schedule, seed_of_sample, type_of_sample
from derain.data.sources import RainyPicture, Source

CLEAN_LABEL = "clean"
"""The label of samples whose input is the clean picture itself."""

RainMask = Callable[[Tensor, Tensor], Tensor]
"""(rainy, clean), both (B, 3, H, W), to the amount of rain at each pixel, (B, 1, H, W) in [0, 1]."""


@dataclass(frozen=True)
class PictureCrops:
    """One sample: m crops of one picture, as 8-bit integers, which is what a camera delivers and travels quickly."""

    rainy: Tensor
    """(m, 3, P, P) uint8."""
    clean: Tensor
    """(m, 3, P, P) uint8."""
    rain_amount: float
    """Mean of the rain mask over the whole picture that the crops were cut from."""
    label: str
    """The type's name, or `CLEAN_LABEL`."""


@dataclass(frozen=True)
class DeferredCrops:
    """One sample on which weather is still to be simulated, by whoever takes it in."""

    scene: DryScene
    plans: tuple[CropPlan, ...]
    label: str
    """The type's name, or `CLEAN_LABEL`."""


Simulate = Callable[[DryScene], RainyPicture]
"""Weather on a clean square; the pictures may lie on any device."""


@dataclass(frozen=True)
class Batch:
    """One crop each from B pictures."""

    rainy: Tensor
    """(B, 3, P, P) float32 in [0, 1]."""
    clean: Tensor
    """(B, 3, P, P) float32 in [0, 1]."""
    rain_amount: Tensor
    """(B,) float32: mean of the rain mask over each whole picture."""
    labels: tuple[str, ...]
    """B names: types, or `CLEAN_LABEL`."""

    def parts(self, count: int) -> list["Batch"]:
        """The batch in `count` equal parts, in order; the number of samples must be a multiple of it."""
        size = len(self.labels) // count
        cuts = [slice(start, start + size) for start in range(0, len(self.labels), size)]
        return [Batch(self.rainy[c], self.clean[c], self.rain_amount[c], self.labels[c]) for c in cuts]

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(
            self.rainy.to(device, non_blocking=True),
            self.clean.to(device, non_blocking=True),
            self.rain_amount.to(device, non_blocking=True),
            self.labels,
        )


class CropDataset(Dataset[PictureCrops | DeferredCrops]):
    """Sample k of a run, for any k >= 0.

    Args:
        source: draws the pictures; must have all `types`.
        types: names of the types.
        seed: of the run.
        crop: side P of the crops in pixels.
        crops_per_picture: crops m cut from each picture.
        clean_fraction: the share of samples whose input is the clean picture itself.
        turn: whether crops are turned and flipped in all eight ways, or only mirrored.
        rain_mask: measures the amount of rain in a picture.
        defers: whether weather is left to be simulated by `batches`, on samples that are simulated at all.
    """

    def __init__(
        self,
        source: Source,
        types: Sequence[str],
        seed: int,
        crop: int,
        crops_per_picture: int,
        clean_fraction: float,
        turn: bool,
        rain_mask: RainMask,
        type_shares: Sequence[float] | None = None,
        defers: bool = False,
    ) -> None:
        self.source = source
        self.types = tuple(types)
        self.seed = seed
        self.crop = crop
        self.crops_per_picture = crops_per_picture
        self.clean_fraction = clean_fraction
        self.turn = turn
        self.rain_mask = rain_mask
        self.type_shares = None if type_shares is None else tuple(type_shares)
        self.defers = defers

    def __getitem__(self, sample: int) -> PictureCrops | DeferredCrops:
        """Sample number `sample`.

        Raises:
            DatasetError, ImageError: its picture cannot be read or is too small; named in the message.
        """
        generator = torch.Generator().manual_seed(seed_of_sample(self.seed, sample))
        type_name = type_of_sample(sample, self.types, self.type_shares, self.seed)
        stays_clean = float(torch.rand(1, generator=generator)) < self.clean_fraction
        label = CLEAN_LABEL if stays_clean else type_name
        drawn = self.source.prepare(type_name, generator) if self.defers else self.source.draw(type_name, generator)
        height, width = drawn.clean.shape[-2:]
        plans = plan_crops(height, width, self.crop, self.crops_per_picture, generator, self.turn)
        if isinstance(drawn, DryScene):
            return DeferredCrops(drawn, plans, label)
        return self.cut(drawn, plans, label)

    def cut(self, picture: RainyPicture, plans: Sequence[CropPlan], label: str) -> PictureCrops:
        """The planned crops of a picture, on its device."""
        rainy = picture.clean if label == CLEAN_LABEL else picture.rainy
        mask = self.rain_mask(rainy.unsqueeze(0), picture.clean.unsqueeze(0))
        crops = [cut_crops(_to_bytes(image), plans) for image in (rainy, picture.clean)]
        return PictureCrops(crops[0], crops[1], float(mask.mean()), label)


def batches(
    dataset: CropDataset,
    schedule: Schedule,
    slots: range,
    first_step: int,
    last_step: int,
    workers: int,
    simulate: Simulate | None = None,
) -> Generator[Batch, None, None]:
    """The batches of the steps first_step <= step < last_step; the same ones whatever the number of workers.

    Of each batch only the given slots, so that several processes can each make their share of it.
    `simulate` is needed where the dataset defers; its pictures stay on the device that it puts them on.
    Memory: about `3 x len(slots) x crops_per_picture` pairs of crops, a byte a value.
    """
    samples = _Samples(schedule, slots, first_step, last_step)
    loader: DataLoader[PictureCrops | DeferredCrops] = DataLoader(
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
    pictures = iter(loader)
    held: dict[int, PictureCrops] = {}
    for step in range(first_step, last_step):
        uses = schedule.uses(step)[slots.start : slots.stop]
        for use in uses:
            if step == first_step or use.crop == 0:
                held[use.slot] = _finish(dataset, next(pictures), simulate)
        present = [(held[use.slot], use.crop) for use in uses]
        yield Batch(
            rainy=_to_unit([picture.rainy[crop] for picture, crop in present]),
            clean=_to_unit([picture.clean[crop] for picture, crop in present]),
            rain_amount=torch.tensor([picture.rain_amount for picture, _ in present]),
            labels=tuple(picture.label for picture, _ in present),
        )


class _Samples(Sampler[int]):
    """The schedule's samples for some slots in the order they are needed."""

    def __init__(self, schedule: Schedule, slots: range, first_step: int, last_step: int) -> None:
        self.schedule = schedule
        self.slots = slots
        self.first_step = first_step
        self.last_step = last_step

    def __iter__(self) -> Iterator[int]:
        return self.schedule.samples(self.first_step, self.last_step, self.slots)


def _as_is(picture: Any) -> Any:
    """Samples are not stacked by the loader; torch types this hook as taking a list."""
    return picture


def _finish(dataset: CropDataset, item: PictureCrops | DeferredCrops, simulate: Simulate | None) -> PictureCrops:
    """Crops to keep: in plain memory, for what a worker sent lies in shared memory, where each piece holds a file."""
    if isinstance(item, PictureCrops):
        return PictureCrops(item.rainy.clone(), item.clean.clone(), item.rain_amount, item.label)
    assert simulate is not None  # given with a dataset that defers
    return dataset.cut(simulate(item.scene), item.plans, item.label)


def _to_bytes(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round_().to(torch.uint8)


def _to_unit(crops: Sequence[Tensor]) -> Tensor:
    """Crops of bytes as one batch in [0, 1], on the device of the first that is not in plain memory."""
    device = next((crop.device for crop in crops if crop.device.type != "cpu"), crops[0].device)
    return torch.stack([crop.to(device) for crop in crops]).to(torch.float32).div_(255)


def _ignore_signals(_worker: int) -> None:
    """The parent decides when to stop: it finishes its step and saves first, for which it needs its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
