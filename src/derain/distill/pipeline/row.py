"""A candidate on its way through the stages: a row of the result's columns, and what the stages hand each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypedDict

from derain.distill.answers.cached import Answer
from derain.distill.judges.interface import Outcome
from derain.distill.pipeline.schema import CANDIDATE_COLUMNS, result_schema

if TYPE_CHECKING:
    import pyarrow as pa


class ReferenceCell(TypedDict):
    """A real photograph that the candidate was compared with."""

    digest: str
    path: str
    text_distance: float | None
    cosine: float | None
    ssim: float | None


class VerdictCell(TypedDict):
    """One judge's vote."""

    judge: str
    decision: str
    score: float | None
    reason: str
    reply: str
    seconds: float


class CallCell(TypedDict):
    """One answer of a model for this candidate."""

    model: str
    """Its role, such as `captioner` or `judge NAME`."""
    from_cache: bool
    """From the cache."""
    seconds: float
    """What the model took for it when it was asked."""


FORMER_COLUMNS = ("timed",)
"""That shards of older runs have."""


@dataclass
class Row:
    """A candidate; cells that it did not come to are None. Fields are the columns of `working_schema`, in order."""

    id: str
    rainy: str
    clean: str
    type: str | None
    source: str
    split: str
    scene: str
    digest: str | None = None
    clean_digest: str | None = None
    perceptual_hash: int | None = None
    clean_hash: int | None = None
    width: int | None = None
    height: int | None = None
    type_origin: str | None = None
    caption: str | None = None
    expansion: str | None = None
    keywords: list[str] | None = None
    description: str | None = None
    visual: list[float] | None = None
    references: list[ReferenceCell] | None = None
    verdicts: list[VerdictCell] | None = None
    outcome: str | None = None
    reason: str | None = None
    stage_seconds: list[tuple[str, float]] | None = None
    # Between the stages only.
    prior_verdicts: list[VerdictCell] | None = None
    """Of earlier sessions, which the judges need not give again; None where there was no earlier session."""
    shard: int = 0
    place: int = 0
    """Within the shard."""
    text_vector: list[float] | None = None
    visual_vector: list[float] | None = None
    calls: list[CallCell] = field(default_factory=list)
    waiting: str | None = None
    """Why a judge gave no answer, while the others are still to be asked."""
    failure: str | None = None
    """Why the whole run cannot go on."""

    @property
    def is_open(self) -> bool:
        """Whether the next stage is to work on it."""
        return self.outcome is None

    @property
    def has_references(self) -> bool:
        """Whether it is known what the candidate is compared with."""
        return bool(self.references)

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier session worked on it."""
        return self.prior_verdicts is not None

    def leave_pending(self, reason: str) -> None:
        """No answer could be had; the next run asks again."""
        self.outcome, self.reason = Outcome.PENDING.value, reason

    def drop(self, reason: str) -> None:
        """It is not to be trusted, for this reason."""
        self.outcome, self.reason = Outcome.DROPPED.value, reason

    def spend(self, stage: str, seconds: float) -> None:
        """Add to a stage's time."""
        spent = dict(self.stage_seconds or [])
        spent[stage] = spent.get(stage, 0.0) + seconds
        self.stage_seconds = list(spent.items())

    def count_answer(self, stage: str, role: str, answer: Answer[Any]) -> None:
        """Note an answer, and its time; a resumed row has counted those in the cache before."""
        self.calls.append({"model": role, "from_cache": answer.from_cache, "seconds": answer.seconds})
        if not (answer.from_cache and self.is_resumed):
            self.spend(stage, answer.seconds)

    def begin_again(self) -> "Row":
        """The candidate as it was before the first stage; a type that was classified is classified again."""
        row = Row(**{name: getattr(self, name) for name in CANDIDATE_COLUMNS}, shard=self.shard, place=self.place)
        if row.type_origin == "classifier":
            row.type = row.type_origin = None
        return row

    def resumed(self) -> "Row":
        """The candidate with all that an earlier session found out, so that only what is missing is asked for.

        Prior verdicts wait for the judges, which take them in their turn: a cascade then ends as if it had not waited.
        """
        return replace(
            self.begin_again(),
            type=self.type,
            type_origin=self.type_origin,
            caption=self.caption,
            expansion=self.expansion,
            keywords=self.keywords,
            description=self.description,
            visual=self.visual,
            references=self.references or None,
            stage_seconds=self.stage_seconds,
            prior_verdicts=self.verdicts or [],
        )


@cache
def working_schema() -> "pa.Schema":
    """The result's columns, and those that stages hand each other."""
    import pyarrow as pa

    vector = pa.list_(pa.float32())
    calls = pa.list_(pa.struct([("model", pa.string()), ("from_cache", pa.bool_()), ("seconds", pa.float32())]))
    added = [
        ("prior_verdicts", result_schema().field("verdicts").type),
        ("shard", pa.int32()),
        ("place", pa.int32()),
        ("text_vector", vector),
        ("visual_vector", vector),
        ("calls", calls),
        ("waiting", pa.string()),
        ("failure", pa.string()),
    ]
    schema = result_schema()
    for name, kind in added:
        schema = schema.append(pa.field(name, kind))
    assert schema.names == [column.name for column in fields(Row)], "Row has the columns of the schema"
    return schema


def rows_of(table: "pa.Table") -> list[Row]:
    """The rows of a table; columns that it lacks are None."""
    known = [name for name in table.column_names if name not in FORMER_COLUMNS]
    return [Row(**_filled(cells)) for cells in table.select(known).to_pylist()]


def table_of(rows: Sequence[Row]) -> "pa.Table":
    """The rows as a table of `working_schema`."""
    import pyarrow as pa

    schema = working_schema()
    columns: list[list[Any]] = [[getattr(row, name) for row in rows] for name in schema.names]
    return pa.Table.from_arrays(
        [pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)], schema=schema
    )


def result_of(rows: Sequence[Row]) -> "pa.Table":
    """The rows as a table of `result_schema`."""
    return table_of(rows).select(result_schema().names)


def _filled(cells: dict[str, Any]) -> dict[str, Any]:
    """Columns whose cells are never None in a row."""
    return cells | {
        "shard": cells.get("shard") or 0,
        "place": cells.get("place") or 0,
        "calls": cells.get("calls") or [],
    }
