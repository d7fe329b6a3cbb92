"""The training loop: steps, learning rate, validation, checkpoints, log, resuming, signals and devices.

What is learnt, and from what, is the training method's (`derain.train.methods`). Everything random in a step follows
from the run's seed and the step's number (data) or from torch's generator (networks), whose state is saved; so a run
that is stopped and resumed continues as if it had not been.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console

from derain.data.schedule import Schedule
from derain.data.stream import SampleDataset
from derain.errors import TrainingError
from derain.models.checkpoints import CheckpointHeader, read_header, save_checkpoint
from derain.train.accelerator import Accelerator, NotFiniteError
from derain.train.devices import build_fabric, is_leader, oversubscription_warning
from derain.train.feed import Feed
from derain.train.folder import DataRecord, RunFolder
from derain.train.journal import Journal, Window
from derain.train.loggers import require_packages
from derain.train.methods.method import Method, StepResult, TrainingMethod
from derain.train.process_group import is_peer_failure
from derain.train.schedule import learning_rate, set_learning_rate
from derain.train.settings import TrainSettings
from derain.train.signals import StopRequest
from derain.train.state import Position, load_state, save_state
from derain.train.validation import Validation, ValidationResult, fixed_validation


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
    method: Method,
    console: Console,
    resume: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> "Training":
    """Check all that a run needs, and make its folder or open it again; nothing is learnt yet.

    With several devices, this starts the other processes, which run the same command.

    Args:
        settings: of the run.
        method: the training method.
        console: where progress is printed.
        resume: continue the run in the folder.
        clock: gives the time in seconds from any moment on, for `max_minutes` and the times in the log.

    Raises:
        SettingsError, DatasetError, CheckpointError, TrainingError: the run cannot start or be resumed.
    """
    settings = method.with_all_options(settings)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    require_packages(settings.loggers)
    fabric = build_fabric(settings)
    folder = RunFolder(settings.run)
    if is_leader():
        if resume:
            folder.require_resumable(settings)
        else:
            folder.require_unused()
        if warning := oversubscription_warning(settings):
            console.print(warning, highlight=False, soft_wrap=True)
    torch.manual_seed(settings.seed)
    prepared = method.prepare(settings, method.options_of(settings), console if is_leader() else None)
    data = prepared.data
    validation = fixed_validation(settings) if prepared.validation is None else prepared.validation
    dataset, digest = None, ""
    if is_leader():
        # The leader comes first: all that can be wrong is found before there are other processes, and what is checked
        # and rendered once is there already when the others look.
        dataset = data.open(fabric.device, console)
        digest = data.digest()
        record = DataRecord(digest, validation.digest(), data.watched_digest(), data.counts())
        if resume:
            folder.require_same_data(record)
        else:
            folder.begin(settings, record)
    fabric.launch()
    fabric.barrier()
    dataset = dataset or data.open(fabric.device, None)
    accelerator = Accelerator(fabric)
    learning = prepared.build(accelerator)
    training = Training(settings, fabric, accelerator, learning, dataset, validation, console, folder, digest, clock)
    if resume:
        training.load()
        if training.group.is_leader:
            folder.note_resumed(settings)
    return training


class Training:
    """The moving parts of a run that is ready to learn; made by `start_training`."""

    def __init__(
        self,
        settings: TrainSettings,
        fabric: Fabric,
        accelerator: Accelerator,
        method: TrainingMethod[Any],
        dataset: SampleDataset[Any, Any],
        validation: Validation,
        console: Console,
        folder: RunFolder,
        digest: str,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.fabric = fabric
        self.accelerator = accelerator
        self.group = accelerator.group
        self.method = method
        self.dataset = dataset
        self.validation = validation
        self.console = console
        self.folder = folder
        self.digest = digest
        self.clock = clock
        self.position = Position()
        if not self.group.is_leader:  # the noise of routers is another one in each process
            torch.manual_seed(settings.seed + 1_000_003 * self.group.rank)

    def load(self) -> None:
        """Restore the state in the folder.

        Raises:
            CheckpointError: the state is damaged or foreign.
            TrainingError: the run is longer already than the settings want it.
        """
        if self.folder.state.exists():
            self.position = load_state(self.folder.state, self.method, self.accelerator)
        else:
            self.print(f"{self.folder.root}: no state was saved yet; the run begins at its first step")
        position = self.position
        self.group.require_same(position.step, "the step to resume from")
        # A run that ended has its final weights; resuming it only prints so.
        final = self.folder.final
        has_ended = final.exists() and read_header(final).step == position.step
        is_cut_short = self.progress() >= 1 and not has_ended
        if position.step > self.settings.steps or is_cut_short:
            limit = "" if self.settings.max_minutes is None else f" and max_minutes={self.settings.max_minutes}"
            raise TrainingError(
                f"{self.folder.root}: wanted a length beyond what is done, {position.step} steps in "
                f"{position.elapsed_s / 60:.1f} minutes, got steps={self.settings.steps}{limit}; give a greater length "
                "(the weights so far are in checkpoints)"
            )

    def save(self) -> None:
        """Save the state of all processes."""
        random_states = self.group.random_states()
        if self.group.is_leader:
            save_state(self.folder.state, self.position, self.method, self.accelerator, random_states)

    def print(self, text: str) -> None:
        """Print a line once, whatever the number of processes."""
        if self.group.is_leader:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def train(self) -> Outcome:
        """Train until the run is finished, or a signal asks to stop.

        Raises:
            DatasetError, ImageError, CheckpointError, TrainingError: the run cannot continue; the last training state
                that was saved is kept.
        """
        settings, first_step = self.settings, self.position.step
        schedule = Schedule(settings.batch_size, settings.data.crops_per_picture)
        slots = self.group.slots(settings.batch_size)
        hyperparameters = settings.model_dump(mode="json")
        journal = None
        if self.group.is_leader:
            journal = Journal(self.folder, first_step, settings.steps, self.console, settings.loggers, hyperparameters)

        def on_worker_exit(step: int) -> None:
            text = f"a process that prepares data died after step {step}; another one takes its place"
            if journal is not None:
                journal.event(step, text)
            else:
                self.console.print(f"process {self.group.rank}: {text}", highlight=False, soft_wrap=True)

        try:
            with (
                Feed(self.dataset, schedule, slots, settings.steps, settings.data.workers, on_worker_exit) as feed,
                StopRequest() as stop,
                journal or nullcontext(),
            ):
                return self.run(feed, journal, stop)
        except RuntimeError as error:
            if self.group.size == 1 or not is_peer_failure(error):
                raise
            raise TrainingError(
                f"process {self.group.rank} of {self.group.size} lost the others ({str(error).splitlines()[0]}); see "
                "their messages, then continue with --resume"
            ) from error

    def run(self, feed: Feed[Any], journal: Journal | None, stop: StopRequest) -> Outcome:
        """Step until the end or a signal."""
        settings, position = self.settings, self.position
        window = Window()
        began = self.clock() - position.elapsed_s
        first_progress = self.progress()
        is_finished = first_progress >= 1
        is_stopped = False
        session_s = self.clock()
        while not is_finished and not is_stopped:
            before = self.clock()
            batch = feed.batch(position.step).to(self.fabric.device)
            fetched = self.clock()
            lr = learning_rate(position.step, self.progress(), settings.optimizer)
            result = self.step(batch, lr)
            window.add(result, self.clock() - fetched, fetched - before)
            position.step += 1
            position.elapsed_s = self.group.largest(self.clock() - began)
            is_stopped = self.group.largest(float(stop.received is not None)) > 0
            progress = self.progress()
            is_finished = progress >= 1
            is_logged = position.step % settings.log_every_steps == 0 or is_finished
            if journal is not None and result.report is not None and (is_logged or result.report.is_rare):
                journal.report(position.step, result.report)
            if journal is not None and is_logged:
                eta_s = (self.clock() - session_s) * (1 - progress) / max(progress - first_progress, 1e-9)
                journal.train(position.step, window, lr, progress, position.elapsed_s, eta_s)
            if is_logged:
                window = Window()
            if position.step % settings.validation.every_steps == 0 or is_finished:
                report = None if journal is None else self.validate(journal)
                self.group.wait()
                position.elapsed_s = self.group.largest(self.clock() - began)
                is_finished = self.progress() >= 1  # the time may have run out meanwhile
                if report is not None and is_finished:
                    self.export(self.folder.final, report.numbers())
            if settings.keep_every_steps is not None and position.step % settings.keep_every_steps == 0:
                self.export(self.folder.kept(position.step), {})
            if position.step % settings.checkpoint_every_steps == 0 or is_finished or is_stopped:
                self.save()
        number = int(stop.received) if stop.received is not None and not is_finished else None
        number = int(self.group.largest(float(number or 0))) or None
        return Outcome(self.folder, position.step, is_finished, number)

    def progress(self) -> float:
        """How much of the run is done, in [0, 1]: by steps, or by time where there is a limit and it is further on.

        All of it once the method has nothing more to learn.
        """
        if self.method.is_finished():
            return 1.0
        by_steps = self.position.step / self.settings.steps
        if self.settings.max_minutes is None:
            return min(1.0, by_steps)
        return min(1.0, max(by_steps, self.position.elapsed_s / (60 * self.settings.max_minutes)))

    def step(self, batch: Any, lr: float) -> StepResult:
        """One optimizer step of the method.

        Raises:
            TrainingError: the loss or the gradient is not finite; the weights were not touched.
        """
        number = self.position.step + 1
        set_learning_rate(self.method.optimizers().values(), lr)
        try:
            return self.method.step(batch, number)
        except NotFiniteError as error:
            kept = [str(path) for path in (self.folder.state, self.folder.best) if path.exists()]
            raise TrainingError(
                f"step {number}: {error}; kept from before: {', '.join(kept) or 'nothing yet'}. Start a new run with a "
                "lower optimizer.lr or precision=32-true; model.initial_weights lets it begin with the best weights"
            ) from error

    def validate(self, journal: Journal) -> ValidationResult:
        """Validate the network that is exported; write it if it is the best so far."""
        report = self.validation(self.method.exported())
        best = self.position.best_score
        is_best = math.isfinite(report.score) and (best is None or report.score > best)
        if is_best:
            self.position.best_score = report.score
            self.export(self.folder.best, report.numbers())
        journal.validation(self.position.step, report, is_best)
        return report

    def export(self, path: Path, metrics: dict[str, float]) -> None:
        """Write the network that the method exports as a file that restores photographs."""
        if not self.group.is_leader:
            return
        network = self.method.exported()
        header = CheckpointHeader(
            model=self.settings.model.name,
            settings=network.settings.model_dump(mode="json"),
            data_digest=self.digest,
            step=self.position.step,
            metrics=metrics,
        )
        save_checkpoint(path, network, header)
