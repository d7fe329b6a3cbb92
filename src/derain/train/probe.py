"""The probe: a few fixed crops of each type, held out from learning, whose losses show how far each type has come.

The loss is the run's own, for what is to be balanced is what is learnt; with plain L1, as in the paper, it is the L1.
It is computed exactly as in a training step: in mixed precision the input of the network is rounded to bfloat16 or
float16, too. (Validation and restoration do not round it.)
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from derain.data.crops import joint_crops
from derain.data.paired import Batch
from derain.data.schedule import seed_of_sample
from derain.data.sources import Source
from derain.errors import DatasetError
from derain.objectives.losses import rain_mask
from derain.train.accelerator import Accelerator
from derain.train.corpus import read_corpus
from derain.train.settings import TrainSettings

SEED = 20_260
"""The probe's rain has a seed of its own and is the same in every run over the same data."""

BATCH = 16
"""Crops that are restored at once."""


class Probe:
    """Mean loss of each type over its fixed crops, drawn as those to learn from; they are made at the first call.

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
        self._batches: dict[str, list[Batch]] = {}

    def batches(self) -> dict[str, list[Batch]]:
        """The crops by type, in batches of at most `BATCH`."""
        for number, name in enumerate(self._types):
            if name not in self._batches:
                drawn = [self._draw(name, number * self._crops + index) for index in range(self._crops)]
                self._batches[name] = [_joined(drawn[at : at + BATCH]) for at in range(0, len(drawn), BATCH)]
        return self._batches

    @torch.no_grad()
    def __call__(
        self, module: nn.Module, criterion: Callable[[Tensor, Batch], Mapping[str, Tensor]], accelerator: Accelerator
    ) -> dict[str, float]:
        """The mean sum of the criterion's terms by type, for `module` in the run's precision; its mode is restored."""
        was_training = module.training
        module.eval()
        losses = {}
        for name, batches in self.batches().items():
            measured = []
            for batch in (batch.to(accelerator.device) for batch in batches):
                terms = criterion(accelerator.forward(module, batch.rainy), batch)
                measured.append(torch.stack(list(terms.values())).sum(dim=0))
            losses[name] = float(torch.cat(measured).mean())
        module.train(was_training)
        return losses

    def _draw(self, name: str, sample: int) -> Batch:
        generator = torch.Generator().manual_seed(seed_of_sample(SEED, sample))
        picture = self._source.draw(name, generator)
        amount = rain_mask(picture.rainy.unsqueeze(0), picture.clean.unsqueeze(0)).mean().reshape(1)
        rainy, clean = joint_crops([picture.rainy, picture.clean], self._crop, 1, generator, turn=False)
        return Batch(rainy, clean, amount, (name,))


def _joined(batches: Sequence[Batch]) -> Batch:
    return Batch(
        torch.cat([batch.rainy for batch in batches]),
        torch.cat([batch.clean for batch in batches]),
        torch.cat([batch.rain_amount for batch in batches]),
        tuple(label for batch in batches for label in batch.labels),
    )


def fixed_probe(settings: TrainSettings) -> Probe | None:
    """The probe that the settings describe, from rows of split `probe`; None where the run does not look at one.

    Raises:
        DatasetError: there are no such rows, or a type has none.
        SettingsError: the reweighting does not fit the types.
    """
    plan = settings.reweighting.plan(len(settings.data.types))
    if not settings.reweighting.uses_probe(len(settings.data.types)):
        return None
    corpus = read_corpus(settings.data, "probe")
    if not corpus.photos and not any(corpus.pairs):
        raise DatasetError(
            f"reweighting.method: {plan.method!r} wants rows of split 'probe' to watch the types by, but there are "
            "none; give some rows, of other scenes than those of the other splits, the split probe, or set "
            "reweighting.signal=training or reweighting.method=uniform"
        )
    return Probe(corpus.source(), settings.data.types, settings.data.crop, plan.probe_crops)
