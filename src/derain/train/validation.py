"""What the exported network of a run is judged by: a fixed set of pairs, unless the method has its own validation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol as TypingProtocol

import torch
from torch import Tensor, nn

from derain.data.paired import CLEAN_LABEL
from derain.data.schedule import seed_of_sample
from derain.data.sources import Source
from derain.errors import DatasetError
from derain.evaluate.scoring import score_pair
from derain.imaging.metrics import Protocol
from derain.imaging.tiling import pad_to_multiple
from derain.train.corpus import read_corpus
from derain.train.settings import TrainSettings

HARMLESS_DB = 38.0
"""Output against input of a clean picture above which nobody sees a difference."""


@dataclass(frozen=True)
class ValidationRow:
    """Means over the pictures of one type, protocol `rgb`. For `clean`, input and target are the same picture."""

    label: str
    pictures: int
    psnr_in: float
    psnr_out: float
    ssim_in: float
    ssim_out: float
    l1_in: float
    l1_out: float


class ValidationResult(TypingProtocol):
    """What a validation found."""

    @property
    def score(self) -> float:
        """What the best weights are chosen by; higher is better."""
        ...

    def numbers(self) -> dict[str, float]:
        """Its figures by name, for logs and headers."""
        ...

    def summary(self) -> str:
        """Its figures in a line for the terminal."""
        ...


@dataclass(frozen=True)
class ValidationReport:
    """One row per type, and one for clean pictures, whose output should equal their input."""

    rows: tuple[ValidationRow, ...]

    @property
    def score(self) -> float:
        """What the best weights are chosen by: the mean gain less the harm done, dB.

        The harm is what any type lies below its rainy input, and a tenth of what clean pictures lie below 38 dB:
        weights that please three types at the cost of the fourth, or of clean pictures, are not the best.
        """
        harm = sum(max(0.0, row.psnr_in - row.psnr_out) for row in self.rows if row.label != CLEAN_LABEL)
        harm += sum(0.1 * max(0.0, HARMLESS_DB - row.psnr_out) for row in self.rows if row.label == CLEAN_LABEL)
        return self.gain - harm

    @property
    def gain(self) -> float:
        """Gain in PSNR over the rainy input, dB, mean over the types."""
        gains = [row.psnr_out - row.psnr_in for row in self.rows if row.label != CLEAN_LABEL]
        return sum(gains) / len(gains)

    def numbers(self) -> dict[str, float]:
        """The report as flat named numbers, for logs and headers."""
        numbers = {"gain_db": self.gain, "score_db": self.score}
        for row in self.rows:
            if row.label != CLEAN_LABEL:
                numbers[f"{row.label}.psnr_in"] = row.psnr_in
                numbers[f"{row.label}.ssim_in"] = row.ssim_in
                numbers[f"{row.label}.l1_in"] = row.l1_in
            numbers[f"{row.label}.psnr_out"] = row.psnr_out
            numbers[f"{row.label}.ssim_out"] = row.ssim_out
            numbers[f"{row.label}.l1_out"] = row.l1_out
        return {name: round(value, 6) for name, value in numbers.items()}

    def summary(self) -> str:
        """The gain, and PSNR of input and output by type."""
        by_type = "  ".join(f"{row.label} {row.psnr_in:.2f}->{row.psnr_out:.2f}" for row in self.rows)
        return f"gain {self.gain:+.2f} dB  {by_type}"


class Validation(TypingProtocol):
    """Judges a restoration network, which it finds in evaluation mode and leaves as it is."""

    def __call__(self, module: nn.Module) -> ValidationResult:
        """The figures of the network."""
        ...

    def digest(self) -> str | None:
        """Digest of the files that it is judged on; None where there are none."""
        ...


class FixedValidation:
    """Pictures made once (at the first call) with fixed seeds; call it with a module to have that judged.

    Args:
        source: draws the pictures, of the validation split.
        types: the types to judge.
        pictures_per_type: of each type, and as many clean ones.
        side: pictures are cut to at most this side, from their middle.
        seed: picture i of a type is the same for all runs with this seed.
        file_digest: gives the digest of the files behind the source, for the record of a run.
    """

    def __init__(
        self,
        source: Source,
        types: Sequence[str],
        pictures_per_type: int,
        side: int,
        seed: int,
        file_digest: Callable[[], str] | None = None,
    ) -> None:
        self._source = source
        self._types = tuple(types)
        self._file_digest = file_digest
        self._pictures_per_type = pictures_per_type
        self._side = side
        self._seed = seed
        self._pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def digest(self) -> str | None:
        """Digest of the files of the validation split."""
        return (self._file_digest() or None) if self._file_digest is not None else None

    def _prepare(self) -> dict[str, list[tuple[Tensor, Tensor]]]:
        """(rainy, clean) by label. The clean pictures without rain are taken from all types in turn."""
        pairs: dict[str, list[tuple[Tensor, Tensor]]] = {CLEAN_LABEL: []}
        for number, name in enumerate(self._types):
            pairs[name] = []
            for index in range(self._pictures_per_type):
                sample = index * len(self._types) + number
                generator = torch.Generator().manual_seed(seed_of_sample(self._seed, sample))
                picture = self._source.draw(name, generator)
                rainy, clean = _middle(picture.rainy, self._side), _middle(picture.clean, self._side)
                pairs[name].append((rainy, clean))
                if index % len(self._types) == number:
                    pairs[CLEAN_LABEL].append((clean, clean))
        return pairs

    def __call__(self, module: nn.Module) -> ValidationReport:
        """Restore every picture, one at a time, and average by type."""
        self._pairs = self._pairs or self._prepare()
        device = next(module.parameters()).device
        rows = []
        for label, pairs in self._pairs.items():
            measured = [self._measure(module, rainy.to(device), clean.to(device)) for rainy, clean in pairs]
            means = torch.tensor(measured, dtype=torch.float64).mean(dim=0).tolist()
            rows.append(ValidationRow(label, len(pairs), *means))
        return ValidationReport(tuple(rows))

    @staticmethod
    @torch.no_grad()
    def _measure(module: nn.Module, rainy: Tensor, clean: Tensor) -> list[float]:
        def restore(image: Tensor) -> Tensor:
            padded = pad_to_multiple(image, int(getattr(module, "size_multiple", 16)))
            restored: Tensor = module(padded)[..., : image.shape[-2], : image.shape[-1]]
            return restored.float().clamp(0, 1)

        score = score_pair(restore, rainy, clean, Protocol.RGB)
        return [
            score.input_psnr,
            score.output_psnr,
            score.input_ssim,
            score.output_ssim,
            score.input_l1,
            score.output_l1,
        ]


def fixed_validation(settings: TrainSettings) -> FixedValidation:
    """The validation set that the settings describe, from rows of split `val`.

    Raises:
        DatasetError: there are no such rows, or a type has none.
    """
    wanted = settings.validation
    corpus = read_corpus(settings.data, "val")
    if not corpus.photos and not any(corpus.pairs):
        listed = [entry.path for entry in settings.data.manifests]
        listed += [settings.data.photos] if settings.data.photos is not None else []
        raise DatasetError(
            f"{', '.join(map(str, listed))}: wanted rows of split 'val' to choose the best weights by, got none; "
            "give some rows, of other scenes than those of split 'train', the split val"
        )
    return FixedValidation(
        corpus.source(), settings.data.types, wanted.pictures_per_type, wanted.side, wanted.seed, corpus.digest
    )


def _middle(image: Tensor, side: int) -> Tensor:
    """The middle of (3, H, W) as (1, 3, <= side, <= side), rounded to 8 bits, as pictures are when they are read."""
    height, width = image.shape[-2:]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    cut = image[..., top : top + side, left : left + side]
    return ((cut.clamp(0, 1) * 255).round() / 255).unsqueeze(0).contiguous()
