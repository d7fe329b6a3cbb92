"""The probe: a few fixed crops of each type, held out from learning, whose losses tell how far each type has come."""

from collections.abc import Mapping, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from derain.data.crops import joint_crops
from derain.data.schedule import seed_of_sample
from derain.data.sources import Source
from derain.errors import DatasetError
from derain.objectives.losses import l1
from derain.train.corpus import read_corpus
from derain.train.settings import TrainSettings

SEED = 20_260
"""The probe's rain has a seed of its own and is the same in every run over the same data."""

BATCH = 16
"""Crops that are restored at once."""


class Probe:
    """Mean L1 of each type over its fixed crops, each from another picture; they are made at the first call.

    Args:
        source: draws the pictures.
        types: the types to probe.
        crop: side of the crops in pixels.
        crops: crops of each type.
    """

    def __init__(self, source: Source, types: Sequence[str], crop: int, crops: int) -> None:
        self._source = source
        self._types = tuple(types)
        self._crop = crop
        self._crops = crops
        self._pairs: dict[str, tuple[Tensor, Tensor]] = {}

    def pairs(self) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Rainy and clean crops by type, each (crops, 3, P, P) in [0, 1]."""
        if not self._pairs:
            for number, name in enumerate(self._types):
                drawn = [self._draw(name, number * self._crops + index) for index in range(self._crops)]
                rainy, clean = (torch.cat(side) for side in zip(*drawn, strict=True))
                self._pairs[name] = rainy, clean
        return self._pairs

    @torch.no_grad()
    def __call__(self, module: nn.Module, fabric: Fabric) -> dict[str, float]:
        """The losses of `module`, in the run's precision; its mode of training is restored."""
        was_training = module.training
        module.eval()
        losses = {}
        for name, (rainy, clean) in self.pairs().items():
            total = 0.0
            for start in range(0, len(rainy), BATCH):
                given = fabric.to_device(rainy[start : start + BATCH]).contiguous(memory_format=torch.channels_last)
                with fabric.autocast():
                    restored = module(given)
                total += float(l1(restored.float(), fabric.to_device(clean[start : start + BATCH])).sum())
            losses[name] = total / len(rainy)
        module.train(was_training)
        return losses

    def _draw(self, name: str, sample: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed_of_sample(SEED, sample))
        picture = self._source.draw(name, generator)
        rainy, clean = joint_crops([picture.rainy, picture.clean], self._crop, 1, generator, turn=False)
        return rainy, clean


def fixed_probe(settings: TrainSettings) -> Probe | None:
    """The probe that the settings describe, from rows of split `probe`; None where the run does not look at one.

    Raises:
        DatasetError: there are no such rows, or a type has none.
        SettingsError: the reweighting does not fit the types.
    """
    plan = settings.reweighting.plan(len(settings.data.types))
    if plan.method == "uniform" or plan.signal != "probe":
        return None
    corpus = read_corpus(settings.data, "probe")
    if not corpus.photos and not any(corpus.pairs):
        raise DatasetError(
            f"reweighting.method: {plan.method!r} wants rows of split 'probe' to watch the types by, but there are "
            "none; give some rows, of other scenes than those of the other splits, the split probe, or set "
            "reweighting.signal=training or reweighting.method=uniform"
        )
    return Probe(corpus.source(), settings.data.types, settings.data.crop, plan.probe_crops)
