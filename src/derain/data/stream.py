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

from derain.data.crops import joint_crops
from derain.data.schedule import Schedule, seed_of_sample, type_of_sample
from derain.data.sources import Source

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

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(
            self.rainy.to(device, non_blocking=True),
            self.clean.to(device, non_blocking=True),
            self.rain_amount.to(device, non_blocking=True),
            self.labels,
        )


class CropDataset(Dataset[PictureCrops]):
    """Sample k of a run, for any k >= 0.

    Args:
        source: draws the pictures; must have all `types`.
        types: names of the types, which take turns.
        seed: of the run.
        crop: side P of the crops in pixels.
        crops_per_picture: crops m cut from each picture.
        clean_fraction: the share of samples whose input is the clean picture itself.
        turn: whether crops are turned and flipped in all eight ways, or only mirrored.
        rain_mask: measures the amount of rain in a picture.
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
    ) -> None:
        self.source = source
        self.types = tuple(types)
        self.seed = seed
        self.crop = crop
        self.crops_per_picture = crops_per_picture
        self.clean_fraction = clean_fraction
        self.turn = turn
        self.rain_mask = rain_mask

    def __getitem__(self, sample: int) -> PictureCrops:
        """Sample number `sample`.

        Raises:
            DatasetError, ImageError: its picture cannot be read or is too small; named in the message.
        """
        generator = torch.Generator().manual_seed(seed_of_sample(self.seed, sample))
        label = type_of_sample(sample, self.types)
        stays_clean = float(torch.rand(1, generator=generator)) < self.clean_fraction
        picture = self.source.draw(label, generator)
        rainy = picture.clean if stays_clean else picture.rainy
        mask = self.rain_mask(rainy.unsqueeze(0), picture.clean.unsqueeze(0))
        crops = joint_crops(
            [_to_bytes(rainy), _to_bytes(picture.clean)], self.crop, self.crops_per_picture, generator, self.turn
        )
        return PictureCrops(crops[0], crops[1], float(mask.mean()), CLEAN_LABEL if stays_clean else label)


def batches(
    dataset: CropDataset, schedule: Schedule, first_step: int, last_step: int, workers: int
) -> Generator[Batch, None, None]:
    """The batches of the steps first_step <= step < last_step; the same ones whatever the number of workers.

    Memory: about `3 x batch_size x crops_per_picture` pairs of crops, a byte a value.
    """
    samples = _Samples(schedule, first_step, last_step)
    loader: DataLoader[PictureCrops] = DataLoader(
        dataset,
        batch_size=None,
        sampler=samples,
        num_workers=workers,
        collate_fn=_as_is,
        # Else the loader draws a seed from torch's own generator, which a resumed run must find as it was.
        generator=torch.Generator(),
        worker_init_fn=_ignore_signals if workers else None,
        prefetch_factor=max(2, schedule.batch_size // workers) if workers else None,
        # A forked copy of a process that runs threads (torch, TensorBoard, the progress display) may hang.
        multiprocessing_context="spawn" if workers else None,
    )
    pictures = iter(loader)
    held: list[PictureCrops | None] = [None] * schedule.batch_size
    for step in range(first_step, last_step):
        uses = schedule.uses(step)
        for use in uses:
            if step == first_step or use.crop == 0:
                held[use.slot] = _own(next(pictures))
        present = [(picture, use.crop) for picture, use in zip(held, uses, strict=True) if picture is not None]
        yield Batch(
            rainy=_to_unit(torch.stack([picture.rainy[crop] for picture, crop in present])),
            clean=_to_unit(torch.stack([picture.clean[crop] for picture, crop in present])),
            rain_amount=torch.tensor([picture.rain_amount for picture, _ in present]),
            labels=tuple(picture.label for picture, _ in present),
        )


class _Samples(Sampler[int]):
    """The schedule's samples in the order they are needed."""

    def __init__(self, schedule: Schedule, first_step: int, last_step: int) -> None:
        self.schedule = schedule
        self.first_step = first_step
        self.last_step = last_step

    def __iter__(self) -> Iterator[int]:
        return self.schedule.samples(self.first_step, self.last_step)


def _as_is(picture: Any) -> Any:
    """Samples are not stacked by the loader; torch types this hook as taking a list."""
    return picture


def _own(picture: PictureCrops) -> PictureCrops:
    """A copy in plain memory: what a worker sent lies in shared memory, of which each piece holds a file open."""
    return PictureCrops(picture.rainy.clone(), picture.clean.clone(), picture.rain_amount, picture.label)


def _to_bytes(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round_().to(torch.uint8)


def _to_unit(pixels: Tensor) -> Tensor:
    return pixels.to(torch.float32).div_(255)


def _ignore_signals(_worker: int) -> None:
    """The parent decides when to stop: it finishes its step and saves first, for which it needs its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
