"""How every command speaks: progress over files, refusals, and exit statuses."""

import io
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typer.core import TyperGroup

from derain.duration import duration
from derain.errors import DerainError

SOME_FAILED = 1
"""Exit status when some of the work could not be done."""
USAGE = 2
"""Exit status when what was asked for cannot be."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def allow_any_name() -> None:
    """Let file names that the terminal's encoding has no characters for be printed with escapes, not raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """A line for the user, on standard output, unadorned and unwrapped."""
    typer.echo(text)


def refuse(error: DerainError | OSError, status: int) -> typer.Exit:
    """Print an error's message and give the exit to raise."""
    typer.echo(f"derain: {error}", err=True)
    return typer.Exit(status)


@contextmanager
def usage_errors() -> Iterator[None]:
    """What goes wrong in here is what was asked for, not the work: exit status 2."""
    try:
        yield
    except DerainError as error:
        raise refuse(error, USAGE) from error


class Refusing(TyperGroup):
    """Commands of which an error of ours says that what was asked for cannot be: exit status 2."""

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
        typer.echo(f"  {reason}" if name in reason else f"  {name}: {reason}", err=True)


def report_left_out(names: Sequence[str], most: int = 20) -> None:
    """Count and name what lies in the given folders and was no input; it is no failure."""
    if not names:
        return
    say(f"{len(names)} left out (other formats, or folders of earlier results):")
    for name in names[:most]:
        say(f"  {name}")
    if len(names) > most:
        say(f"  and {len(names) - most} more")


class FileProgress:
    """Progress over a known number of things: a bar with the time left in a terminal, plain lines elsewhere."""

    def __init__(self, total: int, quiet_lines: bool = False) -> None:
        """With `quiet_lines`, outside a terminal only about every tenth of the work gets a line."""
        self.total = total
        self.done = 0
        self.worked = 0
        self.started = time.monotonic()
        self.step = max(1, total // 10) if quiet_lines else 1
        console = Console()
        self.bar: Progress | None = None
        if console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=console,
            )
            self.task = self.bar.add_task("", total=total)

    def __enter__(self) -> "FileProgress":
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def within(self, done: int, total: int) -> None:
        """Part of the present thing is done."""
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done + done / total)

    def advance(self, name: str, what: str, seconds: float | None = None) -> None:
        """One thing is done: its name, what became of it, and how long it took if it took work."""
        self.done += 1
        self.worked += seconds is not None
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, description=name[-40:])
        elif self.done % self.step == 0 or self.done == self.total:
            took = "" if seconds is None else f" in {seconds:.1f} s"
            say(f"[{self.done}/{self.total}] {name}: {what}{took}{self._left()}")

    def _left(self) -> str:
        if self.done == self.total or not self.worked:
            return ""
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        return f", about {duration(left)} left"
