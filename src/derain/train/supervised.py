"""The supervised strategy: restore the rainy crop, compare with the clean one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from derain.data.stream import Batch
from derain.objectives.losses import charbonnier, frequency_l1, l1, rain_mask, rain_weighted_l1
from derain.train.settings import LossSettings


@dataclass(frozen=True)
class Terms:
    """What a strategy answers: named loss terms, already weighted, whose sum is minimised."""

    per_sample: Mapping[str, Tensor]
    """Each (B,); the loop takes the mean over the samples."""

    def per_sample_total(self) -> Tensor:
        """Sum of the terms, (B,)."""
        return torch.stack(list(self.per_sample.values())).sum(dim=0)


class Strategy(Protocol):
    """How a module learns from a batch."""

    def __call__(self, module: nn.Module, batch: Batch) -> Terms:
        """Run the module on the batch and name the losses."""
        ...


class Supervised:
    """L1 with a share weighted by the rain mask (or Charbonnier), plus a frequency term if wanted."""

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings

    def __call__(self, module: nn.Module, batch: Batch) -> Terms:
        """Terms `pixel` and, with a weight, `frequency`."""
        restored: Tensor = module(batch.rainy)
        terms = {"pixel": self._pixel(restored, batch)}
        if self.settings.frequency_weight > 0:
            terms["frequency"] = self.settings.frequency_weight * frequency_l1(restored, batch.clean)
        return Terms(terms)

    def _pixel(self, restored: Tensor, batch: Batch) -> Tensor:
        if self.settings.pixel == "charbonnier":
            return charbonnier(restored, batch.clean)
        if self.settings.rain_share == 0:
            return l1(restored, batch.clean)
        mask = rain_mask(batch.rainy, batch.clean)
        share, least = self.settings.rain_share, self.settings.least_rain
        return rain_weighted_l1(restored, batch.clean, mask, batch.rain_amount, share, least)
