"""Restore photographs from disk to disk, one after the other, whatever befalls a single one of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from derain.errors import DerainError
from derain.imaging.io import DEFAULT_PIXEL_LIMIT, read_picture, write_picture
from derain.infer.compare import side_by_side
from derain.infer.plan import Job
from derain.infer.restore import Restorer


class Status(StrEnum):
    """What became of a photograph."""

    RESTORED = "restored"
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
    seconds: float


def restore_files(
    restorer: Restorer,
    jobs: Sequence[Job],
    overwrite: bool = False,
    pixel_limit: int = DEFAULT_PIXEL_LIMIT,
    on_tile: Callable[[int, int], None] | None = None,
) -> Iterator[Outcome]:
    """Restore every job in turn and tell what became of it.

    A job whose output exists is skipped unless `overwrite`; if only its before/after picture is missing, that alone is
    made. A photograph that cannot be read, restored or written is reported as failed, and the next one follows.
    Outputs appear whole or not at all. `on_tile(done, total)` is called within each picture.
    """
    for job in jobs:
        started = time.perf_counter()
        try:
            megapixels = _restore_file(restorer, job, overwrite, pixel_limit, on_tile)
        except (DerainError, OSError, MemoryError, torch.OutOfMemoryError) as error:
            yield Outcome(job, Status.FAILED, _reason(error), 0.0, time.perf_counter() - started)
            continue
        status = Status.RESTORED if megapixels else Status.SKIPPED
        yield Outcome(job, status, "", megapixels, time.perf_counter() - started)


def _restore_file(
    restorer: Restorer,
    job: Job,
    overwrite: bool,
    pixel_limit: int,
    on_tile: Callable[[int, int], None] | None,
) -> float:
    """Megapixels that were worked on; 0 if everything was there already."""
    is_done = job.output.exists() and not overwrite
    is_compared = job.compare is None or (job.compare.exists() and not overwrite)
    if is_done and is_compared:
        return 0.0
    before = read_picture(job.source, pixel_limit)
    if is_done:
        after = read_picture(job.output, pixel_limit)
    else:
        after = before.with_pixels(restorer.restore_pixels(before.pixels, on_tile))
        job.output.parent.mkdir(parents=True, exist_ok=True)
        write_picture(job.output, after)
    if job.compare is not None and not is_compared:
        job.compare.parent.mkdir(parents=True, exist_ok=True)
        write_picture(job.compare, side_by_side(before, after))
    return before.height * before.width / 1e6


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "not enough memory for this picture; try a smaller --tile"
    return str(error)
