"""The training loop, on any number of devices through Lightning Fabric.

Everything random in a step follows from the run's seed and the step's number (data) or from torch's generator
(network), whose state is saved; so a run that is stopped and resumed goes on as if it had not been.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor, nn

from derain.data.scene import DryScene
from derain.data.schedule import Schedule
from derain.data.sources import RainyPicture, Source
from derain.data.stream import CLEAN_LABEL, Batch, CropDataset
from derain.errors import TrainingError
from derain.models.checkpoints import CheckpointHeader, read_header, save_checkpoint
from derain.objectives.losses import rain_mask
from derain.train.balance import Balance
from derain.train.corpus import Corpus, read_corpus
from derain.train.devices import Crew, align_gradients, build_fabric, crowding, is_leader, is_parted
from derain.train.feed import Feed
from derain.train.folder import DataRecord, RunFolder
from derain.train.journal import Journal, Window
from derain.train.loggers import require_packages
from derain.train.network import build_network
from derain.train.on_device import simulate_scene
from derain.train.probe import Probe, fixed_probe
from derain.train.schedule import WeightAverage, build_optimizer, learning_rate
from derain.train.settings import TrainSettings
from derain.train.signals import StopRequest
from derain.train.state import Parts, Position, load_state, save_state
from derain.train.supervised import Strategy
from derain.train.validation import Validate, ValidationReport

OVERFLOWS = 20
"""So many steps in a row may float16 skip while it looks for a scale of the gradients."""


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

    With several devices, this starts the other processes, which run the same command. `clock` tells the time in
    seconds from any moment on; `max_minutes` and the times in the log go by it.

    Raises:
        SettingsError, DatasetError, CheckpointError, TrainingError: the run cannot start or be resumed.
    """
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
        if crowded := crowding(settings):
            console.print(crowded, highlight=False, soft_wrap=True)
    torch.manual_seed(settings.seed)
    module = build_network(settings.model, console if is_leader() else None)
    corpus = read_corpus(settings.data, "train")
    probe = fixed_probe(settings)
    source, digest = None, ""
    if is_leader():
        # The leader comes first: all that can be wrong is found before there are other processes, and what is checked
        # and rendered once is there already when the others look.
        source = corpus.source(console)
        if left_out := corpus.left_out():
            told = ", ".join(f"{count} of {name or 'no type'}" for name, count in left_out.items())
            console.print(f"rows that take no part, for data.types does not name them: {told}", soft_wrap=True)
        digest = corpus.digest()
        watched = "" if probe is None else read_corpus(settings.data, "probe").digest()
        validated = read_corpus(settings.data, "val").digest()
        record = DataRecord(digest, validated or None, watched or None, corpus.counts())
        if resume:
            folder.require_same_data(record)
        else:
            folder.begin(settings, record)
    fabric.launch()
    fabric.barrier()
    source = source or corpus.source()
    training = Training(
        settings, fabric, module, corpus, source, probe, strategy, validate, console, folder, digest, clock
    )
    if resume:
        training.load()
        if training.crew.leads:
            folder.note_resumed(settings)
    return training


