"""The folder of a run: its plan, its candidates cut into shards, the finished shards, and who may work in it.

    .derain-run/made-by-derain          marks a folder that a run made; without it nothing here is ever removed
    .derain-run/plan.json               settings and digests of everything that decides the result; before any shard
    .derain-run/candidates.arrow        candidates by digest, one record batch a shard
    .derain-run/refused.parquet         rows that no model is asked about, with the reason
    .derain-run/shards/000017.parquet   a finished shard, whole or absent

A shard that has pending rows is worked on again, for these rows only. Beside `.derain-run` lie the outputs.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from derain.distill.answers.breaker import FAILED
from derain.distill.judges.interface import Outcome
from derain.distill.pipeline.plan import Plan, changes
from derain.distill.pipeline.row import Row, result_of, rows_of
from derain.distill.pipeline.schema import OUTPUTS
from derain.errors import DistillError
from derain.files import atomic_write, write_text

if TYPE_CHECKING:
    import pyarrow as pa

INSIDE = ".derain-run"
MARKER = "made-by-derain"
FILTERED_ROWS = 8192
"""That are read at once."""

_PENDING, _FAILED = b"pending", b"failed"
_FRESH = "start anew with --fresh (answers of models stay in the cache)"


class RunFolder:
    """Where a run keeps everything."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._inside = out / INSIDE
        self._marker = self._inside / MARKER
        self._lock = self._inside / "lock"
        self.plan_file = self._inside / "plan.json"
        self.candidates = self._inside / "candidates.arrow"
        self.filtered = self._inside / "refused.parquet"
        self.measured = self._inside / "measured.arrow"
        """While candidates are prepared."""
        self._finished = self._inside / "shards"

    def require_not_among(self, inputs: Sequence[Path]) -> None:
        """Raises DistillError where a file that is read is one that the run would write."""
        places = {(self.out / name).resolve(): name for name in OUTPUTS}
        for file in inputs:
            if name := places.get(file.resolve()):
                raise DistillError(
                    f"{file}: is read by this run, which would write its own {name} there; give another folder for it"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Mark the folder as a run's, and keep other processes of this machine out. Unfinished files are removed.

        Raises:
            DistillError: a process is at work here, the folder cannot be made, or it holds files of somebody else in
                the places where a run writes.
        """
        try:
            self._claim()
            file = self._lock.open("w")
        except OSError as error:
            raise DistillError(f"{self.out}: cannot be written to ({error.strerror}); give another folder") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise DistillError(
                    f"{self.out}: another process is at work in this folder; wait for it, or give another folder"
                ) from error
            for part in [*self._inside.rglob(".*.part"), *(p for n in OUTPUTS for p in self.out.glob(f".{n}.*.part"))]:
                part.unlink(missing_ok=True)
            yield

    def _claim(self) -> None:
        """Mark the folder as a run's; one that is marked already, or empty, is taken."""
        if self._marker.exists():
            return
        foreign = [name for name in OUTPUTS if (self.out / name).exists()]
        if self._inside.exists() and any(self._inside.iterdir()):
            foreign.append(INSIDE)
        if foreign and not self._marker.exists():  # another process may have marked it just now
            raise DistillError(
                f"{self.out}: holds {', '.join(foreign)}, which no run of this program made; "
                "move that away, or give another folder"
            )
        self._inside.mkdir(parents=True, exist_ok=True)
        self._marker.write_text("This folder may be removed to start the run anew.\n", encoding="utf-8")

    @property
    def is_prepared(self) -> bool:
        """Whether candidates and plan are there."""
        return self.plan_file.exists()

    def clear(self) -> None:
        """Forget everything that a run did here, its outputs with it; other files in the folder stay.

        Raises:
            DistillError: no run made what is there.
        """
        if not self._marker.exists():
            raise DistillError(f"{self.out}: wanted the folder of a run, but no run made it; give another folder")
        for name in reversed(OUTPUTS):
            (self.out / name).unlink(missing_ok=True)
        self.plan_file.unlink(missing_ok=True)
        for path in self._inside.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path not in (self._marker, self._lock):
                path.unlink()
        self.__dict__.pop("_batches", None)

    def require_same_plan(self, plan: Plan) -> None:
        """Resume only what was begun.

        Raises:
            DistillError: the folder holds a run with another plan; what differs is named.
        """
        if not self.plan_file.exists():
            return
        with _named(self.plan_file, _FRESH):
            before = dict(json.loads(self.plan_file.read_text(encoding="utf-8")))
            if not before:
                raise ValueError("it is empty")
            if (self._inside / "next" / "whole").exists():
                raise ValueError("an earlier version was interrupted while it exchanged the candidates")
        if found := changes(before, plan):
            raise DistillError(
                f"{self.out}: holds a run with other inputs ({'; '.join(found)}); run it as it was, give another "
                f"folder, or {_FRESH}"
            )

    def write_plan(self, plan: Plan) -> None:
        """From here on the run can be resumed."""
        write_text(self.plan_file, json.dumps(plan, indent=1, ensure_ascii=False), durable=True)

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

        with _named(self.candidates, _FRESH):
            reader = pa.ipc.open_file(pa.memory_map(str(self.candidates)))
            return [reader.get_batch(number) for number in range(reader.num_record_batches)]

    def filtered_rows(self, columns: Sequence[str] | None = None) -> "Iterator[pa.RecordBatch]":
        """The rows that no model is asked about, some thousand at a time.

        Raises:
            DistillError: the file is damaged.
        """
        import pyarrow.parquet as pq

        with _named(self.filtered, _FRESH), pq.ParquetFile(self.filtered) as rows:
            yield from rows.iter_batches(FILTERED_ROWS, columns=None if columns is None else list(columns))

    def shard_file(self, number: int) -> Path:
        """Where a shard lies once it is finished."""
        return self._finished / f"{number:06d}.parquet"

    def pending(self, number: int) -> int:
        """How many rows of a shard are still to be judged: all where it is not finished, else those that wait."""
        return self._counts(number)[0]

    def _counts(self, number: int) -> tuple[int, int]:
        """Rows that are still to be judged, and those of them for which a model was asked without success."""
        import pyarrow.parquet as pq

        file = self.shard_file(number)
        if not file.exists():
            return int(self._batches[number].num_rows), 0
        with _named(file):
            metadata = pq.read_schema(file).metadata
            return int(metadata[_PENDING]), int(metadata[_FAILED])

    def waiting(self) -> dict[int, int]:
        """How many rows are still to be judged in each shard that has some.

        Shards come last in which a model failed on every such row: they must not hold up the others again.
        """
        fresh: dict[int, int] = {}
        failed: dict[int, int] = {}
        for number in range(self.shards):
            count, failures = self._counts(number)
            if count:
                (failed if failures == count else fresh)[number] = count
        return fresh | failed

    def open_rows(self, number: int) -> list[Row]:
        """The rows of a shard that are still to be judged, with what earlier sessions found out about them.

        Those on which a model failed before come last.
        """
        if not self.shard_file(number).exists():
            rows = rows_of(self._batches[number])
        else:
            waiting = [row for row in rows_of(self.shard(number)) if row.outcome == Outcome.PENDING]
            rows = [row.resumed() for row in sorted(waiting, key=has_failed)]
        for place, row in enumerate(rows):
            row.shard, row.place = number, place
        return rows

    def shard(self, number: int) -> "pa.Table":
        """A finished shard."""
        import pyarrow.parquet as pq

        with _named(self.shard_file(number)):
            return pq.read_table(self.shard_file(number))

    def write_shard(self, number: int, rows: Sequence[Row]) -> None:
        """Keep the rows that were judged, those of earlier sessions among them; in one move.

        Raises:
            DistillError: the rows are not those that were to be judged, or the disk is full.
        """
        import pyarrow.parquet as pq

        expected = [row.id for row in self.open_rows(number)]
        if [row.id for row in rows] != expected or any(row.outcome is None for row in rows):
            raise DistillError(f"shard {number}: rows were lost or left unfinished by the engine; run it again")
        file, now = self.shard_file(number), {row.id: row for row in rows}
        if file.exists():
            rows = [now.get(row.id, row) for row in rows_of(self.shard(number))]
        pending = [row for row in rows if row.outcome == Outcome.PENDING]
        counts = {_PENDING: len(pending), _FAILED: sum(map(has_failed, pending))}
        table = result_of(rows).replace_schema_metadata({name: str(count).encode() for name, count in counts.items()})
        try:
            file.parent.mkdir(exist_ok=True)
            with atomic_write(file, durable=True) as part:
                pq.write_table(table, part)
        except OSError as error:
            raise DistillError(
                f"{file}: cannot be written ({error.strerror or error}); make room and run it again"
            ) from error


def has_failed(row: Row) -> bool:
    """Whether a pending row waits because a model was asked about it without success, not because none was asked."""
    return (row.reason or "").startswith(FAILED)


@contextmanager
def _named(file: Path, remedy: str = "delete it and run again") -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        what = "this shard is damaged" if file.parent.name == "shards" else "cannot be read"
        raise DistillError(f"{file}: {what} ({error}); {remedy}") from error
