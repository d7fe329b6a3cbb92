"""All stages in this process, one batch after the other."""

from collections.abc import Callable, Iterable, Iterator

from derain.distill.pipeline.engine import Shard, WorkerConfig, WorkerContext, work_through
from derain.distill.settings import stage_names


class LocalEngine:
    """Takes each batch through all stages, so that a picture is read once for all of them."""

    def run(
        self, shards: Iterable[Shard], config: WorkerConfig, on_rows: Callable[[int], None] | None = None
    ) -> Iterator[Shard]:
        """Each shard when it is finished, in order."""
        context = WorkerContext(config)
        batch_rows = config.settings.batch_rows
        try:
            stages = [context.stage(name) for name in stage_names(config.settings.variant, config.judges)]
            for number, rows in shards:
                for start in range(0, len(rows), batch_rows):
                    batch = rows[start : start + batch_rows]
                    for stage in stages:
                        work_through(stage, batch)
                    if on_rows is not None:
                        on_rows(len(batch))
                yield number, rows
        finally:
            context.close()