class Training:
    """The moving parts of a run that is ready to learn; made by `start_training`."""

    def __init__(
        self,
        settings: TrainSettings,
        fabric: Fabric,
        module: nn.Module,
        corpus: Corpus,
        source: Source,
        probe: Probe | None,
        strategy: Strategy,
        validate: Validate,
        console: Console,
        folder: RunFolder,
        digest: str,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.fabric = fabric
        self.crew = Crew(fabric)
        self.corpus = corpus
        self.source = source
        self.strategy = strategy
        self.validate = validate
        self.console = console
        self.folder = folder
        self.digest = digest
        self.clock = clock
        self.position = Position()
        self.overflows = 0
        self.raw = module.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = WeightAverage(self.raw, settings.optimizer.ema_decay)
        self.is_scaled = settings.precision == "16-mixed"
        self.optimizer = build_optimizer(self.raw, settings.optimizer, fused=not self.is_scaled)
        if self.crew.size > 1:
            align_gradients(self.raw)
        self.module, self.wrapped_optimizer = fabric.setup(self.raw, self.optimizer)
        self.balance = Balance(
            settings.data.types, settings.reweighting, self.crew, None if probe is None else self.probe_losses
        )
        self.probe = probe
        scaling = fabric.strategy.precision
        self.parts = Parts(self.raw, self.average, self.optimizer, self.balance, scaling)
        if not self.crew.leads:  # the noise of routers is another one in each process
            torch.manual_seed(settings.seed + 1_000_003 * self.crew.rank)

    def load(self) -> None:
        """Go on from the state in the folder.

        Raises:
            CheckpointError: the state is damaged or foreign.
            TrainingError: the run is longer already than the settings want it.
        """
        if self.folder.state.exists():
            self.position = load_state(self.folder.state, self.parts, self.crew)
        else:
            self.say(f"{self.folder.root}: no state was saved yet; the run begins at its first step")
        position = self.position
        self.crew.require_same(position.step, "the step to go on from")
        # A run that ended has its final weights, and being asked to go on it only says so.
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
        random_states = self.crew.random_states()
        if self.crew.leads:
            save_state(self.folder.state, self.position, self.parts, random_states)

    def say(self, text: str) -> None:
        """A line for the person who waits, said once."""
        if self.crew.leads:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def train(self) -> Outcome:
        """Train until the run has its length, or a signal asks to stop.

        Raises:
            DatasetError, ImageError, CheckpointError, TrainingError: the run cannot go on; the last training state
                that was saved is kept.
        """
        settings, data, first_step = self.settings, self.settings.data, self.position.step
        dataset = CropDataset(
            self.source,
            data.types,
            settings.seed,
            data.crop,
            data.crops_per_picture,
            data.clean_fraction,
            data.turn,
            rain_mask,
            self.corpus.type_shares(),
            data.simulation.is_in_trainer(self.fabric.device),
        )
        schedule = Schedule(settings.batch_size, data.crops_per_picture)
        slots = self.crew.slots(settings.batch_size)
        journal = (
            Journal(
                self.folder,
                first_step,
                settings.steps,
                self.console,
                settings.loggers,
                settings.model_dump(mode="json"),
            )
            if self.crew.leads
            else None
        )

        def tell_death(step: int) -> None:
            text = f"a process that prepares data died after step {step}; another one goes on"
            if journal is not None:
                journal.event(step, text)
            else:
                self.console.print(f"process {self.crew.rank}: {text}", highlight=False, soft_wrap=True)

        def simulate(scene: DryScene) -> RainyPicture:
            return simulate_scene(scene, data.simulation.rain, self.fabric.device)

        try:
            with (
                Feed(dataset, schedule, slots, settings.steps, data.workers, tell_death, simulate) as feed,
                StopRequest() as stop,
                journal or nullcontext(),
            ):
                return self.go(feed, journal, stop)
        except RuntimeError as error:
            if self.crew.size == 1 or not is_parted(error):
                raise
            raise TrainingError(
                f"process {self.crew.rank} of {self.crew.size} lost the others ({str(error).splitlines()[0]}); see "
                "what they say, then go on with --resume"
            ) from error

    def go(self, feed: Feed, journal: Journal | None, stop: StopRequest) -> Outcome:
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
            losses, labels = self.step(batch, lr, window, fetched - before)
            position.step += 1
            position.elapsed_s = self.crew.largest(self.clock() - began)
            is_stopped = self.crew.largest(float(stop.received is not None)) > 0
            progress = self.progress()
            is_finished = progress >= 1
            is_told = position.step % settings.log_every_steps == 0 or is_finished
            tick = self.balance.after_step(position.step, losses, labels)
            # Methods that tick at every step are told as often as the losses are.
            if journal is not None and tick is not None and (is_told or self.balance.plan.every_steps > 1):
                journal.reweighting(position.step, tick)
            if journal is not None and is_told:
                eta_s = (self.clock() - session_s) * (1 - progress) / max(progress - first_progress, 1e-9)
                journal.train(position.step, window, lr, progress, position.elapsed_s, eta_s)
            if is_told:
                window = Window()
            if position.step % settings.validation.every_steps == 0 or is_finished:
                report = None if journal is None else self.judge(journal)
                self.crew.wait()
                position.elapsed_s = self.crew.largest(self.clock() - began)
                is_finished = self.progress() >= 1  # the time may have run out meanwhile
                if report is not None and is_finished:
                    self.export(self.folder.final, report.numbers())
            if settings.keep_every_steps is not None and position.step % settings.keep_every_steps == 0:
                self.export(self.folder.kept(position.step), {})
            if position.step % settings.checkpoint_every_steps == 0 or is_finished or is_stopped:
                self.save()
        number = int(stop.received) if stop.received is not None and not is_finished else None
        number = int(self.crew.largest(float(number or 0))) or None
        return Outcome(self.folder, position.step, is_finished, number)

    def progress(self) -> float:
        """How much of the run is done, in [0, 1]: by steps, or by time where there is a limit and it is further on."""
        by_steps = self.position.step / self.settings.steps
        if self.settings.max_minutes is None:
            return min(1.0, by_steps)
        return min(1.0, max(by_steps, self.position.elapsed_s / (60 * self.settings.max_minutes)))

    def step(self, batch: Batch, lr: float, window: Window, wait_s: float) -> tuple[Tensor, tuple[str, ...]]:
        """One optimizer step; the losses (B,), without the types' weights, and labels of the whole batch.

        Raises:
            TrainingError: the loss or the gradient is not finite; the weights were not touched.
        """
        before = self.clock()
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.module.train()
        shares = []
        parts = batch.parts(settings.accumulate)
        for number, part in enumerate(parts, start=1):
            rainy = part.rainy.contiguous(memory_format=torch.channels_last)
            with self.fabric.no_backward_sync(self.module, enabled=number < len(parts) and self.crew.size > 1):
                terms = self.strategy(self.module, Batch(rainy, part.clean, part.rain_amount, part.labels))
                losses = terms.per_sample_total()
                factors = self.balance.factors(part.labels).to(losses.device)
                self.fabric.backward((factors * losses).mean() / len(parts))
            shares.append(losses.detach())
        losses, labels = self.crew.gather_losses(torch.cat(shares), batch.labels, (*settings.data.types, CLEAN_LABEL))
        length = self.fabric.clip_gradients(
            self.module, self.wrapped_optimizer, max_norm=settings.optimizer.clip_norm, error_if_nonfinite=False
        )
        norm = math.nan if length is None else float(length)
        self.require_finite(float(losses.mean()), norm)
        self.wrapped_optimizer.step()  # does nothing where float16 overflowed
        self.wrapped_optimizer.zero_grad(set_to_none=True)
        if math.isfinite(norm):
            self.average.update(self.raw)
        window.add(losses, labels, norm if math.isfinite(norm) else 0.0, self.clock() - before, wait_s)
        return losses, labels

    def probe_losses(self) -> dict[str, float]:
        """The losses that the reweighting watches."""
        assert self.probe is not None  # not asked for otherwise
        watched = self.average.module if self.balance.plan.probed == "average" else self.raw
        return self.probe(watched, self.strategy, self.fabric)

    def require_finite(self, loss: float, norm: float) -> None:
        """Refuse a loss or gradient that is not finite, but for float16, which skips some steps to find its scale."""
        self.overflows = 0 if math.isfinite(norm) else self.overflows + 1
        may_overflow = self.is_scaled and self.overflows <= OVERFLOWS
        if math.isfinite(loss) and (math.isfinite(norm) or may_overflow):
            return
        kept = [str(path) for path in (self.folder.state, self.folder.best) if path.exists()]
        raise TrainingError(
            f"step {self.position.step + 1}: the loss is {loss} and the norm of its gradient {norm}; "
            f"kept from before: {', '.join(kept) or 'nothing yet'}. Start a new run with a lower optimizer.lr or "
            "precision=32-true; model.initial_weights lets it begin with the best weights"
        )

    def judge(self, journal: Journal) -> ValidationReport:
        """Validate the running mean of the weights; export them if they are the best so far."""
        report = self.validate(self.average.module)
        best = self.position.best_score
        is_best = math.isfinite(report.score) and (best is None or report.score > best)
        if is_best:
            self.position.best_score = report.score
            self.export(self.folder.best, report.numbers())
        journal.validation(self.position.step, report, is_best)
        return report

    def export(self, path: Path, metrics: dict[str, float]) -> None:
        """Write the running mean of the weights as a file that restores photographs."""
        if not self.crew.leads:
            return
        header = CheckpointHeader(
            model=self.settings.model.name,
            settings=self.raw.settings.model_dump(mode="json"),
            data_digest=self.digest,
            step=self.position.step,
            metrics=metrics,
        )
        save_checkpoint(path, self.average.module, header)
