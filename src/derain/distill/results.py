"""Read a run's tables: batches of columns for counting, and samples of rows that no order of rows changes."""

import hashlib
import heapq
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derain.distill.judges.interface import Decision, Outcome, Verdict
from derain.distill.pipeline.schema import OUTPUTS, PYRAMID, family, table_path
from derain.errors import DistillError, MissingExtraError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 8192
"""Rows that are in memory at once."""

_TEXTS = ("type", "source", "scene", "digest", "clean_digest", "caption", "reason")
_ROW_COLUMNS = ("id", "rainy", "clean", *_TEXTS, "references", "verdicts", "outcome")


@dataclass(frozen=True)
class Reference:
    """A real photograph that a candidate was compared with."""

    digest: str
    path: Path
    text_distance: float | None
    cosine: float | None
    ssim: float | None


@dataclass(frozen=True)
class ResultRow:
    """One candidate and what became of it; texts it did not come to are empty."""

    id: str
    rainy: Path
    clean: Path | None
    type: str
    source: str
    scene: str
    digest: str
    clean_digest: str
    caption: str
    references: tuple[Reference, ...]
    verdicts: tuple[Verdict, ...]
    outcome: Outcome
    reason: str

    @property
    def key(self) -> str:
        """16 hexadecimal digits: this pair of pictures under this id, in whatever run."""
        return pair_key(self.id, self.digest, self.clean_digest)


def pair_key(identity: str, digest: str, clean_digest: str) -> str:
    """16 hexadecimal digits that name a pair without saying anything about it."""
    return hashlib.sha256(f"{identity}\0{digest}\0{clean_digest}".encode()).hexdigest()[:16]


def check_run(out: Path) -> None:
    """Raises `DistillError` unless the folder holds a run's whole result: the pyramid, and all it speaks of."""
    pending = table_path(out, Outcome.PENDING).name
    missing = [name for name in OUTPUTS if name != pending and not (out / name).is_file()]
    if not missing and noted_total(out, Outcome.PENDING.value) and not (out / pending).is_file():
        missing = [pending]
    if missing:
        *others, last = missing
        raise DistillError(
            f"{out}: wanted the folder of a finished run, but {', '.join(others)}{' and ' * bool(others)}{last} "
            f"{'are' if others else 'is'} not there; give the folder that `derain distill run -o` wrote, or give that "
            "command again, which writes what is missing and asks no model twice"
        )


def noted_total(out: Path, level: str) -> int:
    """How many a run noted in its pyramid of a level: `real` (photographs), `kept`, `dropped`, `pending`.

    Raises:
        DistillError: the pyramid is damaged.
    """
    path = out / PYRAMID
    try:
        return int(json.loads(path.read_text("utf-8"))["levels"][level]["total"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DistillError(f"{path}: is damaged ({error!r}); run `derain distill run` again to write it") from error


def iterate_batches(out: Path, outcome: Outcome, columns: Sequence[str]) -> Iterator["pa.RecordBatch"]:
    """The rows of an outcome in file order, `BATCH_ROWS` at a time; nothing where the run has no such table.

    Raises:
        DistillError: the table is damaged, or lacks a column.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("reading the result of a distillation run", "distill") from error
    path = table_path(out, outcome)
    if not path.is_file():
        return
    try:
        with pq.ParquetFile(path) as table:
            absent = sorted(set(columns) - set(table.schema_arrow.names))
            if absent:
                raise DistillError(
                    f"{path}: wanted the column{'s' * (len(absent) > 1)} {', '.join(absent)} of a run's result, which "
                    "it does not have; write it anew with `derain distill run`"
                )
            yield from table.iter_batches(BATCH_ROWS, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise DistillError(f"{path}: cannot be read ({error}); run `derain distill run` again to write it") from error


def sample_rows(
    out: Path, outcome: Outcome, count: int, seed: int, judged_only: bool, by: Sequence[str] = ("type",)
) -> list[ResultRow]:
    """At most `count` rows, spread evenly over the values of the columns `by`, in an order that says nothing.

    Rows are drawn by a digest of the seed and of the pair, so that the same candidates are drawn in whatever order,
    and in however many shards, a run wrote them. With `judged_only`, rows without a single verdict are left out.
    """
    columns = dict.fromkeys(["id", "digest", "clean_digest", "verdicts", *by])
    strata: dict[tuple[str, ...], list[tuple[int, str]]] = defaultdict(list)
    for batch in iterate_batches(out, outcome, list(columns)):
        judged = batch.column("verdicts").value_lengths().fill_null(0).to_pylist()
        cells = [batch.column(name).to_pylist() for name in ("id", "digest", "clean_digest", *by)]
        for verdicts, identity, digest, clean_digest, *values in zip(judged, *cells, strict=True):
            if judged_only and not verdicts:
                continue
            key = pair_key(identity, digest or "", clean_digest or "")
            rank = int.from_bytes(hashlib.sha256(f"{seed}\0{key}".encode()).digest()[:8], "big")
            heap = strata[tuple(family(value or "") for value in values)]
            # A heap of the negated ranks: its top is the worst of those in it, and leaves for a better one.
            heapq.heappush(heap, (-rank, key))
            if len(heap) > count:
                heapq.heappop(heap)
    wanted = _spread({stratum: sorted((-rank, key) for rank, key in heap) for stratum, heap in strata.items()}, count)
    rows = {row.key: row for row in rows_of(out, outcome, wanted)}
    return [rows[key] for key in wanted]


def rows_of(out: Path, outcome: Outcome, keys: Sequence[str]) -> list[ResultRow]:
    """The rows of an outcome whose `key` is among `keys`, in file order; only these are built."""
    import pyarrow as pa

    wanted = set(keys)
    rows: list[ResultRow] = []
    for batch in iterate_batches(out, outcome, _ROW_COLUMNS) if wanted else ():
        names = [batch.column(name).to_pylist() for name in ("id", "digest", "clean_digest")]
        places = [
            place
            for place, (identity, digest, clean_digest) in enumerate(zip(*names, strict=True))
            if pair_key(identity, digest or "", clean_digest or "") in wanted
        ]
        if places:
            rows += [_row(cells) for cells in batch.take(pa.array(places)).to_pylist()]
    return rows


def _spread(strata: dict[tuple[str, ...], list[tuple[int, str]]], count: int) -> list[str]:
    """Keys, one of each stratum in turn until there are `count` or none is left, in the order of their ranks."""
    drawn: list[tuple[int, str]] = []
    for turn in range(count):
        for stratum in sorted(strata):
            if turn < len(strata[stratum]) and len(drawn) < count:
                drawn.append(strata[stratum][turn])
    return [key for _, key in sorted(drawn)]


def _row(cells: dict[str, Any]) -> ResultRow:
    return ResultRow(
        id=cells["id"],
        rainy=Path(cells["rainy"]),
        clean=Path(cells["clean"]) if cells["clean"] else None,
        **{name: cells[name] or "" for name in _TEXTS},
        references=tuple(Reference(**cell | {"path": Path(cell["path"])}) for cell in cells["references"] or ()),
        verdicts=tuple(_verdict(cell) for cell in cells["verdicts"] or ()),
        outcome=Outcome(cells["outcome"]),
    )


def _verdict(cell: dict[str, Any]) -> Verdict:
    return Verdict(cell["judge"], Decision(cell["decision"]), cell["score"], cell["reason"], cell["reply"] or "")
