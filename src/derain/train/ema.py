"""Exponential moving average (EMA) of a network's weights."""

import copy
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class ModelEma(Generic[ModuleT]):
    """The EMA of a module's weights, held as a module of its own in evaluation mode.

    mean <- d mean + (1 - d) weight with d = min(decay, (1 + n) / (10 + n)) at the n-th update, so that the random
    first weights are soon forgotten. Buffers are copied.
    """

    def __init__(self, module: ModuleT, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.module = copy.deepcopy(module).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take the module's present weights into the mean."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        means: list[Tensor] = list(self.module.parameters())
        weights: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(means, weights, 1 - decay)
        for mean, value in zip(self.module.buffers(), module.buffers(), strict=True):
            mean.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and the number of updates."""
        return {"weights": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.module.load_state_dict(state["weights"])
        self.updates = int(state["updates"])
