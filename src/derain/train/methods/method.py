"""What the training loop needs of a training method.

A method is written in two parts. Its preparation is a function that reads settings and checks everything that can be
wrong before any device is taken; it returns the data and a function that builds the method on the devices. The method
itself holds networks and optimizers and takes the steps. The loop does the rest: batches, learning rate, validation,
checkpoints, log, signals, resuming.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch
from rich.console import Console
from torch import nn

from derain.data.stream import SampleDataset
from derain.models.network import RestorationNetwork
from derain.settings import Settings, build_settings
from derain.train.accelerator import Accelerator
from derain.train.settings import TrainSettings
from derain.train.validation import Validation

BatchT = TypeVar("BatchT")
ReadT = TypeVar("ReadT", contravariant=True)


@dataclass(frozen=True)
class Report:
    """A line of its own for the log."""

    kind: str
    """Such as `reweighting`."""
    row: Mapping[str, Any]
    """JSON values by name."""
    is_rare: bool = True
    """Written whenever it comes; otherwise only at steps whose losses are written too."""


@dataclass(frozen=True)
class StepResult:
    """What came out of one optimizer step, over the whole batch, alike in all processes."""

    samples: int
    """Samples in the batch."""
    losses: Mapping[str, Sequence[float]]
    """Named loss terms, each with a value per sample or a single one; the log has their means. `loss` must be among
    them; `loss.NAME` is shown as the loss of a type of rain."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Other figures for the log, such as `gradient_norm`."""
    report: Report | None = None
    """A further line for the log, where there is one."""


class TrainingMethod(Protocol[ReadT]):
    """What learns: networks, their optimizers, and the step that moves them."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Every network by name, frozen ones included; the state of a run keeps their weights."""
        ...

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Every optimizer by name. The loop sets the learning rate of their groups before each step: that of the run
        times the group's own `lr_scale`, 1 unless given. A method with a schedule of its own changes `lr_scale` in its
        steps, which is saved with the optimizer; `optimizer.lr_min` equal to `optimizer.lr` leaves the cosine out."""
        ...

    def step(self, batch: ReadT, number: int) -> StepResult:
        """Take optimizer step `number`, counted from 1, on this process's share of the batch.

        Raises:
            NotFiniteError: a loss or gradient is not finite.
            TrainingError: training cannot continue for another reason.
        """
        ...

    def is_finished(self) -> bool:
        """Whether there is nothing more to learn, such as when a held-out figure has stopped rising: the run then ends
        before its `steps`. The same in all processes, and kept in `state_dict`."""
        ...

    def exported(self) -> RestorationNetwork:
        """The restoration network that is validated and exported, in evaluation mode."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Whatever else a resumed run needs, as tensors, numbers, strings, lists and dictionaries.

        The leader's is saved and given back to all processes: what each of them finds out must be exchanged in a step.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            CheckpointError: it is of other settings.
        """
        ...


class TrainingData(Protocol[BatchT]):
    """What a method learns from."""

    def open(self, device: torch.device, console: Console | None) -> SampleDataset[Any, BatchT]:
        """The samples. Checks what can be checked and prepares what takes long; the leader does it before the others.

        Args:
            device: where the networks learn.
            console: for progress; none in processes that print nothing.

        Raises:
            DatasetError: data is missing or wrong.
        """
        ...

    def check(self) -> None:
        """Check what `open` would, and prepare nothing.

        Raises:
            DatasetError: data is missing or wrong.
        """
        ...

    def digest(self) -> str:
        """Digest of the files that are learnt from."""
        ...

    def watched_digest(self) -> str | None:
        """Digest of held-out files that the method itself looks at while it learns; None where there are none."""
        ...

    def counts(self) -> dict[str, int]:
        """Rows by kind, for the record of the run."""
        ...


@dataclass(frozen=True)
class Preparation(Generic[BatchT]):
    """A method whose settings and data passed their checks."""

    data: TrainingData[BatchT]
    build: Callable[[Accelerator], TrainingMethod[BatchT]]
    """Makes the method on the devices of the run, in every process."""
    validation: Validation | None = None
    """Judges the exported network, where there are no pairs to do it by; none for the pairs of split `val`."""


class NoOptions(Settings):
    """The options of a method that has none."""


@dataclass(frozen=True)
class Method:
    """A training method as the list of methods has it."""

    prepare: Callable[[TrainSettings, Any, Console | None], Preparation[Any]]
    """Prepares the method from the settings of a run and its own options; prints only to the console, which is none in
    processes but the first. Random first weights are drawn from torch's own generator, which has the run's seed.

    Raises:
        SettingsError, DatasetError, CheckpointError: the run cannot begin.
    """
    options: type[Settings] = NoOptions
    """What `method.options` of a training configuration may set."""

    def options_of(self, settings: TrainSettings) -> Settings:
        """The method's own options in the settings.

        Raises:
            SettingsError: an option is unknown or has a wrong value.
        """
        return build_settings(self.options, settings.method.options, "method.options")

    def with_all_options(self, settings: TrainSettings) -> TrainSettings:
        """The settings with a value for each of the method's options.

        Raises:
            SettingsError: an option is unknown or has a wrong value.
        """
        options = self.options_of(settings).model_dump(mode="json")
        return settings.model_copy(update={"method": settings.method.model_copy(update={"options": options})})
