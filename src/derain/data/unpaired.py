"""Unpaired pictures: rainy ones and clean ones of other scenes, drawn independently and each cropped on its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from derain.data.crops import CropPlan, cut_crops, plan_crops
from derain.data.schedule import seed_of_sample, type_of_sample
from derain.data.stream import SampleDataset, stack_unit, to_bytes
from derain.data.table import PairRows
from derain.errors import DatasetError
from derain.imaging.io import read_image


@dataclass(frozen=True)
class RainyRows:
    """Rows of a manifest, of which the rainy column is read; the clean column may be empty."""

    rows: PairRows
    weight: float
    """How often they are asked for a picture, relative to the other manifests that have the type."""


class Files(Protocol):
    """Files by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Path: ...


@dataclass(frozen=True)
class CleanFiles:
    """Clean pictures: photographs of an index, or the clean column of a manifest."""

    files: Files
    weight: float
    """How often they are asked for a picture, relative to the others."""


class CleanColumn:
    """The clean pictures of a manifest's rows, of which only row numbers are held in memory."""

    def __init__(self, rows: PairRows) -> None:
        numbers = np.concatenate([np.zeros(0, np.int64), *(rows.of_type(name) for name in rows.names)])
        self._table = rows.table
        self._numbers = np.sort(numbers[~rows.table.lacks_clean()[numbers]])

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int, /) -> Path:
        clean = self._table[int(self._numbers[index])].clean
        assert clean is not None  # rows without were left out
        return clean


class UnpairedSource:
    """Draws rainy pictures of a type, and clean pictures, with replacement; neither knows of the other.

    Raises:
        DatasetError: a wanted type has no rainy picture, or there is no clean one.
    """

    def __init__(self, rainy: Sequence[RainyRows], clean: Sequence[CleanFiles], types: Sequence[str]) -> None:
        self._rainy: dict[str, list[PairRows]] = {}
        self._weights: dict[str, Tensor] = {}
        for name in types:
            having = [entry for entry in rainy if entry.weight > 0 and name in entry.rows.types]
            if not having:
                known = sorted({name for entry in rainy if entry.weight > 0 for name in entry.rows.types})
                raise DatasetError(
                    f"no manifest has rainy pictures of type {name!r}, they have {', '.join(known) or 'nothing'}; "
                    "add a manifest that has them or take the type out of data.types"
                )
            self._rainy[name] = [entry.rows for entry in having]
            self._weights[name] = torch.tensor([entry.weight for entry in having], dtype=torch.float64)
        having_clean = [entry for entry in clean if entry.weight > 0 and len(entry.files)]
        if not having_clean:
            raise DatasetError(
                "wanted clean pictures to learn from, got none; give an index of photographs (data.photos) or a "
                "manifest whose column clean is filled"
            )
        self._clean = [entry.files for entry in having_clean]
        self._clean_weights = torch.tensor([entry.weight for entry in having_clean], dtype=torch.float64)

    @property
    def types(self) -> frozenset[str]:
        """The types of rainy pictures."""
        return frozenset(self._rainy)

    def draw_rainy(self, type_name: str, generator: torch.Generator) -> Path:
        """Where a rainy picture of the type lies."""
        rows = self._rainy[type_name][_chosen(self._weights[type_name], generator)]
        numbers = rows.of_type(type_name)
        return rows.table[int(numbers[_below(len(numbers), generator)])].rainy

    def draw_clean(self, generator: torch.Generator) -> Path:
        """Where a clean picture lies."""
        files = self._clean[_chosen(self._clean_weights, generator)]
        return files[_below(len(files), generator)]


@dataclass(frozen=True)
class UnpairedCrops:
    """One sample: m crops of a rainy picture and m crops of a clean one, as 8-bit integers."""

    rainy: Tensor
    """(m, 3, P, P) uint8."""
    clean: Tensor
    """(m, 3, P, P) uint8, of another picture."""
    file: Path
    """Where the rainy picture lies."""
    plans: tuple[CropPlan, ...]
    """The crops of the rainy picture."""
    label: str
    """The type of its rain."""


