"""What a run tells: lines of JSON, TensorBoard, and progress for the person who waits."""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from derain.errors import TrainingError
from derain.train.folder import RunFolder
from derain.train.validation import ValidationReport


class Window:
    """Figures gathered between two log lines."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)
        self.crops = 0
        self.step_s = 0.0
        self.wait_s = 0.0

    def add(self, losses: Tensor, labels: Sequence[str], gradient_norm: float, step_s: float, wait_s: float) -> None:
        """Take in one step: losses (B,) on the CPU with their labels, and its times."""
        for loss, label in zip(losses.tolist(), labels, strict=True):
            for name in ("loss", f"loss.{label}"):
                self._sums[name] += loss
                self._counts[name] += 1
        self._sums["gradient_norm"] += gradient_norm
        self._counts["gradient_norm"] += 1
        self.crops += len(labels)
        self.step_s += step_s
        self.wait_s += wait_s

    def numbers(self) -> dict[str, float]:
        """Means by name, crops a second, and the share of time spent waiting for data."""
        numbers = {name: self._sums[name] / self._counts[name] for name in sorted(self._sums)}
        total = self.step_s + self.wait_s
        numbers["crops_per_s"] = round(self.crops / total, 3) if total > 0 else 0.0
        numbers["data_wait"] = round(self.wait_s / total, 4) if total > 0 else 0.0
        return numbers


class Journal:
    """Log and progress of one run; use as a context.

    The log keeps no line of a step after `first_step`: a run that was killed may have written some that it now
    repeats. Nor does it keep a last line that was cut short.
    """

    def __init__(self, folder: RunFolder, first_step: int, steps: int, console: Console) -> None:
        try:
            _keep_until(folder.log, first_step)
            self._log = folder.log.open("a", encoding="utf-8")
            self._board = SummaryWriter(str(folder.tensorboard), purge_step=first_step + 1 if first_step else None)
        except OSError as error:
            raise TrainingError(
                f"{error.filename}: the run's log cannot be written ({error.strerror}); make the folder writable, "
                "then resume"
            ) from error
        self._console = console
        self._steps = steps
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:5.1f} %"),
            TextColumn("{task.fields[told]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("train", total=1.0, told="")

    def __enter__(self) -> "Journal":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        self._log.close()
        self._board.close()

    def train(self, step: int, window: Window, lr: float, progress: float, elapsed_s: float, eta_s: float) -> None:
        """One line on the steps of a window."""
        numbers = window.numbers()
        self._write({"kind": "train", "step": step, "minutes": round(elapsed_s / 60, 3), "lr": lr, **numbers})
        for name, value in {**numbers, "lr": lr}.items():
            self._board.add_scalar(f"train/{name}", value, step)
        told = (
            f"step {step}/{self._steps}  loss {numbers['loss']:.5f}  lr {lr:.2e}  "
            f"{numbers['crops_per_s']:.1f} crops/s  data wait {100 * numbers['data_wait']:.0f} %  ETA {duration(eta_s)}"
        )
        self._progress.update(self._task, completed=progress, told=told)
        if not self._console.is_terminal:
            self.say(f"{100 * progress:5.1f} %  {told}")

    def validation(self, step: int, report: ValidationReport, is_best: bool) -> None:
        """One line on a validation."""
        numbers = report.numbers()
        self._write({"kind": "validation", "step": step, "best": is_best, **numbers})
        for name, value in numbers.items():
            self._board.add_scalar(f"validation/{name}", value, step)
        self._board.flush()
        by_type = "  ".join(f"{row.label} {row.psnr_in:.2f}->{row.psnr_out:.2f}" for row in report.rows)
        self.say(f"validation at step {step}: gain {report.gain:+.2f} dB{' (best)' if is_best else ''}  {by_type}")

    def say(self, text: str) -> None:
        """A line for the person who waits."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _write(self, row: dict[str, Any]) -> None:
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()


def duration(seconds: float) -> str:
    """`2 h 05 min`, `7 min 30 s` or `12 s`."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _keep_until(log: Path, step: int) -> None:
    """Drop the lines after `step`, and a last line that was cut short."""
    if not log.exists():
        return
    kept = []
    lines = log.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if row["step"] <= step:
                kept.append(line)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            if number < len(lines):
                raise TrainingError(
                    f"{log}, line {number}: not a line of a run's log ({error}); move the file away"
                ) from error
    part = log.with_name(f".{log.name}.{os.getpid()}.part")
    part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    part.replace(log)
