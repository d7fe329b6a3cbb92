"""Restore photographs from disk to disk: while the network works on one, the next is read and the last is written."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from derain.errors import DamagedImageError, DerainError, ImageError
from derain.files import FULL_DISK_FAILURES, is_disk_full
from derain.imaging.formats import format_of_name
from derain.imaging.io import (
    DEFAULT_PIXEL_LIMIT,
    Picture,
    check_writable,
    losses,
    read_picture,
    write_picture,
)
from derain.infer.compare import before_after
from derain.infer.plan import Job
from derain.infer.record import MadeWith, Origin, Record, origin_of
from derain.infer.restore import Restorer

WORK_ERRORS = (DerainError, OSError, MemoryError, RuntimeError)
"""Errors of one picture, after which the next follows; torch raises RuntimeError when the CPU lacks memory."""

LARGE_PIXELS = 24_000_000
"""A picture with more pixels is read, restored and written before the next is opened, so that memory stays bounded."""

WRITES_PENDING = 2
"""Restored pictures that may wait to be written."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def failure_reason(error: Exception) -> str:
    """What to print of one of `WORK_ERRORS`."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        detail = f" ({str(error).splitlines()[0]})" if str(error) else ""
        return f"not enough memory for this picture; try a smaller --tile{detail}"
    if isinstance(error, PermissionError) and error.filename is not None:
        return f"{error.filename}: permission denied; check the rights to this file and its folder"
    return str(error) or type(error).__name__


class Status(StrEnum):
    """What became of a photograph."""

    RESTORED = "restored"
    COMPARED = "compared"
    """It was restored before; its before/after picture alone was made."""
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one job."""

    job: Job
    status: Status
    reason: str = ""
    """Why it failed; empty otherwise."""
    megapixels: float = 0.0
    """Of what was restored; 0 otherwise."""
    seconds: float = 0.0
    """Spent on reading, restoring and writing it."""
    warnings: tuple[str, ...] = ()
    """What the result does not hold of the photograph."""
    is_disk_full: bool = False
    """Whether it failed because nothing more can be written to the disk."""


@dataclass(frozen=True)
class _Task:
    """A job whose photograph is read and whose result or before/after picture is to be made."""

    job: Job
    before: Picture
    origin: Origin | None
    """None in place, where nothing is recorded."""
    makes_result: bool
    makes_compare: bool
    after: Picture | None = None
    seconds: float = 0.0


