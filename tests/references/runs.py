"""A whole training run in this process, as the command does it, and losses that interrupt or disturb it."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from io import StringIO

from rich.console import Console
from torch import Tensor

from derain.data.paired import Batch
from derain.train.loop import Outcome, start_training
from derain.train.methods.method import Method
from derain.train.methods.supervised import Criterion, RestorationLoss, prepare_supervised
from derain.train.settings import LossSettings, TrainSettings


def run_training(
    settings: TrainSettings,
    resume: bool = False,
    criterion: Criterion | None = None,
    output: StringIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Train to the end (or a signal)."""
    console = Console(file=output or StringIO(), width=200)
    method = Method(partial(prepare_supervised, criterion=criterion))
    return start_training(settings, method, console, resume, clock).train()


class AtSteps:
    """The loss of the settings, which does something besides at given steps, while they are computed.

    Args:
        steps: numbers of the steps, counted from 1 in this process; with `accumulate`, of their parts.
        act: is called in each of them.
        settings: of the run, for its loss; the defaults if none.
    """

    def __init__(self, steps: set[int], act: Callable[[], None], settings: TrainSettings | None = None) -> None:
        self.loss = RestorationLoss(LossSettings() if settings is None else settings.loss)
        self.steps = steps
        self.act = act
        self.step = 0

    def __call__(self, restored: Tensor, batch: Batch) -> dict[str, Tensor]:
        self.step += restored.requires_grad  # the probe is no step
        if restored.requires_grad and self.step in self.steps:
            self.act()
        return self.loss(restored, batch)


class StopAfter(AtSteps):
    """Sends a signal to its own process while a given step is computed."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        super().__init__({step}, lambda: os.kill(os.getpid(), number))


class Scaled:
    """The default loss, multiplied by a number at one step."""

    def __init__(self, step: int, factor: float) -> None:
        self.loss = RestorationLoss(LossSettings())
        self.steps_left = step
        self.factor = factor

    def __call__(self, restored: Tensor, batch: Batch) -> dict[str, Tensor]:
        self.steps_left -= 1
        terms = self.loss(restored, batch)
        return {name: term * (self.factor if self.steps_left == 0 else 1.0) for name, term in terms.items()}
