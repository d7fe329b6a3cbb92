"""The columns of a candidate: named once, and carried along everywhere."""

from dataclasses import fields
from pathlib import Path

import pyarrow as pa
from pixel_models import make_candidates, small_settings

from derain.distill.answers.cache import AnswerCache
from derain.distill.pipeline.prepare import prepare
from derain.distill.pipeline.row import Row, result_of, rows_of
from derain.distill.pipeline.run_folder import RunFolder
from derain.distill.pipeline.schema import CANDIDATE_COLUMNS, result_schema

WHOLE = Row(
    "a", "r.png", "c.png", "nrd", "set", "train", "scene", "1" * 64, "2" * 64, 2**63, 4, 640, 480, "manifest",
    "rain", "much rain", ["rain"], "rain, much", [0.5], [], [], "kept", "all", [("judge", 1.5)],
    shard=3, place=7,
)  # fmt: skip


def test_columns_of_a_candidate_are_the_first_of_a_row_and_of_a_result():
    count = len(CANDIDATE_COLUMNS)
    assert tuple(each.name for each in fields(Row))[:count] == CANDIDATE_COLUMNS
    assert tuple(result_schema().names)[:count] == CANDIDATE_COLUMNS
    assert result_schema().names[count] == "caption", "the first stage writes the next"


def test_a_row_that_begins_again_has_all_columns_of_a_candidate_and_no_other():
    again = WHOLE.begin_again()
    usual = {each.name: getattr(Row("", "", "", None, "", "", ""), each.name) for each in fields(Row)}
    for column in fields(Row):
        is_kept = column.name in CANDIDATE_COLUMNS or column.name in ("shard", "place")
        wanted = getattr(WHOLE, column.name) if is_kept else usual[column.name]
        assert getattr(again, column.name) == wanted, column.name


def test_preparing_fills_in_every_column_of_a_candidate(tmp_path: Path):
    folder = RunFolder(tmp_path / "out")
    with folder.locked(), AnswerCache(tmp_path / "cache") as cache:
        prepare([make_candidates(tmp_path, 2)], small_settings(), folder, cache)
    for row in folder.open_rows(0):
        assert all(getattr(row, name) not in (None, "") for name in CANDIDATE_COLUMNS)


def test_a_result_has_all_that_a_later_session_needs_and_older_shards_are_read():
    table = result_of([WHOLE])
    assert table.column_names == result_schema().names
    older = table.append_column("timed", pa.array([["judge x"]], pa.list_(pa.string())))
    for (row,) in (rows_of(table), rows_of(older)):
        assert (row.caption, row.stage_seconds) == ("rain", [("judge", 1.5)])
        assert row.resumed().is_resumed
        assert not row.is_resumed
