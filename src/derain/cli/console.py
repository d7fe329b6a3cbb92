"""What all commands print: progress over files, errors and failures; and their exit statuses."""

import io
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from derain.duration import duration
from derain.errors import DerainError

if TYPE_CHECKING:
    from rich.progress import Progress

SOME_FAILED = 1
"""Exit status when some of the work could not be done."""
USAGE = 2
"""Exit status when the command cannot be carried out as given."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def allow_any_name() -> None:
    """Let file names that the terminal's encoding has no characters for be printed with escapes, not raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_line(text: str) -> None:
    """Print a line on standard output, unadorned and unwrapped."""
    typer.echo(text)


def exit_with(error: DerainError | OSError, status: int) -> typer.Exit:
    """Print an error's message and give the exit to raise."""
    typer.echo(f"derain: {error}", err=True)
    return typer.Exit(status)


@contextmanager
def usage_errors() -> Iterator[None]:
    """Errors of ours in this block are printed and end the command as errors of usage: exit status 2."""
    try:
        yield
    except DerainError as error:
        raise exit_with(error, USAGE) from error


class UsageErrorGroup(TyperGroup):
    """Commands of which every error of ours is one of usage: exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        with usage_errors():
            return super().invoke(ctx)


def report_failures(failures: Sequence[tuple[str, str]], what: str, outcome: str = "failed") -> None:
    """List each thing that failed with its reason, on standard error; `what` is what one of them is called."""
    if not failures:
        return
    typer.echo(f"{len(failures)} {what}{'s' if len(failures) > 1 else ''} {outcome}:", err=True)
    for name, reason in failures:
        # Our own messages name their file already.
        typer.echo(f"  {reason}" if name in reason else f"  {name}: {reason}" if reason else f"  {name}", err=True)


def report_left_out(
    names: Sequence[str], why: str = "other formats, or folders of earlier results", most: int = 20
) -> None:
    """Count and name what lies in the given folders and was no input; it is no failure."""
    if not names:
        return
    print_line(f"{len(names)} left out ({why}):")
    for name in names[:most]:
        print_line(f"  {name}")
    if len(names) > most:
        print_line(f"  and {len(names) - most} more")


class FileProgress:
    """Progress over a known number of things: a bar with the time left in a terminal, plain lines elsewhere.

    The time left follows from the work still to do and how fast work was done so far. Work is counted in `amount`, such
    as pixels; things that were there already are neither work done nor time spent.
    """

    def __init__(self, total: int, amount: float | None = None, quiet_lines: bool = False) -> None:
        """Without `amount`, each thing is as much work as the next.

        With `quiet_lines`, outside a terminal only about every tenth of the things gets a line.
        """
        self.total = total
        self.done = 0
        self.amount = total if amount is None else amount
        self.amount_done = 0.0
        self.amount_worked = 0.0
        self.seconds_worked = 0.0
        self.last = time.monotonic()
        self.step = max(1, total // 10) if quiet_lines else 1
        console = Console()
        self.bar: Progress | None = None
        if console.is_terminal:
            self.bar = _bar(console)
            self.task = self.bar.add_task("", total=self.amount, count=f"0/{total}", left="")

    def __enter__(self) -> "FileProgress":
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def within(self, amount: float) -> None:
        """So much of the present thing is done."""
        if self.bar is not None:
            self.bar.update(self.task, completed=self.amount_done + amount)

    def advance(
        self,
        name: str,
        what: str,
        seconds: float | None = None,
        amount: float = 1.0,
        worked: bool = True,
        warnings: Sequence[str] = (),
    ) -> None:
        """One thing is done.

        Args:
            name: of the thing.
            what: became of it.
            seconds: it took, to be printed.
            amount: of the work it was counted as.
            worked: False if it was there already.
            warnings: are printed below it.
        """
        now = time.monotonic()
        self.done += 1
        self.amount_done += amount
        if worked:
            self.amount_worked += amount
            self.seconds_worked += now - self.last
        self.last = now
        count = f"{self.done}/{self.total}"
        left = self._left()
        if self.bar is not None:
            description = name[-40:]
            self.bar.update(
                self.task, completed=self.amount_done, description=description, count=count, left=left.lstrip(", ")
            )
            for warning in warnings:
                self.bar.console.print(f"{name}: {warning}", markup=False, highlight=False, soft_wrap=True)
            return
        if self.done % self.step == 0 or self.done == self.total:
            took = "" if seconds is None else f" in {seconds:.1f} s"
            print_line(f"[{count}] {name}: {what}{took}{left}")
        for warning in warnings:
            print_line(f"  warning: {warning}")

    def _left(self) -> str:
        remaining = self.amount - self.amount_done
        if self.done == self.total or not self.amount_worked or remaining <= 0:
            return ""
        return f", about {duration(self.seconds_worked / self.amount_worked * remaining)} left"


def _bar(console: Console) -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # --help has no use for them

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
    )
