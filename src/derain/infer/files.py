"""Restore photographs from disk to disk, one after the other, whatever befalls a single one of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch

from derain.errors import DerainError, ImageError
from derain.imaging.io import DEEP_SUFFIXES, DEFAULT_PIXEL_LIMIT, Picture, read_picture, write_picture
from derain.infer.compare import side_by_side
from derain.infer.plan import Job
from derain.infer.record import Origin, Record, origin_of
from derain.infer.restore import Restorer

WORK_ERRORS = (DerainError, OSError, MemoryError, RuntimeError)
"""What one picture may fail with while the rest goes on; a lack of memory on the CPU is a RuntimeError to torch."""


def failure_reason(error: Exception) -> str:
    """What to tell the user of one of `WORK_ERRORS`."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        detail = f" ({str(error).splitlines()[0]})" if str(error) else ""
        return f"not enough memory for this picture; try a smaller --tile{detail}"
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
    reason: str
    """Why it failed; empty otherwise."""
    megapixels: float
    """Of what was restored; 0 otherwise."""
    seconds: float
    loses_depth: bool = False
    """Whether 16 bits were rounded to the 8 that the result's format holds."""


@dataclass(frozen=True)
class _Work:
    """What was done on one job that did not fail."""

    status: Status
    megapixels: float = 0.0
    loses_depth: bool = False


def restore_files(
    restorer: Restorer,
    jobs: Sequence[Job],
    overwrite: bool = False,
    pixel_limit: int = DEFAULT_PIXEL_LIMIT,
    on_tile: Callable[[int, int], None] | None = None,
) -> Iterator[Outcome]:
    """Restore every job in turn and tell what became of it.

    A job whose output was made from the same photograph before is skipped unless `overwrite`; if only its before/after
    picture is missing, that alone is made. Files that were not made from the same photograph are never overwritten
    (see `derain.infer.record`), but for jobs whose output is the photograph itself, which need `overwrite`.

    A photograph that cannot be read, restored or written is reported as failed, and the next one follows. Outputs
    appear whole or not at all. `on_tile(done, total)` is called within each picture.
    """
    record = Record()
    for job in jobs:
        started = time.perf_counter()
        try:
            work = _restore_file(restorer, job, record, overwrite, pixel_limit, on_tile)
        except WORK_ERRORS as error:
            yield Outcome(job, Status.FAILED, failure_reason(error), 0.0, time.perf_counter() - started)
            continue
        yield Outcome(job, work.status, "", work.megapixels, time.perf_counter() - started, work.loses_depth)


def _restore_file(
    restorer: Restorer,
    job: Job,
    record: Record,
    overwrite: bool,
    pixel_limit: int,
    on_tile: Callable[[int, int], None] | None,
) -> _Work:
    if job.is_in_place:
        if not overwrite:
            return _Work(Status.SKIPPED)
        before = read_picture(job.source, pixel_limit)
        write_picture(job.output, before.with_pixels(restorer.restore(before.pixels, on_tile=on_tile)))
        return _restored(before, job.output)
    origin = origin_of(job.source)
    must_restore = record.must_make(job.output, origin, overwrite)
    must_compare = job.compare is not None and record.must_make(job.compare, origin, overwrite)
    if not must_restore and not must_compare:
        return _Work(Status.SKIPPED)
    before = read_picture(job.source, pixel_limit)
    if must_restore:
        after = before.with_pixels(restorer.restore(before.pixels, on_tile=on_tile))
        _write(job.output, after, origin, record)
    else:
        after = read_picture(job.output, pixel_limit)
    if job.compare is not None and must_compare:
        _write(job.compare, side_by_side(before, after), origin, record)
    return _restored(before, job.output) if must_restore else _Work(Status.COMPARED)


def _restored(before: Picture, output: Path) -> _Work:
    loses_depth = before.bit_depth > 8 and output.suffix.lower() not in DEEP_SUFFIXES
    return _Work(Status.RESTORED, before.height * before.width / 1e6, loses_depth)


def _write(path: Path, picture: Picture, origin: Origin, record: Record) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        record.note(path, origin)
    except OSError as error:
        raise ImageError(
            f"{path}: its folder cannot be written to ({error.strerror or error}); give another with -o"
        ) from error
    write_picture(path, picture)