@dataclass(frozen=True)
class UnpairedBatch:
    """One crop each from B rainy and from B clean pictures; place i of one has nothing to do with place i of the other.

    A method that keeps something for each rainy picture, such as its best result so far, finds it by `files` and cuts
    it as the picture was cut by `plans`.
    """

    rainy: Tensor
    """(B, 3, P, P) float32 in [0, 1]."""
    clean: Tensor
    """(B, 3, P, P) float32 in [0, 1]."""
    labels: tuple[str, ...]
    """B names: the types of the rainy pictures."""
    files: tuple[Path, ...]
    """Where the B rainy pictures lie."""
    plans: tuple[CropPlan, ...]
    """How the B rainy crops were cut from them."""

    def parts(self, count: int) -> list["UnpairedBatch"]:
        """The batch in `count` equal parts, in order; the number of samples must be a multiple of it."""
        size = len(self.labels) // count
        cuts = [slice(start, start + size) for start in range(0, len(self.labels), size)]
        return [UnpairedBatch(self.rainy[c], self.clean[c], self.labels[c], self.files[c], self.plans[c]) for c in cuts]

    def to(self, device: torch.device) -> "UnpairedBatch":
        """The same on another device."""
        rainy, clean = self.rainy.to(device, non_blocking=True), self.clean.to(device, non_blocking=True)
        return UnpairedBatch(rainy, clean, self.labels, self.files, self.plans)


class UnpairedDataset(SampleDataset[UnpairedCrops, UnpairedBatch]):
    """Crops of rainy and of clean pictures; the types of rain in turn or by their shares.

    Args:
        source: names the pictures; must have all `types`.
        types: names of the types.
        seed: of the run.
        crop: side P of the crops in pixels.
        crops_per_picture: crops m cut from each picture.
        turn: whether crops are turned and flipped in all eight ways, or only mirrored.
        type_shares: how often each type is drawn; none to take turns.
    """

    def __init__(
        self,
        source: UnpairedSource,
        types: Sequence[str],
        seed: int,
        crop: int,
        crops_per_picture: int,
        turn: bool,
        type_shares: Sequence[float] | None = None,
    ) -> None:
        self.source = source
        self.types = tuple(types)
        self.seed = seed
        self.crop = crop
        self.crops_per_picture = crops_per_picture
        self.turn = turn
        self.type_shares = None if type_shares is None else tuple(type_shares)

    def __getitem__(self, sample: int) -> UnpairedCrops:
        """Sample number `sample`.

        Raises:
            DatasetError, ImageError: one of its pictures cannot be read or is too small; named in the message.
        """
        generator = torch.Generator().manual_seed(seed_of_sample(self.seed, sample))
        label = type_of_sample(sample, self.types, self.type_shares, self.seed)
        file = self.source.draw_rainy(label, generator)
        rainy, plans = self._crops(file, generator)
        clean, _ = self._crops(self.source.draw_clean(generator), generator)
        return UnpairedCrops(rainy, clean, file, plans, label)

    def finish(self, item: UnpairedCrops) -> UnpairedCrops:
        """Crops in plain memory, for what a worker sent lies in shared memory, where each piece holds a file open."""
        return UnpairedCrops(item.rainy.clone(), item.clean.clone(), item.file, item.plans, item.label)

    def collate(self, crops: Sequence[tuple[UnpairedCrops, int]]) -> UnpairedBatch:
        """A batch of one rainy and one clean crop of each sample."""
        return UnpairedBatch(
            rainy=stack_unit([sample.rainy[crop] for sample, crop in crops]),
            clean=stack_unit([sample.clean[crop] for sample, crop in crops]),
            labels=tuple(sample.label for sample, _ in crops),
            files=tuple(sample.file for sample, _ in crops),
            plans=tuple(sample.plans[crop] for sample, crop in crops),
        )

    def _crops(self, file: Path, generator: torch.Generator) -> tuple[Tensor, tuple[CropPlan, ...]]:
        image = read_image(file)[0]
        height, width = image.shape[-2:]
        plans = plan_crops(height, width, self.crop, self.crops_per_picture, generator, self.turn)
        return cut_crops(to_bytes(image), plans), plans


def _chosen(weights: Tensor, generator: torch.Generator) -> int:
    return int(torch.multinomial(weights, 1, generator=generator))


def _below(limit: int, generator: torch.Generator) -> int:
    """A whole number in [0, limit)."""
    return int(torch.randint(limit, (1,), generator=generator))
