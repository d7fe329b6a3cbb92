"""The log of a run, the loggers, and progress in the terminal."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from derain.duration import duration
from derain.errors import TrainingError
from derain.train.folder import RunFolder
from derain.train.log import LogFile
from derain.train.loggers import Loggers
from derain.train.methods.method import Report, StepResult
from derain.train.validation import ValidationResult


class Window:
    """Figures gathered between two log lines."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)
        self.steps = 0
        self.crops = 0
        self.step_s = 0.0
        self.wait_s = 0.0

    def add(self, result: StepResult, step_s: float, wait_s: float) -> None:
        """Take in one optimizer step and its times."""
        for name, values in (*result.losses.items(), *((name, [value]) for name, value in result.numbers.items())):
            for value in values:
                self._sums[name] += value
            self._counts[name] += len(values)
        self.steps += 1
        self.crops += result.samples
        self.step_s += step_s
        self.wait_s += wait_s

    def numbers(self) -> dict[str, float]:
        """Means by name, crops a second, and the time spent waiting for data: its share, and seconds a step."""
        numbers = {name: self._sums[name] / self._counts[name] for name in sorted(self._sums)}
        total = self.step_s + self.wait_s
        numbers["crops_per_s"] = round(self.crops / total, 3) if total > 0 else 0.0
        numbers["data_wait"] = round(self.wait_s / total, 4) if total > 0 else 0.0
        numbers["data_wait_s"] = round(self.wait_s / self.steps, 5) if self.steps else 0.0
        return numbers


class Journal:
    """Log and progress of one run; use as a context.

    The log keeps no line of a step after `first_step`: a run that was killed may have written some that it now
    repeats. Nor does it keep a last line that was cut short.

    The log is what a run must be able to write; if it cannot, the run ends with a clear error. A logger that fails is
    closed, with an event in the log and a line in the terminal.
    """

    def __init__(
        self,
        folder: RunFolder,
        first_step: int,
        steps: int,
        console: Console,
        loggers: Sequence[str] = ("tensorboard",),
        hyperparameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the log in the folder and the loggers.

        Args:
            folder: the run's folder.
            first_step: optimizer steps done before, 0 for a new run.
            steps: length of the run.
            console: where progress is printed.
            loggers: names of where the figures go beside the log: tensorboard, mlflow, wandb.
            hyperparameters: settings of the run, nested, of plain values, for the loggers.

        Raises:
            MissingExtraError: a logger's package is not installed.
            TrainingError: the log cannot be written, or a logger cannot begin.
        """
        self._log = LogFile(folder.log, first_step)
        try:
            self._loggers = Loggers(loggers, folder, first_step, hyperparameters or {})
        except BaseException:
            with suppress(TrainingError):
                self._log.close()
            raise
        self._console = console
        self._last_step = first_step
        self._steps = steps
        # A resumed run has the weights of the last tick before it.
        self._weights: Mapping[str, float] = self._log.last.get("reweighting", {}).get("weights", {})
        self._progress = _Display(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:5.1f} %"),
            TextColumn("ETA {task.fields[eta]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("train", total=1.0, eta="?")

    def __enter__(self) -> "Journal":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything; what fails meanwhile never hides the error that the run ended with."""
        try:
            self._progress.stop()
            for wrong in self._loggers.close(is_success=error is None):
                self.event(self._last_step, wrong)
            self._log.close()
        except (TrainingError, OSError):
            with suppress(TrainingError):
                self._log.close()
            if error is None:
                raise

    def train(self, step: int, window: Window, lr: float, progress: float, elapsed_s: float, eta_s: float) -> None:
        """One line on the steps of a window; `progress` is the done part of the run in [0, 1].

        Raises:
            TrainingError: the log cannot be written.
        """
        numbers = window.numbers()
        self._write({"kind": "train", "step": step, "minutes": round(elapsed_s / 60, 3), "lr": lr, **numbers})
        self._send("train", {**numbers, "lr": lr}, step)
        lines = [
            f"step {step}/{self._steps}  loss {numbers['loss']:.5f}  lr {lr:.2e}  "
            f"{numbers['crops_per_s']:.1f} crops/s  data wait {1000 * numbers['data_wait_s']:.0f} ms a step "
            f"({100 * numbers['data_wait']:.0f} %)",
            "loss by type: " + _by_type({n[5:]: v for n, v in numbers.items() if n.startswith("loss.")}, 4),
        ]
        if self._weights:
            lines.append("weights: " + _by_type(self._weights, 3))
        eta = duration(eta_s)
        self._progress.lines = "\n".join(lines)
        self._progress.update(self._task, completed=progress, eta=eta)
        if not self._console.is_terminal:
            self.print(f"{100 * progress:5.1f} %  ETA {eta}  " + "  ".join(lines))

    def validation(self, step: int, result: ValidationResult, is_best: bool) -> None:
        """One line on a validation.

        Raises:
            TrainingError: the log cannot be written.
        """
        numbers = result.numbers()
        self._write({"kind": "validation", "step": step, "best": is_best, **numbers})
        self._send("validation", numbers, step)
        self.print(f"validation at step {step}{' (best)' if is_best else ''}: {result.summary()}")

    def report(self, step: int, report: Report) -> None:
        """A line of a method's own; its `weights` by type, if it has them, stand in the progress from now on.

        Raises:
            TrainingError: the log cannot be written.
        """
        self._write({"kind": report.kind, "step": step, **report.row})
        self._weights = report.row.get("weights", self._weights)
        self._send(report.kind, numbers_of(report.row), step)

    def event(self, step: int, text: str) -> None:
        """One line on something that happened, in words, such as a worker that was replaced.

        Raises:
            TrainingError: the log cannot be written.
        """
        self.print(f"step {step}: {text}")
        self._write({"kind": "event", "step": step, "text": text})

    def print(self, text: str) -> None:
        """A line in the terminal."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _write(self, row: Mapping[str, Any]) -> None:
        self._last_step = max(self._last_step, int(row["step"]))
        self._log.write(row)

    def _send(self, kind: str, numbers: Mapping[str, float], step: int) -> None:
        """To the loggers, in their manner: `train/loss.drs`."""
        for wrong in self._loggers.log({f"{kind}/{name}": value for name, value in numbers.items()}, step):
            self.event(step, wrong)


class _Display(Progress):
    """The bar, and below it lines of the whole width."""

    lines = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.lines:
            yield Text(self.lines)


def numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in a line of the log, one level of nesting as `name.key`; whatever is no number is left out."""
    found: dict[str, float] = {}
    for name, value in row.items():
        items = (
            {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, Mapping) else {name: value}
        )
        found.update({key: inner for key, inner in items.items() if isinstance(inner, float)})
    return found


def _by_type(values: Mapping[str, float], digits: int) -> str:
    return "  ".join(f"{name} {value:.{digits}f}" for name, value in values.items())
