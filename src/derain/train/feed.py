"""The batches of a run, from worker processes that may die: batches follow from the step, so new workers continue."""

import signal
import threading
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from derain.data.schedule import Schedule
from derain.data.stream import SampleDataset, batches
from derain.errors import TrainingError

DEATHS = 3
"""So often may workers die within `WITHIN_STEPS` steps."""

WITHIN_STEPS = 100

BatchT = TypeVar("BatchT")


class Feed(Generic[BatchT]):
    """Gives the batch of one step after the other; use as a context.

    Args:
        dataset, schedule, slots, last_step, workers: see `batches`.
        on_worker_exit: called with the step at which a worker died, each time others take its place.
    """

    def __init__(
        self,
        dataset: SampleDataset[Any, BatchT],
        schedule: Schedule,
        slots: range,
        last_step: int,
        workers: int,
        on_worker_exit: Callable[[int], None],
    ) -> None:
        self._dataset = dataset
        self._schedule = schedule
        self._slots = slots
        self._last_step = last_step
        self._workers = workers
        self._on_worker_exit = on_worker_exit
        self._stream: Generator[BatchT, None, None] | None = None
        self._deaths: list[int] = []

    def __enter__(self) -> "Feed[BatchT]":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def batch(self, step: int) -> BatchT:
        """The batch of `step`; after the first call, steps must follow each other.

        Raises:
            DatasetError, ImageError: a picture cannot be used.
            TrainingError: workers die again and again.
        """
        while True:
            is_new = self._stream is None
            if self._stream is None:
                self._stream = batches(
                    self._dataset,
                    self._schedule,
                    self._slots,
                    step,
                    self._last_step,
                    self._workers,
                )
            try:
                return _begun(self._stream) if is_new else next(self._stream)
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):  # how torch reports that one died
                    raise
                self._close()
                self._deaths = [*(death for death in self._deaths if death > step - WITHIN_STEPS), step]
                if len(self._deaths) >= DEATHS:
                    raise TrainingError(
                        f"processes that prepare data died {DEATHS} times within {WITHIN_STEPS} steps "
                        f"({str(error).splitlines()[0]}), perhaps for want of memory; continue with --resume, with "
                        "fewer data.workers or a smaller data.simulation.side_max"
                    ) from error
                self._on_worker_exit(step)

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _begun(stream: Generator[BatchT, None, None]) -> BatchT:
    """The first batch of a stream.

    torch then has put up a handler that raises the death of a worker wherever the process happens to be, such as in the
    middle of a step. It is taken down again: the stream finds a death by itself when it is next asked.
    """
    if threading.current_thread() is not threading.main_thread():
        return next(stream)
    before = signal.getsignal(signal.SIGCHLD)
    try:
        return next(stream)
    finally:
        is_torchs = before is None or getattr(before, "__module__", "").startswith("torch.")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if is_torchs else before)
