"""Which devices and processes a run takes."""

import os
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.strategies.ddp import DDPStrategy

from derain.errors import SettingsError
from derain.train.settings import TrainSettings

TIMEOUT = timedelta(hours=2)
"""How long processes wait for each other; the leader validates while the others wait."""


def is_leader() -> bool:
    """Whether this process is the first of its run, before the group exists (torchrun, Fabric, SLURM)."""
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
    try:
        return Fabric(
            accelerator=settings.device,
            devices=devices,
            num_nodes=nodes,
            # Starts the processes; their gradients are averaged by `ProcessGroup`, whatever a method does in a step.
            strategy=DDPStrategy(timeout=TIMEOUT) if devices * nodes > 1 else "auto",
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


def oversubscription_warning(settings: TrainSettings) -> str | None:
    """A warning for several devices on a machine without GPU; None where there is nothing to warn of."""
    if settings.devices == 1 or not _is_cpu(settings) or "TORCHELASTIC_RUN_ID" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    slower = "; --set devices=1 learns the same, and faster" if cores < settings.devices else ""
    return f"no GPU: {settings.devices} processes on {cores} CPU core{'s' if cores > 1 else ''}{slower}"


def _is_cpu(settings: TrainSettings) -> bool:
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    return settings.device == "cpu" or (settings.device == "auto" and not accelerated)
