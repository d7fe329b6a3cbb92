"""The files of a run's result and their columns: a row for each candidate, with all that was found out about it."""

from pathlib import Path
from typing import TYPE_CHECKING

from derain.distill.judges.interface import Outcome

if TYPE_CHECKING:
    import pyarrow as pa


PYRAMID = "pyramid.json"
OUTPUTS = (*(f"{outcome.value}.parquet" for outcome in Outcome), "manifest.csv", PYRAMID)
"""What a run leaves behind for others to read, `pending.parquet` only where rows are pending; the last is written last,
and is there only with all of the others."""

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
"""What is known of a candidate before the first stage: the first columns of `result_schema`, and fields of `Row`."""


NO_REFERENCES = "no_references"
"""Name of the reason of rows that were dropped because the knowledge base has no photograph to compare them with."""


def table_path(out: Path, outcome: Outcome) -> Path:
    """Where a run keeps the rows of an outcome."""
    return out / f"{outcome.value}.parquet"


def family(reason: str) -> str:
    """The name of a reason without its particulars: `duplicate_of` of `duplicate_of:17`."""
    return reason.partition(":")[0].strip()


def result_schema() -> "pa.Schema":
    """Columns of `kept.parquet`, `dropped.parquet` and of a run's shards.

    Cells that a candidate did not come to (a broken picture has no caption) are null.
    """
    import pyarrow as pa

    text, number = pa.string(), pa.float32()
    reference = pa.struct(
        [("digest", text), ("path", text), ("text_distance", number), ("cosine", number), ("ssim", number)]
    )
    verdict = pa.struct(
        [
            ("judge", text),
            ("decision", text),
            ("score", number),
            ("reason", text),
            ("reply", text),
            ("seconds", number),
        ]
    )
    return pa.schema(
        [
            # The manifest's own columns, paths absolute.
            ("id", text),
            ("rainy", text),
            ("clean", text),
            ("type", text),
            ("source", text),
            ("split", text),
            ("scene", text),
            # What the files are.
            ("digest", text),
            ("clean_digest", text),
            ("perceptual_hash", pa.uint64()),
            ("clean_hash", pa.uint64()),  # perceptual hash of the clean picture
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("type_origin", text),  # manifest | classifier
            # Stages.
            ("caption", text),
            ("expansion", text),
            ("keywords", pa.list_(text)),
            ("description", text),
            ("visual", pa.list_(pa.float16())),
            ("references", pa.list_(reference)),
            ("verdicts", pa.list_(verdict)),
            # What came of it.
            ("outcome", text),  # a member of Outcome
            ("reason", text),  # two_of_three_keep, duplicate_of:ID, unreadable_picture: ..., a judge's reason ...
            ("stage_seconds", pa.map_(text, number)),  # caption, embed, retrieve, judge -> seconds of this candidate
        ]
    )
