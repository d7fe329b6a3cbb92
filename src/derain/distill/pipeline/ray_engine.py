"""The same stages as operators of Ray Data: pools of actors that hold models, on one machine or many.

Every shard is a block on its way through the pools. The driver gathers finished rows and hands whole shards back, so
that files are written by one process and are those of the local engine. A worker that dies is replaced and its block
done again, mostly from the cache of its machine. Pictures, knowledge base and manifest lie where all machines see them.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from derain.distill.pipeline.engine import Shard, WorkerConfig, WorkerContext, work_through
from derain.distill.pipeline.row import Row, rows_of, table_of
from derain.distill.pipeline.stages import Stage
from derain.distill.settings import stage_names
from derain.errors import DerainError, DistillError, MissingExtraError
from derain.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa


SHARDS_AT_ONCE = 256
"""That the driver holds and hands out; workers open their models anew for the next ones."""

ATTEMPTS = 3
"""So often without a single finished shard, then the run ends."""


class PoolSettings(Settings):
    """Workers of one kind, each with models of its own."""

    least: int = Field(default=1, ge=1)
    """Workers that there always are."""
    most: int = Field(default=1, ge=1)
    """Workers that there are when much is waiting."""
    cpus: float = Field(default=1.0, ge=0)
    """Processors for each, and so many threads, one at least."""
    gpus: float = Field(default=0.0, ge=0)
    """Accelerators for each; parts of one are possible."""

    @property
    def threads(self) -> int:
        """With which each computes: its share of the machine, so that workers do not oversubscribe it together."""
        return max(1, int(self.cpus))


class RaySettings(Settings):
    """Where and how wide a run goes through Ray."""

    address: str | None = None
    """Of a cluster, such as `auto` or `ray://head:10001`; none: this machine."""
    cpus: int | None = None
    """Of this machine, where it is the cluster; none: all."""
    object_store_mb: int = Field(default=512, ge=80)
    """Of this machine, where it is the cluster."""
    together: PoolSettings | None = None
    """One pool whose workers do all stages, instead of a pool for each: for small machines and small models."""
    caption: PoolSettings = PoolSettings()
    """Captioner and expander; also classifies types."""
    embed: PoolSettings = PoolSettings()
    """Keywords and both encoders."""
    retrieve: PoolSettings = PoolSettings()
    """The search; every worker holds the vectors of the knowledge base."""
    judge: PoolSettings = PoolSettings()
    """For each judge a pool like this."""


def pools(settings: RaySettings, stages: Sequence[str]) -> list[tuple[PoolSettings, list[str]]]:
    """Which workers do which stages, in order. What needs no model goes with its neighbour."""
    if settings.together is not None:
        return [(settings.together, list(stages))]
    by_kind = {
        "type": settings.caption,
        "caption": settings.caption,
        "embed": settings.embed,
        "retrieve": settings.retrieve,
        "judge": settings.judge,
        "vote": settings.judge,
    }
    found: list[tuple[PoolSettings, list[str]]] = []
    for name in stages:
        joins = bool(found) and (name == "vote" or found[-1][1] == ["type"])
        kind = name.split()[0]
        if joins:
            before = found.pop()[1]
            found.append((by_kind[before[0].split()[0]] if name == "vote" else by_kind[kind], [*before, name]))
        else:
            found.append((by_kind[kind], [name]))
    return found


class StageWorker:
    """An actor: opens what its stages need and takes blocks through them."""

    def __init__(self, config: WorkerConfig, names: Sequence[str], threads: int) -> None:
        self._config, self._names = config, names
        torch.set_num_threads(threads)  # before anything is computed, so that it holds for all threads of the actor

    def __call__(self, table: "pa.Table") -> "pa.Table":
        """The block with more cells filled in. An error that ends the run travels in a cell, as text."""
        rows = rows_of(table)
        if any(row.failure is not None for row in rows):
            return table
        batch_rows = self._config.settings.batch_rows
        try:
            for start in range(0, len(rows), batch_rows):
                for stage in self._stages:
                    work_through(stage, rows[start : start + batch_rows])
        except DerainError as error:
            rows[0].failure = str(error)
        return table_of(rows)

    @cached_property
    def _stages(self) -> list[Stage]:
        """Opened with the first block, so that what goes wrong can be reported."""
        context = WorkerContext(self._config)
        return [context.stage(name) for name in self._names]


class RayEngine:
    """Takes shards through pools of workers."""

    def __init__(self, settings: RaySettings | None = None) -> None:
        self.settings = settings or RaySettings()

    def run(
        self, shards: Iterable[Shard], config: WorkerConfig, on_rows: Callable[[int], None] | None = None
    ) -> Iterator[Shard]:
        """Each shard as soon as all of its rows are finished.

        Raises:
            MissingExtraError: Ray is not installed.
            DistillError: a worker cannot go on, in its own words; Ray cannot be had, or loses its workers again and
                again.
        """
        coming = ((number, rows) for number, rows in shards if rows)
        window = list(islice(coming, SHARDS_AT_ONCE))
        if not window:
            return
        with _cluster(self.settings):
            while window:
                for number, rows in self._until_done({number: table_of(rows) for number, rows in window}, config):
                    if on_rows is not None:
                        on_rows(len(rows))
                    yield number, rows
                window = list(islice(coming, SHARDS_AT_ONCE))

    def _until_done(self, waiting: "dict[int, pa.Table]", config: WorkerConfig) -> Iterator[Shard]:
        failures = 0
        while waiting:
            try:
                for number, rows in self._whole_shards(waiting, config):
                    del waiting[number]
                    failures = 0
                    yield number, rows
            except _LostError as error:  # such as a worker that died while it opened its models
                failures += 1
                if failures == ATTEMPTS:
                    raise DistillError(
                        f"workers of Ray cannot go on ({error}); see Ray's logs, then run it again"
                    ) from error

    def _whole_shards(self, waiting: "Mapping[int, pa.Table]", config: WorkerConfig) -> Iterator[Shard]:
        """Those of the shards that all rows come back of, each as soon as it is whole."""
        wanted = {number: table.num_rows for number, table in waiting.items()}
        gathered: dict[int, list[Row]] = {number: [] for number in wanted}
        for table in self._finished(list(waiting.values()), config):
            for row in rows_of(table):
                if row.failure is not None:
                    raise DistillError(row.failure)
                gathered[row.shard].append(row)
            for number in [number for number, rows in gathered.items() if len(rows) == wanted[number]]:
                yield number, sorted(gathered.pop(number), key=lambda row: row.place)
        if gathered:
            raise _LostError(f"rows of {len(gathered)} shards did not come back")

    def _finished(self, tables: "list[pa.Table]", config: WorkerConfig) -> "Iterator[pa.Table]":
        import ray

        # Ray Data restarts the actors of a pool, and does their tasks again, without limit.
        dataset: ray.data.Dataset = ray.data.from_arrow(tables)
        for pool, names in pools(self.settings, stage_names(config.settings.variant, config.judges)):
            dataset = dataset.map_batches(
                StageWorker,
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(min_size=pool.least, max_size=max(pool.least, pool.most)),
                fn_constructor_args=(config, names, pool.threads),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus,
            )
        try:
            yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        except ray.exceptions.RayError as error:
            words = str(error).strip().splitlines() or [type(error).__name__]
            raise _LostError(words[0]) from error


@contextmanager
def _cluster(settings: RaySettings) -> Iterator[None]:
    """A connection to Ray, closed again if it was made here."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("running on Ray", "scale") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if settings.address is not None:
            ray.init(address=settings.address, log_to_driver=False)
        else:
            ray.init(
                address="local",
                num_cpus=settings.cpus,
                object_store_memory=settings.object_store_mb << 20,
                include_dashboard=False,
                log_to_driver=False,
            )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = settings.address or "this machine"
        raise DistillError(f"Ray cannot be had at {where} ({error}); start it, or use the local engine") from error
    try:
        yield
    finally:
        ray.shutdown()


class _LostError(Exception):
    """A failure of Ray itself, which another attempt may not meet."""
