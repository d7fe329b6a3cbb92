"""The reweighting of a run: gives it the losses of each type, and the weights of samples to the training step."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from derain.errors import CheckpointError
from derain.objectives.reweight import Reweighting, ReweightSettings, Tick
from derain.train.process_group import ProcessGroup

Measure = Callable[[], dict[str, float]]
"""The probe's loss of each type, for the network as it is."""


class Balance:
    """One run's reweighting.

    The leader measures; all processes tick with its figures, so all have the same weights.

    Args:
        types: names of the types.
        settings: which method, and how.
        group: the processes of the run.
        measure: needed where the signal is the probe.
    """

    def __init__(
        self, types: Sequence[str], settings: ReweightSettings, group: ProcessGroup, measure: Measure | None
    ) -> None:
        self.plan = settings.plan(len(types))
        self.reweighting = Reweighting(types, settings)
        self._group = group
        self._measure = measure
        self._smoothed: dict[str, float] = {}

    def factors(self, labels: Sequence[str]) -> Tensor:
        """What each sample's loss is multiplied by, (B,): K w of its type, mean 1 over the types; 1 if it has none."""
        return torch.tensor([self.reweighting.factor(label) for label in labels], dtype=torch.float32)

    def after_step(self, step: int, losses: Tensor, labels: Sequence[str]) -> Tick | None:
        """Take in the losses (B,) of a step, the `step`-th; a tick where one is due.

        Raises:
            TrainingError: three ticks in a row had a loss that is not finite.
        """
        if self.plan.method == "uniform":
            return None
        if self.plan.signal == "training":
            self._smooth(losses, labels)
        if step % self.plan.every_steps:
            return None
        if self.plan.signal == "training":
            return self.reweighting.tick(self._smoothed)
        assert self._measure is not None  # given where the signal is the probe
        return self.reweighting.tick(self._group.from_leader(self._measure() if self._group.is_leader else {}))

    def _smooth(self, losses: Tensor, labels: Sequence[str]) -> None:
        """Exponential mean of each type's loss over the steps in which it occurs; it starts at the first one."""
        for name in self.reweighting.types:
            present = [loss for loss, label in zip(losses.tolist(), labels, strict=True) if label == name]
            if present:
                mean = sum(present) / len(present)
                before = self._smoothed.get(name, mean)
                self._smoothed[name] = self.plan.smoothing * before + (1 - self.plan.smoothing) * mean

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to continue with the same weights."""
        return {"reweighting": self.reweighting.state_dict(), "smoothed": dict(self._smoothed)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Raises:
            CheckpointError: it is of other types or another method.
        """
        try:
            self.reweighting.load_state_dict(state["reweighting"])
            self._smoothed = dict(state["smoothed"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the state of the reweighting cannot be read ({error!r}); start the run anew"
            ) from error
