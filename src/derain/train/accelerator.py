"""Forward passes, backward passes and optimizer steps on all devices of a run, in its precision."""

import math
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from derain.train.process_group import ProcessGroup

OVERFLOWS = 20
"""So many steps in a row may float16 skip while it looks for a scale of the gradients."""

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class NotFiniteError(Exception):
    """A loss or the norm of its gradient is not finite; the weights were not touched."""


class Accelerator:
    """What a training method does its steps with.

    Networks and optimizers stay plain torch objects: any number of them, run any number of times in a step, frozen or
    unused in part. The processes of a run exchange gradients when an optimizer steps.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.group = ProcessGroup(fabric)
        self.device = fabric.device
        self._strategy = fabric.strategy
        self._overflows: dict[int, int] = {}
        self._scaler: torch.amp.GradScaler | None = getattr(fabric.strategy.precision, "scaler", None)
        self._has_stepped = False

    @property
    def scales_gradients(self) -> bool:
        """Whether gradients are scaled for float16; fused optimizers cannot be clipped then."""
        return self._scaler is not None

    def place(self, module: ModuleT) -> ModuleT:
        """Put the module on the device in channels_last, which convolutions prefer, with the leader's weights."""
        placed: ModuleT = module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.group.share_weights(placed)
        return placed

    def forward(self, module: nn.Module, image: Tensor) -> Tensor:
        """The module's answer to images (B, C, H, W), computed in the run's precision; float32."""
        precision = self._strategy.precision
        with precision.forward_context():
            answer: Tensor = module(precision.convert_input(image.contiguous(memory_format=torch.channels_last)))
        converted: Tensor = precision.convert_output(answer)
        return converted

    def autocast(self) -> AbstractContextManager[Any]:
        """A context in which torch computes in the run's precision, for networks with other inputs and outputs."""
        return self._strategy.precision.forward_context()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a scalar loss to those of the parameters that it depends on.

        Several optimizers may step on the gradients of one loss, one after the other; all that are to use them step
        before the next backward pass, at which float16 may choose another scale.
        """
        self._update_scale()
        self._strategy.backward(loss, None)

    def step(self, optimizer: torch.optim.Optimizer, loss: float, clip_norm: float) -> float:
        """Average the optimizer's gradients over the processes, clip them, move the weights, clear the gradients.

        Args:
            optimizer: of the parameters to move.
            loss: that the gradients are of, over the whole batch.
            clip_norm: all gradients together are scaled down to this norm when they are longer.

        Returns:
            The norm before clipping. Not finite where float16 overflowed; the step was skipped then.

        Raises:
            NotFiniteError: the loss or the norm is not finite, and float16 does not explain it.
        """
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.group.average_gradients(parameters)
        norm = float(
            self._strategy.clip_gradients_norm(nn.Module(), optimizer, max_norm=clip_norm, error_if_nonfinite=False)
        )
        overflows = 0 if math.isfinite(norm) else self._overflows.get(id(optimizer), 0) + 1
        self._overflows[id(optimizer)] = overflows
        may_overflow = self.scales_gradients and overflows <= OVERFLOWS
        if not (math.isfinite(loss) and (math.isfinite(norm) or may_overflow)):
            raise NotFiniteError(f"the loss is {loss} and the norm of its gradient {norm}")
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)  # does nothing where float16 overflowed
            self._has_stepped = True
        optimizer.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """The scale of float16's gradients; empty otherwise."""
        self._update_scale()
        return self._strategy.precision.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the scale."""
        if state:
            self._strategy.precision.load_state_dict(state)

    def _update_scale(self) -> None:
        """Choose the scale of the next backward pass after what the optimizers met; no gradient is in use meanwhile."""
        if self._scaler is not None and self._has_stepped:
            self._scaler.update()
        self._has_stepped = False
