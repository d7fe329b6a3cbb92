"""The training state on disk: everything that a run needs to continue exactly as if it had not stopped.

Parts by name: every network and optimizer of the method, what else the method keeps, the scale of float16's gradients,
the random generators of every process, and how far the run has come.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from derain.errors import CheckpointError
from derain.files import atomic_write
from derain.train.accelerator import Accelerator
from derain.train.methods.method import TrainingMethod

FORMAT = 3
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


def save_state(
    path: Path,
    position: Position,
    method: TrainingMethod[Any],
    accelerator: Accelerator,
    random_states: Sequence[Mapping[str, Tensor]],
) -> None:
    """Write the state in one move: after a crash at any moment `path` is the old state or the new one, never half.

    Args:
        path: of the file.
        position: how far the run has come.
        method: that learns.
        accelerator: that it learns on.
        random_states: of torch's generators, one entry per process of the run.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the old state is then still there.
    """
    content = {
        "format": FORMAT,
        "step": position.step,
        "elapsed_s": position.elapsed_s,
        "best_score": position.best_score,
        "modules": {name: module.state_dict() for name, module in method.modules().items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in method.optimizers().items()},
        "method": method.state_dict(),
        "accelerator": accelerator.state_dict(),
        "random_states": [dict(states) for states in random_states],
    }
    try:
        with atomic_write(path, durable=True) as part, part.open("wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: the training state cannot be written ({error}); free space, then resume"
        ) from error


def load_state(path: Path, method: TrainingMethod[Any], accelerator: Accelerator) -> Position:
    """Restore the state, the random generators included; the position of the run.

    A process that the run did not have when it was saved keeps its own random numbers. Never runs code from the file
    (`weights_only`).

    Raises:
        CheckpointError: the file is missing, damaged, of another format, or of another method or network.
    """
    content = _read(path)
    modules, optimizers = method.modules(), method.optimizers()
    try:
        _require_parts(path, "networks", content["modules"], modules)
        _require_parts(path, "optimizers", content["optimizers"], optimizers)
        for name, module in modules.items():
            module.load_state_dict(content["modules"][name])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(content["optimizers"][name])
        method.load_state_dict(content["method"])
        accelerator.load_state_dict(content["accelerator"])
        accelerator.group.set_random_state(content["random_states"])
        return Position(content["step"], content["elapsed_s"], content["best_score"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: the training state does not fit this network and optimizer ({error}); "
            "resume with the settings the run was started with"
        ) from error


def read_modules(path: Path) -> dict[str, dict[str, Tensor]]:
    """The weights of every network of a finished or stopped run by name, from its state: what a run that builds on all
    of them starts from, or a single network that no weights file holds, such as a generator.

    Raises:
        CheckpointError: the file is missing, damaged or of another format.
    """
    modules: dict[str, dict[str, Tensor]] = _read(path)["modules"]
    return modules


def _require_parts(path: Path, kind: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if stored.keys() != wanted.keys():
        raise CheckpointError(
            f"{path}: wanted a state with the {kind} {', '.join(wanted)}, got {', '.join(stored)}; resume with the "
            "method.name that the run was started with"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as a training state ({type(error).__name__}); start the run anew in another folder"
        ) from error
    if isinstance(content, dict) and content.get("format") == 2:
        content = _from_format_2(content)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path}: wanted a training state of format {FORMAT}, got {found!r}; start the run anew")
    return content


def _from_format_2(content: Mapping[str, Any]) -> dict[str, Any]:
    """A state of the versions that knew supervised learning alone, in today's parts."""
    return {
        "format": FORMAT,
        **{name: content.get(name) for name in ("step", "elapsed_s", "best_score", "random_states")},
        "modules": {"network": content.get("module")},
        "optimizers": {"network": content.get("optimizer")},
        "method": {
            "ema": {"weights": content.get("average"), "updates": content.get("average_updates")},
            "reweighting": content.get("balance"),
        },
        "accelerator": content.get("scaling"),
    }
