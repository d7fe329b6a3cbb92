"""The folder of a run: what it was told to do, its candidates in shards, and the shards that are finished.

    .derain-run/made-by-derain          says that a run made this folder; without it nothing here is ever removed
    .derain-run/plan.json               settings, digests of everything that decides the result; before any shard
    .derain-run/candidates.arrow        candidates by digest, one record batch a shard
    .derain-run/refused.parquet         rows that no model is asked about, with the reason
    .derain-run/shards/000017.parquet   a finished shard, whole or absent

Beside it lie the outputs. A shard that has pending rows is worked on again, for these rows only.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from derain.data.cache import write_whole
from derain.distill.pipeline.asking import FAILED
from derain.distill.pipeline.plan import Plan, changes
from derain.distill.pipeline.row import Row, result_of, rows_of
from derain.distill.pipeline.schema import OUTPUTS, Outcome
from derain.errors import DistillError

if TYPE_CHECKING:
    import pyarrow as pa

INSIDE = ".derain-run"
MARKER = "made-by-derain"

CANDIDATE_COLUMNS = (
    "id",
    "rainy",
    "clean",
    "type",
    "source",
    "split",
    "scene",
    "digest",
    "clean_digest",
    "perceptual_hash",
    "clean_hash",
    "width",
    "height",
    "type_origin",
)
"""What is known of a candidate before the first stage."""

_PENDING, _FAILED = b"pending", b"failed"


def has_failed(row: Row) -> bool:
    """Whether a pending row waits because a door was asked about it in vain, not because the door was not asked."""
    return (row.reason or "").startswith(FAILED)


class RunFolder:
    """Where a run keeps everything."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._inside = out / INSIDE
        self._marker = self._inside / MARKER
        self.plan_file = self._inside / "plan.json"
        self.candidates = self._inside / "candidates.arrow"
        self.refused = self._inside / "refused.parquet"
        self.measured = self._inside / "measured.arrow"
        """While candidates are prepared."""
        self._shards = self._inside / "shards"
        self._lock = self._inside / "lock"

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
        """Make the folder a run's, and keep other processes of this machine out. What a kill left half-made goes.

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
            self._sweep()
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
        self._marker.write_text("This folder may be removed to begin the run afresh.\n", encoding="utf-8")

    def _sweep(self) -> None:
        """Remove unfinished files of processes that were killed; only under the lock."""
        unfinished = [*self._inside.rglob(".*.part")]
        for name in OUTPUTS:
            unfinished += self.out.glob(f".{name}.*.part")
        for part in unfinished:
            part.unlink(missing_ok=True)

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
        """Go on only with what was begun.

        Raises:
            DistillError: the folder holds a run with another plan; what differs is named.
        """
        if not self.plan_file.exists():
            return
        try:
            before = json.loads(self.plan_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DistillError(f"{self.plan_file}: cannot be read ({error}); begin afresh with --fresh") from error
        if found := changes(before, plan):
            raise DistillError(
                f"{self.out}: holds a run that was told otherwise ({'; '.join(found)}); run it as it was, give another "
                "folder, or run it with --fresh, which begins anew (answers that models gave stay in the cache)"
            )

    def write_plan(self, plan: Plan) -> None:
        """From here on the run can be resumed."""
        write_text_whole(self.plan_file, json.dumps(plan, indent=1, ensure_ascii=False))

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

        try:
            reader = pa.ipc.open_file(pa.memory_map(str(self.candidates)))
            return [reader.get_batch(number) for number in range(reader.num_record_batches)]
        except (OSError, pa.ArrowException) as error:
            raise DistillError(f"{self.candidates}: cannot be read ({error}); begin afresh with --fresh") from error

    def shard_file(self, number: int) -> Path:
        """Where a shard lies once it is finished."""
        return self._shards / f"{number:06d}.parquet"

    def pending(self, number: int) -> int:
        """How many rows of a shard are still to be judged: all where it is not finished, else those that wait."""
        import pyarrow.parquet as pq

        if not self.shard_file(number).exists():
            return int(self._batches[number].num_rows)
        with _named(self.shard_file(number)):
            return int(pq.read_schema(self.shard_file(number)).metadata[_PENDING])

    def waiting(self) -> dict[int, int]:
        """How many rows are still to be judged in each shard that has some.

        Shards come last all of whose rows were asked about before, in vain: they must not hold up the others again.
        """
        import pyarrow.parquet as pq

        fresh: dict[int, int] = {}
        failed: dict[int, int] = {}
        for number in range(self.shards):
            if count := self.pending(number):
                file = self.shard_file(number)
                in_vain = int(pq.read_schema(file).metadata[_FAILED]) if file.exists() else 0
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
        table = result_of(rows)
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
def _named(file: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, KeyError, TypeError, pa.ArrowException) as error:
        raise DistillError(f"{file}: this shard is damaged ({error}); delete it and run again") from error


def write_text_whole(path: Path, text: str) -> None:
    """A text file, there whole or not at all."""

    def write(part: Path) -> None:
        part.write_text(text, encoding="utf-8")

    write_whole(path, write)
