"""The training loop: one device, through Lightning Fabric.

Everything random in a step follows from the run's seed and the step's number (data) or from torch's generator
(network), whose state is saved; so a run that is stopped and resumed goes on as if it had not been.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import nn

from derain.data.schedule import Schedule
from derain.data.sources import Source
from derain.data.stream import Batch, CropDataset, batches
from derain.errors import SettingsError, TrainingError
from derain.models.checkpoints import CheckpointHeader, load_checkpoint, save_checkpoint
from derain.models.zoo import build
from derain.objectives.losses import rain_mask
from derain.train.corpus import read_corpus
from derain.train.folder import DataRecord, RunFolder
from derain.train.journal import Journal, Window
from derain.train.schedule import WeightAverage, build_optimizer, learning_rate
from derain.train.settings import TrainSettings
from derain.train.signals import StopRequest
from derain.train.state import Position, load_state, save_state
from derain.train.supervised import Strategy
from derain.train.validation import Validate, ValidationReport


@dataclass(frozen=True)
class Outcome:
    """How a session of training ended."""

    folder: RunFolder
    step: int
    """Optimizer steps done."""
    is_finished: bool
    """Whether the run has reached its length."""
    signal_number: int | None
    """The signal that stopped it, if one did."""


def start_training(
    settings: TrainSettings,
    strategy: Strategy,
    validate: Validate,
    console: Console,
    resume: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> "Training":
    """Check all that a run needs, and make its folder or open it again; nothing is learnt yet.

    `clock` tells the time in seconds from any moment on; `max_minutes` and the times in the log go by it.

    Raises:
        SettingsError, DatasetError, CheckpointError, TrainingError: the run cannot start or be resumed.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    corpus = read_corpus(settings.data, "train")
    source = corpus.source()
    record = DataRecord(corpus.digest(), read_corpus(settings.data, "val").digest() or None, corpus.counts())
    folder = RunFolder(settings.run)
    if resume:
        folder.reopen(settings, record)
    fabric = _fabric(settings)
    torch.manual_seed(settings.seed)
    module = _build_module(settings)
    training = Training(settings, fabric, module, source, strategy, validate, console, folder, record.digest, clock)
    if not resume:
        folder.begin(settings, record)
    elif folder.state.exists():
        training.load()
    else:
        console.print(f"{folder.root}: no state was saved yet; the run begins at its first step", highlight=False)
    return training


