"""The candidates of a run, cut into shards, and the shards that are finished; rows that no model is asked about.

    candidates.arrow        candidates by digest, one record batch a shard
    refused.parquet         rows that no model is asked about, with the reason
    shards/000017.parquet   a finished shard, whole or absent

A shard that has pending rows is worked on again, for these rows only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from derain.data.cache import write_whole
from derain.distill.answers.breaker import FAILED
from derain.distill.pipeline.row import Row, rows_of, shard_of
from derain.distill.pipeline.schema import Outcome
from derain.errors import DistillError

if TYPE_CHECKING:
    import pyarrow as pa

REFUSED_ROWS = 8192
"""That are read at once."""

_PENDING, _FAILED = b"pending", b"failed"
_AFRESH = "begin afresh with --fresh (answers that models gave stay in the cache)"


def has_failed(row: Row) -> bool:
    """Whether a pending row waits because a model was asked and gave no answer, not because it was not asked."""
    return (row.reason or "").startswith(FAILED)


class Shards:
    """Candidates and what was found out about them, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.candidates = folder / "candidates.arrow"
        self.refused = folder / "refused.parquet"
        self.measured = folder / "measured.arrow"
        """While candidates are prepared."""
        self.finished = folder / "shards"

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self._batches)

    @property
    def rows(self) -> int:
        """Candidates in all shards."""
        return sum(batch.num_rows for batch in self._batches)

    @cached_property
    def _batches(self) -> "list[pa.RecordBatch]":
        import pyarrow as pa

        with _named(self.candidates, _AFRESH):
            reader = pa.ipc.open_file(pa.memory_map(str(self.candidates)))
            return [reader.get_batch(number) for number in range(reader.num_record_batches)]

    def forget_batches(self) -> None:
        """Read the candidates again when they are next asked for; their file was exchanged."""
        self.__dict__.pop("_batches", None)

    def refused_rows(self, columns: Sequence[str] | None = None) -> "Iterator[pa.RecordBatch]":
        """The rows that no model is asked about, some thousand at a time.

        Raises:
            DistillError: the file is damaged.
        """
        import pyarrow.parquet as pq

        with _named(self.refused, _AFRESH), pq.ParquetFile(self.refused) as refused:
            yield from refused.iter_batches(REFUSED_ROWS, columns=None if columns is None else list(columns))

    def shard_file(self, number: int) -> Path:
        """Where a shard lies once it is finished."""
        return self.finished / f"{number:06d}.parquet"

    def pending(self, number: int) -> int:
        """How many rows of a shard are still to be judged: all where it is not finished, else those that wait."""
        return self._counts(number)[0]

    def _counts(self, number: int) -> tuple[int, int]:
        """Rows that are still to be judged, and those of them that were asked about in vain."""
        import pyarrow.parquet as pq

        file = self.shard_file(number)
        if not file.exists():
            return int(self._batches[number].num_rows), 0
        with _named(file):
            metadata = pq.read_schema(file).metadata
            return int(metadata[_PENDING]), int(metadata[_FAILED])

    def waiting(self) -> dict[int, int]:
        """How many rows are still to be judged in each shard that has some.

        Shards come last all of whose rows were asked about before, in vain: they must not hold up the others again.
        """
        fresh: dict[int, int] = {}
        failed: dict[int, int] = {}
        for number in range(self.shards):
            count, in_vain = self._counts(number)
            if count:
                (failed if in_vain == count else fresh)[number] = count
        return fresh | failed

    def open_rows(self, number: int) -> list[Row]:
        """The rows of a shard that are still to be judged, with what earlier sittings found out about them.

        Those that were asked about before, in vain, come last.
        """
        if not self.shard_file(number).exists():
            rows = rows_of(self._batches[number])
        else:
            waiting = [row for row in rows_of(self.shard(number)) if row.outcome == Outcome.PENDING]
            rows = [row.taken_up() for row in sorted(waiting, key=has_failed)]
        for place, row in enumerate(rows):
            row.shard, row.place = number, place
        return rows

    def shard(self, number: int) -> "pa.Table":
        """A finished shard."""
        import pyarrow.parquet as pq

        with _named(self.shard_file(number)):
            return pq.read_table(self.shard_file(number))

    def judged_rows(self) -> Iterator[Row]:
        """All rows of finished shards, those that wait among them, by digest."""
        for number in range(self.shards):
            if self.shard_file(number).exists():
                yield from rows_of(self.shard(number))

    def write_shard(self, number: int, rows: Sequence[Row]) -> None:
        """Keep the rows that were judged, those of earlier sittings among them; in one move.

        Raises:
            DistillError: the rows are not those that were to be judged, or the disk is full.
        """
        import pyarrow.parquet as pq

        expected = [row.id for row in self.open_rows(number)]
        if [row.id for row in rows] != expected or any(row.outcome is None for row in rows):
            raise DistillError(f"shard {number}: rows were lost or left unfinished by the engine; run it again")
        now = {row.id: row for row in rows}
        if self.shard_file(number).exists():
            rows = [now.get(row.id, row) for row in rows_of(self.shard(number))]
        table = shard_of(rows)
        pending = [row for row in rows if row.outcome == Outcome.PENDING]
        counts = {_PENDING: len(pending), _FAILED: sum(map(has_failed, pending))}
        table = table.replace_schema_metadata({name: str(count).encode() for name, count in counts.items()})
        try:
            write_whole(self.shard_file(number), lambda part: pq.write_table(table, part))
        except OSError as error:
            raise DistillError(
                f"{self.shard_file(number)}: cannot be written ({error.strerror or error}); make room and run it again"
            ) from error


@contextmanager
def _named(file: Path, remedy: str = "delete it and run again") -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, KeyError, TypeError, pa.ArrowException) as error:
        what = "this shard is damaged" if file.parent.name == "shards" else "cannot be read"
        raise DistillError(f"{file}: {what} ({error}); {remedy}") from error
