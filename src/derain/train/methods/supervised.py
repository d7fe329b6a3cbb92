"""Supervised learning on pairs: restore the rainy crop, compare it with the clean one.

The types of rain are weighted against each other (`derain.objectives.reweight`) by losses on the batches or on a
held-out probe. What is validated and exported is the exponential moving average (EMA) of the weights.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from derain.data.paired import Batch
from derain.models.network import RestorationNetwork
from derain.objectives.losses import charbonnier, frequency_l1, l1, rain_mask, rain_weighted_l1
from derain.train.accelerator import Accelerator
from derain.train.balance import Balance
from derain.train.ema import ModelEma
from derain.train.learning_data import PairedData
from derain.train.methods.method import NoOptions, Preparation, Report, StepResult
from derain.train.network import build_network
from derain.train.probe import Probe, fixed_probe
from derain.train.schedule import build_optimizer
from derain.train.settings import LossSettings, TrainSettings

Criterion = Callable[[Tensor, Batch], Mapping[str, Tensor]]
"""(restored pictures (B, 3, P, P), their batch) to named loss terms (B,), weighted, whose sum is minimised."""


class RestorationLoss:
    """L1 with a share weighted by the rain mask (or Charbonnier), plus a frequency term if wanted."""

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings

    def __call__(self, restored: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Terms `pixel` and, with a weight, `frequency`."""
        terms = {"pixel": self._pixel(restored, batch)}
        if self.settings.frequency_weight > 0:
            terms["frequency"] = self.settings.frequency_weight * frequency_l1(restored, batch.clean)
        return terms

    def _pixel(self, restored: Tensor, batch: Batch) -> Tensor:
        if self.settings.pixel == "charbonnier":
            return charbonnier(restored, batch.clean)
        if self.settings.rain_share == 0:
            return l1(restored, batch.clean)
        mask = rain_mask(batch.rainy, batch.clean)
        share, least = self.settings.rain_share, self.settings.least_rain
        return rain_weighted_l1(restored, batch.clean, mask, batch.rain_amount, share, least)


class Supervised:
    """One network, one optimizer, pairs."""

    def __init__(
        self,
        settings: TrainSettings,
        labels: tuple[str, ...],
        accelerator: Accelerator,
        network: RestorationNetwork,
        criterion: Criterion,
        probe: Probe | None,
    ) -> None:
        self.settings = settings
        self.labels = labels
        self.accelerator = accelerator
        self.criterion = criterion
        self.probe = probe
        self.network = accelerator.place(network)
        self.ema = ModelEma(self.network, settings.optimizer.ema_decay)
        self.optimizer = build_optimizer(self.network, settings.optimizer, fused=not accelerator.scales_gradients)
        measure = None if probe is None else self._probe_losses
        self.balance = Balance(settings.data.types, settings.reweighting, accelerator.group, measure)

    def modules(self) -> dict[str, nn.Module]:
        """The network."""
        return {"network": self.network}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Its optimizer."""
        return {"network": self.optimizer}

    def exported(self) -> RestorationNetwork:
        """The EMA of the network."""
        return self.ema.module

    def step(self, batch: Batch, number: int) -> StepResult:
        """One step on a batch, in `settings.accumulate` parts; the losses are without the types' weights.

        Raises:
            NotFiniteError: the loss or the gradient is not finite.
            TrainingError: the reweighting's losses were not finite several times.
        """
        self.network.train()
        parts = batch.parts(self.settings.accumulate)
        names, table = self._backward(parts)
        losses, labels = self.accelerator.group.gather_losses(table, batch.labels, self.labels)
        norm = self.accelerator.step(self.optimizer, float(losses[:, 0].mean()), self.settings.optimizer.clip_norm)
        if math.isfinite(norm):
            self.ema.update(self.network)
        tick = self.balance.after_step(number, losses[:, 0], labels)
        by_name: dict[str, list[float]] = {"loss": losses[:, 0].tolist()}
        for loss, label in zip(by_name["loss"], labels, strict=True):
            by_name.setdefault(f"loss.{label}", []).append(loss)
        if len(names) > 1:  # a single term is the loss
            by_name |= {f"term.{name}": losses[:, place].tolist() for place, name in enumerate(names, start=1)}
        report = None
        if tick is not None:
            report = Report("reweighting", tick.row(), is_rare=self.balance.plan.every_steps > 1)
        return StepResult(len(labels), by_name, {"gradient_norm": norm if math.isfinite(norm) else 0.0}, report)

    def is_finished(self) -> bool:
        """Never: there is always something to learn."""
        return False

    def _backward(self, parts: list[Batch]) -> tuple[list[str], Tensor]:
        """Gradients of all parts; names of the loss terms, and (B, 1 + terms): their sum and each of them by sample."""
        names: list[str] = []
        shares = []
        for part in parts:
            rainy = part.rainy.contiguous(memory_format=torch.channels_last)
            terms = self.criterion(self.accelerator.forward(self.network, rainy), replace(part, rainy=rainy))
            names = list(terms)
            losses = torch.stack(list(terms.values())).sum(dim=0)
            factors = self.balance.factors(part.labels).to(losses.device)
            self.accelerator.backward((factors * losses).mean() / len(parts))
            shares.append(torch.stack([losses, *terms.values()], dim=1).detach())
        return names, torch.cat(shares)

    def _probe_losses(self) -> dict[str, float]:
        """The losses that the reweighting watches."""
        assert self.probe is not None  # not asked for otherwise
        watched = self.ema.module if self.balance.plan.probe_weights == "ema" else self.network
        return self.probe(watched, self.criterion, self.accelerator)

    def state_dict(self) -> dict[str, Any]:
        """The EMA, and the state of the reweighting."""
        return {"ema": self.ema.state_dict(), "reweighting": self.balance.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore both.

        Raises:
            CheckpointError: the reweighting's state is of other types or another method.
        """
        self.ema.load_state_dict(state["ema"])
        self.balance.load_state_dict(state["reweighting"])


def prepare_supervised(
    settings: TrainSettings, _options: NoOptions, console: Console | None, criterion: Criterion | None = None
) -> Preparation[Batch]:
    """Build the network and read the data, see `Method`; another `criterion` than the settings' can be given."""
    network = build_network(settings.model, console)
    data = PairedData(settings)
    probe = fixed_probe(settings)
    loss = criterion or RestorationLoss(settings.loss)

    def build(accelerator: Accelerator) -> Supervised:
        return Supervised(settings, data.labels, accelerator, network, loss, probe)

    return Preparation(data, build)
