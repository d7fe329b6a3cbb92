"""Initialise a network from another's weights where name and shape agree: finetuning, also with changed settings.

With the same settings all weights are copied; a deeper or differently wide variant gets those that both have, and
trains the rest from random values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from derain.errors import CheckpointError
from derain.models.checkpoints import load_checkpoint
from derain.models.find import find_checkpoint

LEAST_SHARE = 0.5
"""Share of the network's values that must be taken; with less, the start would be a random one in disguise."""

_NAMED = 4
"""Weights of a kind that a sentence names before it only counts."""


@dataclass(frozen=True)
class TransferReport:
    """What became of the weights, by name in the order of the network."""

    taken: tuple[str, ...]
    """Of the network, now with the other's values."""
    fresh: tuple[str, ...]
    """Of the network, left as they were: the other has none of that name and shape."""
    unused: tuple[str, ...]
    """Of the other, with no place here: the network has none of that name and shape."""
    share: float
    """Share of the network's values (not of its names) that were taken, in [0, 1]."""

    def sentence(self) -> str:
        """What happened, in one line for the user."""
        sentence = f"{len(self.taken)} weights taken ({_percent(self.share)} of all values)"
        for names, what in ((self.fresh, "fresh"), (self.unused, "unused")):
            if names:
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                sentence += f"; {len(names)} {what}: {', '.join(names[:_NAMED])}{more}"
        return sentence


def transfer(module: nn.Module, state: Mapping[str, Tensor]) -> TransferReport:
    """Copy every tensor of `state` into `module` whose name and shape are those of a weight there.

    Values keep the module's dtype and device. When it is refused, the module is untouched.

    Raises:
        CheckpointError: less than half (`LEAST_SHARE`) of the module's values would be taken.
    """
    own = module.state_dict()
    taken = tuple(name for name, value in own.items() if name in state and state[name].shape == value.shape)
    chosen = frozenset(taken)
    fresh = tuple(name for name in own if name not in chosen)
    unused = tuple(name for name in state if name not in chosen)
    share = sum(own[name].numel() for name in taken) / max(1, sum(value.numel() for value in own.values()))
    if share < LEAST_SHARE:
        raise CheckpointError(
            f"wanted weights of which {_percent(LEAST_SHARE)} or more of the network's values can be taken, got "
            f"{_percent(share)} ({len(taken)} of {len(own)} weights have the same name and shape"
            f"{_first_difference(own, state)}); train from random weights, or bring the settings nearer together"
        )
    with torch.no_grad():
        for name in taken:
            own[name].copy_(state[name])
    return TransferReport(taken, fresh, unused, share)


def start_from(module: nn.Module, model: str, name_or_path: str | Path) -> TransferReport:
    """Begin `module`, a network of the list's name `model`, with what fits of a checkpoint.

    Args:
        name_or_path: what `find_checkpoint` takes: a shipped model's name, a weights file, a run's folder (its best
            weights), a published folder, or a repository on the hub.

    Raises:
        CheckpointError: there is no such checkpoint, it holds a model of another name, or too little of it fits.
    """
    path = find_checkpoint(name_or_path)
    other, header = load_checkpoint(path)
    if header.model != model:
        raise CheckpointError(
            f"{path}: wanted weights of model {model!r} to start from, got {header.model!r}; "
            f"name that model in the training configuration (model.name={header.model}), or start from other weights"
        )
    try:
        return transfer(module, other.state_dict())
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _first_difference(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    for name, value in own.items():
        if name in state and state[name].shape != value.shape:
            return f"; {name} is {tuple(value.shape)} here and {tuple(state[name].shape)} there"
    return ""
