"""Several processes that learn as one: what they exchange.

Every process takes the same number of slots of each batch, gradients are averaged before an optimizer steps, and what
decides the course of the run (losses, a signal to stop, the time) is exchanged at every step, so that all take the same
decisions. Only the leader, rank 0, writes, validates and prints.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from derain.errors import TrainingError

T = TypeVar("T")


class ProcessGroup:
    """The processes of a run, each of which makes one object of this class after `Fabric.launch`."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.size = fabric.world_size
        self.rank = fabric.global_rank

    @property
    def is_leader(self) -> bool:
        """Whether this is the process that writes, validates and prints."""
        return self.rank == 0

    def slots(self, batch_size: int) -> range:
        """The slots of each batch that are this process's share."""
        share = batch_size // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the mean over the processes in place of every gradient; a parameter that no process used keeps none.

        Networks may be run any number of times before, and be frozen or unused in part.
        """
        if self.size == 1:
            return
        known = [parameter for parameter in parameters if parameter.requires_grad]
        used = torch.tensor([parameter.grad is not None for parameter in known], device=self.fabric.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad / self.size for p in known]
        sums = torch.cat([used.float(), *(gradient.flatten() for gradient in gradients)])
        torch.distributed.all_reduce(sums)
        counts, *means = torch.split(sums, [len(known), *(parameter.numel() for parameter in known)])
        for parameter, count, mean in zip(known, counts.tolist(), means, strict=True):
            if count:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad.copy_(mean.view(parameter.shape))

    def share_weights(self, module: nn.Module) -> None:
        """Give the module the leader's weights and buffers."""
        if self.size > 1:
            for tensor in (*module.parameters(), *module.buffers()):
                value = tensor.detach().contiguous()
                torch.distributed.broadcast(value, 0)
                tensor.detach().copy_(value)

    def gather_losses(
        self, losses: Tensor, labels: Sequence[str], names: Sequence[str]
    ) -> tuple[Tensor, tuple[str, ...]]:
        """Losses (B, terms) and labels of the whole batch, on the CPU, in slot order.

        Args:
            losses: those of this process's share, (B / size, terms).
            labels: theirs.
            names: every label there can be.
        """
        if self.size == 1:
            return losses.detach().cpu(), tuple(labels)
        numbers = torch.tensor([[names.index(label)] for label in labels], dtype=torch.float32, device=losses.device)
        table = self._gathered(torch.cat([losses.detach().float(), numbers], dim=1)).flatten(0, 1).cpu()
        return table[:, :-1], tuple(names[int(number)] for number in table[:, -1])

    def mean(self, value: float) -> float:
        """The mean of the processes' values."""
        if self.size == 1:
            return value
        return float(self._gathered(torch.tensor([value], dtype=torch.float32, device=self.fabric.device)).mean())

    def largest(self, value: float) -> float:
        """The largest of the processes' values: a signal that one has received, or the time that has passed."""
        if self.size == 1:
            return value
        return float(self._gathered(torch.tensor([value], dtype=torch.float32, device=self.fabric.device)).max())

    def gather(self, value: T) -> list[T]:
        """The values of all processes by rank; anything that can be pickled, so for small things."""
        if self.size == 1:
            return [value]
        gathered: list[T] = [value] * self.size
        torch.distributed.all_gather_object(gathered, value)
        return gathered

    def from_leader(self, value: T) -> T:
        """The leader's value, whatever this process has."""
        return value if self.size == 1 else self.fabric.broadcast(value)

    def require_same(self, value: int, what: str) -> None:
        """Check that all processes have the same value.

        Raises:
            TrainingError: they have not; in all of them.
        """
        least, largest = -int(self.largest(-value)), int(self.largest(value))
        if least != largest:
            raise TrainingError(
                f"wanted {what} to be the same in all {self.size} processes, got {least} to {largest}; the run's "
                "folder must be one that all nodes see"
            )

    def random_states(self) -> list[dict[str, Tensor]]:
        """The states of torch's generators in every process, by rank: on the CPU, and on another device."""
        own = {"cpu": torch.get_rng_state(), "device": _device_state(self.fabric.device)}
        if self.size == 1:
            return [own]
        gathered = {name: self._gathered(state.to(self.fabric.device)).cpu() for name, state in own.items()}
        return [{name: states[rank].clone() for name, states in gathered.items()} for rank in range(self.size)]

    def set_random_state(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Restore this process's own state; one that the run did not have before keeps its own."""
        if self.rank >= len(states):
            return
        torch.set_rng_state(states[self.rank]["cpu"])
        device, state = self.fabric.device, states[self.rank]["device"]
        if device.type == "cuda" and len(state):
            torch.cuda.set_rng_state(state, device)
        if device.type == "mps" and len(state):
            torch.mps.set_rng_state(state)

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.size > 1:
            self.fabric.barrier()

    def _gathered(self, value: Tensor) -> Tensor:
        """The tensors of all processes along a new first dimension."""
        gathered = [torch.empty_like(value, memory_format=torch.contiguous_format) for _ in range(self.size)]
        torch.distributed.all_gather(gathered, value.contiguous())
        return torch.stack(gathered)


def is_peer_failure(error: RuntimeError) -> bool:
    """Whether this is how torch reports that another process is gone."""
    message = str(error)
    return isinstance(error, torch.distributed.DistError) or "gloo" in message.lower() or "NCCL" in message


def _device_state(device: torch.device) -> Tensor:
    """The state of a device's own generator; empty on a CPU, which has none beside torch's."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.empty(0, dtype=torch.uint8)
