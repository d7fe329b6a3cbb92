"""A whole training run in this process, as the command does it, and a strategy that interrupts it."""

import os
import signal
from io import StringIO

from rich.console import Console
from torch import nn

from derain.data.stream import Batch
from derain.train.loop import Outcome, start_training
from derain.train.settings import LossSettings, TrainSettings
from derain.train.supervised import Strategy, Supervised, Terms
from derain.train.validation import fixed_validation


def run_training(settings: TrainSettings, resume: bool = False, strategy: Strategy | None = None) -> Outcome:
    """Train to the end (or a signal), saying nothing."""
    console = Console(file=StringIO(), width=200)
    strategy = strategy or Supervised(settings.loss)
    return start_training(settings, strategy, fixed_validation(settings), console, resume).train()


class StopAfter:
    """A strategy that sends a signal to its own process while it computes a given step."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        self.inner = Supervised(LossSettings())
        self.steps_left = step
        self.number = number

    def __call__(self, module: nn.Module, batch: Batch) -> Terms:
        self.steps_left -= module.training  # the probe is no step
        if self.steps_left == 0 and module.training:
            os.kill(os.getpid(), self.number)
        return self.inner(module, batch)
