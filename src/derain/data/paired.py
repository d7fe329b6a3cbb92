"""Samples of pairs: crops of a rainy picture and of the same places in its clean partner."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from derain.data.crops import CropPlan, cut_crops, plan_crops
from derain.data.pending import PendingSimulation
from derain.data.schedule import seed_of_sample, type_of_sample
from derain.data.sources import RainyPicture, Source
from derain.data.stream import SampleDataset, stack_unit, to_bytes

CLEAN_LABEL = "clean"
"""The label of samples whose input is the clean picture itself."""

RainMask = Callable[[Tensor, Tensor], Tensor]
"""(rainy, clean), both (B, 3, H, W), to the amount of rain at each pixel, (B, 1, H, W) in [0, 1]."""

Simulate = Callable[[PendingSimulation], RainyPicture]
"""Simulates weather on a clean square; the pictures may lie on any device."""


@dataclass(frozen=True)
class PictureCrops:
    """One sample: m crops of one picture, as 8-bit integers."""

    rainy: Tensor
    """(m, 3, P, P) uint8."""
    clean: Tensor
    """(m, 3, P, P) uint8."""
    rain_amount: float
    """Mean of the rain mask over the whole picture that the crops were cut from."""
    label: str
    """The type's name, or `CLEAN_LABEL`."""
    is_replayed: bool = False
    """Whether it is of earlier data."""


@dataclass(frozen=True)
class PendingCrops:
    """One sample whose weather is still to be simulated."""

    scene: PendingSimulation
    plans: tuple[CropPlan, ...]
    label: str
    """The type's name, or `CLEAN_LABEL`."""


@dataclass(frozen=True)
class Batch:
    """One crop each from B pairs."""

    rainy: Tensor
    """(B, 3, P, P) float32 in [0, 1]."""
    clean: Tensor
    """(B, 3, P, P) float32 in [0, 1]."""
    rain_amount: Tensor
    """(B,) float32: mean of the rain mask over each whole picture."""
    labels: tuple[str, ...]
    """B names: types, or `CLEAN_LABEL`."""
    is_replayed: tuple[bool, ...] = ()
    """Which samples are of earlier data; empty where there is no replay."""

    def parts(self, count: int) -> list["Batch"]:
        """The batch in `count` equal parts, in order; the number of samples must be a multiple of it."""
        size = len(self.labels) // count
        cuts = [slice(start, start + size) for start in range(0, len(self.labels), size)]
        return [
            Batch(self.rainy[c], self.clean[c], self.rain_amount[c], self.labels[c], self.is_replayed[c]) for c in cuts
        ]

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(
            self.rainy.to(device, non_blocking=True),
            self.clean.to(device, non_blocking=True),
            self.rain_amount.to(device, non_blocking=True),
            self.labels,
            self.is_replayed,
        )


class PairedDataset(SampleDataset[PictureCrops, Batch]):
    """Crops of pairs that a source draws, the types in turn or by their shares.

    Args:
        source: draws the pictures; must have all `types`.
        types: names of the types.
        seed: of the run.
        crop: side P of the crops in pixels.
        crops_per_picture: crops m cut from each picture.
        clean_fraction: the share of samples whose input is the clean picture itself.
        turn: whether crops are turned and flipped in all eight ways, or only mirrored.
        rain_mask: measures the amount of rain in a picture.
        type_shares: how often each type is drawn; none to take turns.
        simulate: simulates weather in the training process, for sources that can leave it pending; none to have it
            simulated in the workers.
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
        simulate: Simulate | None = None,
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
        self.simulate = simulate

    def __getitem__(self, sample: int) -> PictureCrops | PendingCrops:
        """Sample number `sample`.

        Raises:
            DatasetError, ImageError: its picture cannot be read or is too small; named in the message.
        """
        generator = torch.Generator().manual_seed(seed_of_sample(self.seed, sample))
        type_name = type_of_sample(sample, self.types, self.type_shares, self.seed)
        stays_clean = float(torch.rand(1, generator=generator)) < self.clean_fraction
        label = CLEAN_LABEL if stays_clean else type_name
        draw = self.source.draw if self.simulate is None else self.source.prepare
        drawn = draw(type_name, generator)
        height, width = drawn.clean.shape[-2:]
        plans = plan_crops(height, width, self.crop, self.crops_per_picture, generator, self.turn)
        if isinstance(drawn, PendingSimulation):
            return PendingCrops(drawn, plans, label)
        return self._cut(drawn, plans, label)

    def finish(self, item: PictureCrops | PendingCrops) -> PictureCrops:
        """Crops in plain memory, for what a worker sent lies in shared memory, where each piece holds a file open."""
        if isinstance(item, PictureCrops):
            return PictureCrops(item.rainy.clone(), item.clean.clone(), item.rain_amount, item.label, item.is_replayed)
        assert self.simulate is not None  # nothing is left pending otherwise
        return self._cut(self.simulate(item.scene), item.plans, item.label)

    def collate(self, crops: Sequence[tuple[PictureCrops, int]]) -> Batch:
        """A batch of one crop of each picture."""
        return Batch(
            rainy=stack_unit([picture.rainy[crop] for picture, crop in crops]),
            clean=stack_unit([picture.clean[crop] for picture, crop in crops]),
            rain_amount=torch.tensor([picture.rain_amount for picture, _ in crops]),
            labels=tuple(picture.label for picture, _ in crops),
            is_replayed=tuple(picture.is_replayed for picture, _ in crops),
        )

    def _cut(self, picture: RainyPicture, plans: Sequence[CropPlan], label: str) -> PictureCrops:
        """The planned crops of a picture, on its device."""
        rainy = picture.clean if label == CLEAN_LABEL else picture.rainy
        mask = self.rain_mask(rainy.unsqueeze(0), picture.clean.unsqueeze(0))
        crops = [cut_crops(to_bytes(image), plans) for image in (rainy, picture.clean)]
        return PictureCrops(crops[0], crops[1], float(mask.mean()), label)