class FileRun(Iterator[Outcome]):
    """Restores every job in turn; iterating over it does the work and gives what became of each, in order.

    A job whose output was made from the same photograph with the same weights, precision and quality before is skipped
    unless `overwrite`; if only its before/after picture is missing, that alone is made. Files that were not made from
    the same photograph are never overwritten (see `derain.infer.record`), but for jobs whose output is the photograph
    itself, which need `overwrite`.

    A photograph that cannot be read, restored or written is reported as failed, and the next one follows; a full disk
    ends the run (`stopped_by`). Outputs appear whole or not at all. After Ctrl-C or `close()`, what is being written is
    finished and counted in `outcomes`; the rest is in `not_done`.

    Args:
        quality: of lossy results, 1 to 100; None keeps that of the photograph.
        allow_damaged: restore what can be decoded of photographs of which pixels are missing.
        on_tile: is called with (job, done, total) within each picture.
    """

    def __init__(
        self,
        restorer: Restorer,
        jobs: Sequence[Job],
        *,
        overwrite: bool = False,
        quality: int | None = None,
        allow_damaged: bool = False,
        pixel_limit: int = DEFAULT_PIXEL_LIMIT,
        on_tile: Callable[[Job, int, int], None] | None = None,
    ) -> None:
        self.restorer = restorer
        self.jobs = jobs
        self.overwrite = overwrite
        self.quality = quality
        self.allow_damaged = allow_damaged
        self.pixel_limit = pixel_limit
        self.on_tile = on_tile
        self.outcomes: list[Outcome] = []
        """What became of the jobs so far."""
        self.stopped_by = ""
        """The error that ended the run before its end; empty otherwise."""
        self._record = Record()
        self._made_with = MadeWith(
            restorer.header.model, restorer.weights_digest, restorer.runtime.precision.value, quality
        )
        self._steps = self._run()

    def __next__(self) -> Outcome:
        return next(self._steps)

    def close(self) -> None:
        """Stop: finish what is being written, and begin nothing more."""
        self._steps.close()

    @property
    def not_done(self) -> Sequence[Job]:
        """The jobs that nothing became of."""
        return self.jobs[len(self.outcomes) :]

    def _run(self) -> Generator[Outcome, None, None]:
        pending: deque[Future[Outcome]] = deque()
        jobs = iter(self.jobs)
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:

            def read_next() -> Future[_Task | Outcome] | None:
                job = next(jobs, None)
                return None if job is None else reader.submit(_attempt, self._read, job, job)

            try:
                reading = read_next()
                while reading is not None:
                    opened = reading.result()
                    is_large = isinstance(opened, _Task) and opened.before.pixels.size > 3 * LARGE_PIXELS
                    reading = None if is_large else read_next()
                    pending.append(writer.submit(self._finish, self._restore(opened)))
                    while pending and (is_large or len(pending) > WRITES_PENDING or pending[0].done()):
                        yield self._collect(pending)
                        if self.stopped_by:
                            return
                    if is_large:
                        reading = read_next()
                while pending:
                    yield self._collect(pending)
            finally:
                reader.shutdown(cancel_futures=True)
                while pending:
                    self._collect(pending)

    def _collect(self, pending: deque[Future[Outcome]]) -> Outcome:
        """Wait for the first; Ctrl-C meanwhile leaves it pending, so that it is counted."""
        outcome = pending[0].result()
        pending.popleft()
        self.outcomes.append(outcome)
        last = self.outcomes[-FULL_DISK_FAILURES:]
        if len(last) == FULL_DISK_FAILURES and all(one.is_disk_full for one in last):
            self.stopped_by = outcome.reason
        return outcome

    def _read(self, job: Job) -> _Task | Outcome:
        started = time.perf_counter()
        origin, makes_result, makes_compare = None, self.overwrite, False
        if not job.is_in_place:
            origin = origin_of(job.source, self._made_with_for(job.output))
            makes_result = self._record.must_make(job.output, origin, self.overwrite)
            makes_compare = job.compare is not None and self._record.must_make(job.compare, origin, self.overwrite)
        if not makes_result and not makes_compare:
            return Outcome(job, Status.SKIPPED)
        before = self._read_photo(job.source)
        if makes_result:
            check_writable(job.output, before)
        after = None if makes_result else read_picture(job.output, self.pixel_limit)
        return _Task(job, before, origin, makes_result, makes_compare, after, time.perf_counter() - started)

    def _made_with_for(self, result: Path) -> MadeWith:
        """A quality that is asked for decides nothing where the format has none."""
        format = format_of_name(result)
        is_lossy = format is not None and format.default_quality is not None
        return self._made_with if is_lossy else replace(self._made_with, quality=None)

    def _read_photo(self, path: Path) -> Picture:
        try:
            return read_picture(path, self.pixel_limit, self.allow_damaged)
        except DamagedImageError as error:
            if not error.is_decodable:
                raise
            raise DamagedImageError(f"{error}, or restore what is there of it with --allow-damaged") from error

    def _restore(self, opened: _Task | Outcome) -> _Task | Outcome:
        if isinstance(opened, Outcome) or not opened.makes_result:
            return opened
        return _attempt(self._restore_task, opened, opened.job)

    def _restore_task(self, task: _Task) -> _Task:
        started = time.perf_counter()
        on_tile = self.on_tile
        report = None if on_tile is None else partial(on_tile, task.job)
        after = task.before.with_pixels(self.restorer.restore(task.before.pixels, on_tile=report))
        return replace(task, after=after, seconds=task.seconds + time.perf_counter() - started)

    def _finish(self, restored: _Task | Outcome) -> Outcome:
        return restored if isinstance(restored, Outcome) else _attempt(self._write, restored, restored.job)

    def _write(self, task: _Task) -> Outcome:
        started = time.perf_counter()
        job, before, after = task.job, task.before, task.after
        assert after is not None
        if task.makes_result:
            self._write_picture(job.output, after, task.origin, self.quality)
        if task.makes_compare and job.compare is not None:
            self._write_picture(job.compare, before_after(before, after), task.origin)
        seconds = task.seconds + time.perf_counter() - started
        if not task.makes_result:
            return Outcome(job, Status.COMPARED, seconds=seconds)
        megapixels = before.height * before.width / 1e6
        return Outcome(job, Status.RESTORED, "", megapixels, seconds, before.warnings + losses(job.output, before))

    def _write_picture(self, path: Path, picture: Picture, origin: Origin | None, quality: int | None = None) -> None:
        """Write a result and note what it was made from, so that a stop in between leaves nothing that is mistaken.

        A new one is noted before it is written, or nothing would be known of it; one that replaces another after that,
        or the other would be taken for it.
        """
        replaces = path.exists()
        if not replaces:
            self._note(path, origin)
        write_picture(path, picture, quality)
        if replaces:
            self._note(path, origin)

    def _note(self, path: Path, origin: Origin | None) -> None:
        if origin is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._record.note(path, origin)
        except OSError as error:
            raise ImageError(
                f"{path}: its folder cannot be written to ({error.strerror or error}); give another with -o"
            ) from error


def _attempt(stage: Callable[[_In], _Out], given: _In, job: Job) -> _Out | Outcome:
    """What a stage makes of its input; a failed outcome where it raises."""
    try:
        return stage(given)
    except WORK_ERRORS as error:
        return Outcome(job, Status.FAILED, failure_reason(error), is_disk_full=is_disk_full(error))
