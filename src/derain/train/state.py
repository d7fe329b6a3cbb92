"""The training state on disk: everything that a run needs to go on exactly as if it had not stopped."""

import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.precision import Precision
from torch import Tensor, nn

from derain.errors import CheckpointError
from derain.train.balance import Balance
from derain.train.devices import Crew
from derain.train.schedule import WeightAverage

FORMAT = 2
"""Raised when the content of the file changes."""


@dataclass
class Position:
    """How far a run has come."""

    step: int = 0
    """Optimizer steps done."""
    elapsed_s: float = 0.0
    """Time spent training, over all its sessions."""
    best_score: float | None = None
    """The best validation score so far."""


@dataclass(frozen=True)
class Parts:
    """The parts of a run that have a state."""

    module: nn.Module
    average: WeightAverage
    optimizer: torch.optim.Optimizer
    balance: Balance
    scaling: Precision
    """Where float16 keeps the scale of its gradients; has no state otherwise."""


def save_state(path: Path, position: Position, parts: Parts, random_states: Sequence[Mapping[str, Tensor]]) -> None:
    """Write the state in one move: after a crash at any moment `path` is the old state or the new one, never half.

    Args:
        path: of the file.
        position: how far the run has come.
        parts: what is saved.
        random_states: of torch's generators, one entry per process of the run.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the old state is then still there.
    """
    content = {
        "format": FORMAT,
        "step": position.step,
        "elapsed_s": position.elapsed_s,
        "best_score": position.best_score,
        "module": parts.module.state_dict(),
        "average": parts.average.module.state_dict(),
        "average_updates": parts.average.updates,
        "optimizer": parts.optimizer.state_dict(),
        "balance": parts.balance.state_dict(),
        "scaling": parts.scaling.state_dict(),
        "random_states": [dict(states) for states in random_states],
    }
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: the training state cannot be written ({error}); free space, then resume"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def load_state(path: Path, parts: Parts, crew: Crew) -> Position:
    """Put the state back into its parts, the random generators included, and say how far the run has come.

    A process that the run did not have when it was saved keeps its own random numbers. Never runs code from the file
    (`weights_only`).

    Raises:
        CheckpointError: the file is missing, damaged, of another format, or does not fit the parts.
    """
    content = _read(path)
    try:
        parts.module.load_state_dict(content["module"])
        parts.average.module.load_state_dict(content["average"])
        parts.average.updates = content["average_updates"]
        parts.optimizer.load_state_dict(content["optimizer"])
        parts.balance.load_state_dict(content["balance"])
        if content["scaling"]:
            parts.scaling.load_state_dict(content["scaling"])
        crew.set_random_state(content["random_states"])
        return Position(content["step"], content["elapsed_s"], content["best_score"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: the training state does not fit this network and optimizer ({error}); "
            "resume with the settings the run was started with"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as a training state ({type(error).__name__}); start the run anew in another folder"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path}: wanted a training state of format {FORMAT}, got {found!r}; start the run anew")
    return content
