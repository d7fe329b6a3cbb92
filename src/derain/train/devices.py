"""Several processes that learn as one: which devices a run takes, who leads, and what they tell each other.

Every process takes the same number of slots of each batch, DistributedDataParallel averages their gradients, and what
decides the course of the run (losses, a signal to stop, the time) is shared at every step, so that all take the same
decisions. Only the leader writes, validates and speaks.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from derain.errors import SettingsError, TrainingError
from derain.train.settings import TrainSettings

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long processes wait for each other, for the leader validates while the others wait."""


def is_leader() -> bool:
    """Whether this process is the first of its run, before any of the others is met (torchrun, Fabric, SLURM)."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def build_fabric(settings: TrainSettings) -> Fabric:
    """The devices that the settings name; under torchrun, those that it started processes for.

    Raises:
        SettingsError: this machine does not have them, or the batch cannot be shared out evenly.
    """
    is_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    devices = int(os.environ["LOCAL_WORLD_SIZE"]) if is_torchrun else settings.devices
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1")) if is_torchrun else settings.nodes
    share, rest = divmod(settings.batch_size, devices * nodes)
    if rest or share % settings.accumulate:
        raise SettingsError(
            f"batch_size: wanted a multiple of devices x nodes x accumulate = {devices} x {nodes} x "
            f"{settings.accumulate}, got {settings.batch_size}; change one of them"
        )
    # Sparse mixtures leave experts that no picture selected out of the graph; other forms give them a zero gradient.
    has_idle_experts = settings.model.changes.get("form") == "sparse"
    together = DDPStrategy(find_unused_parameters=has_idle_experts, gradient_as_bucket_view=True, timeout=PATIENCE)
    try:
        return Fabric(
            accelerator=settings.device,
            devices=devices,
            num_nodes=nodes,
            strategy=together if devices * nodes > 1 else "auto",
            plugins=_arithmetic(settings),
        )
    except (RuntimeError, ValueError) as error:  # what Fabric raises for devices that are not there
        many = f" ({devices} of them)" if devices > 1 else ""
        raise SettingsError(
            f"device: wanted {settings.device!r}{many}, which this machine does not have; {error}"
        ) from error


def _arithmetic(settings: TrainSettings) -> Precision:
    """Handed to Fabric ready made: by its name, Fabric announces it, and takes bfloat16 for float16 on a CPU."""
    if settings.precision == "32-true":
        return Precision()
    if _is_cpu(settings):
        return MixedPrecision(settings.precision, "cpu")
    is_mps = settings.device == "mps" or (settings.device == "auto" and not torch.cuda.is_available())
    return MixedPrecision(settings.precision, "mps" if is_mps else "cuda")


def crowding(settings: TrainSettings) -> str | None:
    """A line for who asks for several devices of a machine without GPU; None where nothing is to be said."""
    if settings.devices == 1 or not _is_cpu(settings) or "TORCHELASTIC_RUN_ID" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    slower = "; --set devices=1 learns the same, and faster" if cores < settings.devices else ""
    return f"no GPU: {settings.devices} processes on {cores} CPU core{'s' if cores > 1 else ''}{slower}"


def _is_cpu(settings: TrainSettings) -> bool:
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    return settings.device == "cpu" or (settings.device == "auto" and not accelerated)


def align_gradients(module: nn.Module) -> None:
    """Have every gradient told in the strides of its parameter where both lie in memory alike.

    The memory of 1x1 and of depthwise kernels is told in several ways, and operators choose now one, now another.
    DistributedDataParallel would take that for another layout.
    """
    for parameter in module.parameters():
        if parameter.is_contiguous():
            parameter.register_hook(partial(_in_strides, parameter.stride()))  # type: ignore[no-untyped-call]


def _in_strides(strides: tuple[int, ...], gradient: Tensor) -> Tensor:
    return gradient.as_strided(gradient.shape, strides) if gradient.is_contiguous() else gradient


def is_parted(error: RuntimeError) -> bool:
    """Whether this is how torch tells that another process is gone."""
    told = str(error)
    return isinstance(error, torch.distributed.DistError) or "gloo" in told.lower() or "NCCL" in told


def _device_state(device: torch.device) -> Tensor:
    """The state of a device's own generator; empty on a CPU, which has none beside torch's."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.empty(0, dtype=torch.uint8)


class Crew:
    """The processes of a run, each of which makes one object of this class after `Fabric.launch`."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.size = fabric.world_size
        self.rank = fabric.global_rank

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, validates and speaks."""
        return self.rank == 0

    def slots(self, batch_size: int) -> range:
        """The slots of each batch that are this process's share."""
        share = batch_size // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def gather_losses(
        self, losses: Tensor, labels: Sequence[str], names: Sequence[str]
    ) -> tuple[Tensor, tuple[str, ...]]:
        """Losses (B,) and labels of the whole batch, on the CPU, in slot order.

        Args:
            losses: those of this process's share, (B / size,).
            labels: theirs.
            names: every label there can be.
        """
        if self.size == 1:
            return losses.detach().cpu(), tuple(labels)
        numbers = torch.tensor([names.index(label) for label in labels], dtype=torch.float32, device=losses.device)
        table = self._gathered(torch.stack([losses.detach().float(), numbers], dim=1)).flatten(0, 1).cpu()
        return table[:, 0], tuple(names[int(number)] for number in table[:, 1])

    def largest(self, value: float) -> float:
        """The largest of the processes' values: a signal that one has received, or the time that has passed."""
        if self.size == 1:
            return value
        return float(self._gathered(torch.tensor([value], dtype=torch.float32, device=self.fabric.device)).max())

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
        """Take this process's own state back; one that the run did not have before keeps its own."""
        if self.rank >= len(states):
            return
        torch.set_rng_state(states[self.rank]["cpu"])
        device, state = self.fabric.device, states[self.rank]["device"]
        if device.type == "cuda" and len(state):
            torch.cuda.set_rng_state(state, device)
        if device.type == "mps" and len(state):
            torch.mps.set_rng_state(state)

    def _gathered(self, value: Tensor) -> Tensor:
        """The tensors of all processes along a new first dimension."""
        gathered = [torch.empty_like(value, memory_format=torch.contiguous_format) for _ in range(self.size)]
        torch.distributed.all_gather(gathered, value.contiguous())
        return torch.stack(gathered)

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            self.fabric.barrier()