class Training:
    """The moving parts of a run that is ready to learn; made by `start_training`."""

    def __init__(
        self,
        settings: TrainSettings,
        fabric: Fabric,
        module: nn.Module,
        source: Source,
        strategy: Strategy,
        validate: Validate,
        console: Console,
        folder: RunFolder,
        digest: str,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.fabric = fabric
        self.source = source
        self.strategy = strategy
        self.validate = validate
        self.console = console
        self.folder = folder
        self.digest = digest
        self.clock = clock
        self.position = Position()
        self.raw = module.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = WeightAverage(self.raw, settings.optimizer.ema_decay)
        self.optimizer = build_optimizer(self.raw, settings.optimizer)
        self.module, self.wrapped_optimizer = fabric.setup(self.raw, self.optimizer)

    def load(self) -> None:
        """Go on from the state in the folder.

        Raises:
            CheckpointError: the state is damaged or foreign.
            TrainingError: the run is longer already than the settings want it.
        """
        position = self.position = load_state(self.folder.state, self.raw, self.average, self.optimizer)
        # A run that ended has its final weights, and being asked to go on it only says so.
        is_cut_short = self.progress() >= 1 and not self.folder.final.exists()
        if position.step > self.settings.steps or is_cut_short:
            limit = "" if self.settings.max_minutes is None else f" and max_minutes={self.settings.max_minutes}"
            raise TrainingError(
                f"{self.folder.root}: wanted a length beyond what is done, {position.step} steps in "
                f"{position.elapsed_s / 60:.1f} minutes, got steps={self.settings.steps}{limit}; give a greater length "
                "(the weights so far are in checkpoints)"
            )

    def save(self) -> None:
        save_state(self.folder.state, self.position, self.raw, self.average, self.optimizer)

    def train(self) -> Outcome:
        """Train until the run has its length, or a signal asks to stop.

        Raises:
            DatasetError, ImageError, CheckpointError, TrainingError: the run cannot go on; the last training state
                that was saved is kept.
        """
        data, first_step = self.settings.data, self.position.step
        dataset = CropDataset(
            self.source,
            data.types,
            self.settings.seed,
            data.crop,
            data.crops_per_picture,
            data.clean_fraction,
            data.turn,
            rain_mask,
        )
        schedule = Schedule(self.settings.batch_size, data.crops_per_picture)
        stream = batches(dataset, schedule, first_step, self.settings.steps, data.workers)
        with (
            closing(stream),
            StopRequest() as stop,
            Journal(self.folder, first_step, self.settings.steps, self.console) as journal,
        ):
            try:
                return self.go(stream, journal, stop)
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise TrainingError(
                    f"a process that prepares data died ({str(error).splitlines()[0]}), perhaps for want of memory; "
                    "go on with --resume, with fewer data.workers or a smaller data.simulation.side_max"
                ) from error

    def go(self, stream: Generator[Batch, None, None], journal: Journal, stop: StopRequest) -> Outcome:
        """Step until the end or a signal."""
        settings, position = self.settings, self.position
        window = Window()
        began = self.clock() - position.elapsed_s
        first_progress = self.progress()
        is_finished = first_progress >= 1
        session_s = self.clock()
        saved_step = position.step
        while not is_finished and stop.received is None:
            before = self.clock()
            batch = next(stream).to(self.fabric.device)
            fetched = self.clock()
            lr = learning_rate(position.step, self.progress(), settings.optimizer)
            self.step(batch, lr, window, fetched - before)
            position.step += 1
            position.elapsed_s = self.clock() - began
            progress = self.progress()
            is_finished = progress >= 1
            if position.step % settings.log_every_steps == 0 or is_finished:
                eta_s = (self.clock() - session_s) * (1 - progress) / max(progress - first_progress, 1e-9)
                journal.train(position.step, window, lr, progress, position.elapsed_s, eta_s)
                window = Window()
            if position.step % settings.validation.every_steps == 0 or is_finished:
                report = self.judge(journal)
                position.elapsed_s = self.clock() - began
                if is_finished:
                    self.export(self.folder.final, report)
            if position.step % settings.checkpoint_every_steps == 0 or is_finished or stop.received is not None:
                self.save()
                saved_step = position.step
        if saved_step != position.step:  # the signal came after the last step had looked for it
            self.save()
        number = int(stop.received) if stop.received is not None and not is_finished else None
        return Outcome(self.folder, position.step, is_finished, number)

    def progress(self) -> float:
        """How much of the run is done, in [0, 1]: by steps, or by time where there is a limit and it is further on."""
        by_steps = self.position.step / self.settings.steps
        if self.settings.max_minutes is None:
            return min(1.0, by_steps)
        return min(1.0, max(by_steps, self.position.elapsed_s / (60 * self.settings.max_minutes)))

    def step(self, batch: Batch, lr: float, window: Window, wait_s: float) -> None:
        """One optimizer step.

        Raises:
            TrainingError: the loss or the gradient is not finite; the weights were not touched.
        """
        before = self.clock()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.module.train()
        rainy = batch.rainy.contiguous(memory_format=torch.channels_last)
        terms = self.strategy(self.module, Batch(rainy, batch.clean, batch.rain_amount, batch.labels))
        losses = terms.per_sample_total()
        loss = losses.mean()
        self.fabric.backward(loss)
        clip_norm = self.settings.optimizer.clip_norm
        length = self.fabric.clip_gradients(
            self.module, self.wrapped_optimizer, max_norm=clip_norm, error_if_nonfinite=False
        )
        norm = math.nan if length is None else float(length)
        mean = float(loss.detach())
        if not (math.isfinite(mean) and math.isfinite(norm)):
            kept = [str(path) for path in (self.folder.state, self.folder.best) if path.exists()]
            raise TrainingError(
                f"step {self.position.step + 1}: the loss is {mean} and the norm of its gradient {norm}; "
                f"kept from before: {', '.join(kept) or 'nothing yet'}. Start a new run with a lower optimizer.lr or "
                "precision=32-true; model.initial_weights lets it begin with the best weights"
            )
        self.wrapped_optimizer.step()
        self.wrapped_optimizer.zero_grad(set_to_none=True)
        self.average.update(self.raw)
        window.add(losses.detach().cpu(), batch.labels, norm, self.clock() - before, wait_s)

    def judge(self, journal: Journal) -> ValidationReport:
        """Validate the running mean of the weights; export them if they are the best so far."""
        report = self.validate(self.average.module)
        best = self.position.best_score
        is_best = math.isfinite(report.score) and (best is None or report.score > best)
        if is_best:
            self.position.best_score = report.score
            self.export(self.folder.best, report)
        journal.validation(self.position.step, report, is_best)
        return report

    def export(self, path: Path, report: ValidationReport) -> None:
        """Write the running mean of the weights as a file that restores photographs."""
        header = CheckpointHeader(
            model=self.settings.model.name,
            settings=self.raw.settings.model_dump(mode="json"),
            data_digest=self.digest,
            step=self.position.step,
            metrics=report.numbers(),
        )
        save_checkpoint(path, self.average.module, header)


def _fabric(settings: TrainSettings) -> Fabric:
    try:
        return Fabric(accelerator=settings.device, devices=1, precision=settings.precision)
    except RuntimeError as error:
        raise SettingsError(f"device: wanted {settings.device!r}, which this machine does not have; {error}") from error


def _build_module(settings: TrainSettings) -> nn.Module:
    """The network with random weights, or with those of `model.initial_weights`."""
    module = build(settings.model.name, settings.model.changes or None)
    if settings.model.initial_weights is not None:
        other, header = load_checkpoint(settings.model.initial_weights)
        if header.model != settings.model.name or other.settings != module.settings:
            raise TrainingError(
                f"{settings.model.initial_weights}: wanted weights of {settings.model.name!r} with this recipe's "
                f"settings, got {header.model!r} with {header.settings}; name that model in the recipe"
            )
        module.load_state_dict(other.state_dict())
    return module
