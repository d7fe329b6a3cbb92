import csv
import json

import pytest

from derain.errors import DatasetError
from derain.evaluate.benchmark import Score
from derain.evaluate.report import average, check_rows_path, markdown_table, rows_by_type, write_scores
from derain.evaluate.scoring import CEILING_DB
from derain.imaging.metrics import Protocol


def score(name, rain_type, before, after):
    return Score(
        id=name,
        type=rain_type,
        source="samples",
        height=10,
        width=20,
        input_psnr=before,
        output_psnr=after,
        input_ssim=0.8,
        output_ssim=0.9,
        input_l1=0.1,
        output_l1=0.05,
        seconds=0.5,
    )


SCORES = [
    score("a", "nrd", 20.0, 24.0),
    score("b", "drs", 20.0, 22.0),
    score("c", "drs", 30.0, 31.0),
    score("d", "snow", 10.0, 9.0),
    score("e", "drs", 25.0, 28.0),
]


def test_rows_are_means_by_type_in_the_order_of_the_types():
    rows = rows_by_type(SCORES)
    assert [row.label for row in rows] == ["drs (day streaks)", "nrd (night drops)", "snow"]
    assert (rows[0].pictures, rows[0].input_psnr, rows[0].output_psnr, rows[0].psnr_gain) == (3, 25.0, 27.0, 2.0)


def test_the_average_weighs_every_type_alike():
    mean = average(rows_by_type(SCORES))
    assert mean.pictures == 5
    assert mean.input_psnr == pytest.approx((25 + 20 + 10) / 3)
    assert mean.psnr_gain == pytest.approx((2 + 4 - 1) / 3)


def test_the_table_names_its_protocol_and_signs_its_gains():
    table = markdown_table(SCORES, Protocol.UNIRAIN)
    assert "Protocol: unirain" in table
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3 + 1
    assert len({line.count("|") for line in lines}) == 1
    assert "| +2.00 |" in lines[2]
    assert "| -1.00 |" in lines[4]
    assert lines[5].startswith("| average of types | 5 |")


def test_one_type_needs_no_average():
    assert "average" not in markdown_table(SCORES[:1], Protocol.Y)


def test_nothing_gives_no_table():
    with pytest.raises(DatasetError):
        markdown_table([], Protocol.Y)


def test_rows_read_back_from_csv_and_json(tmp_path):
    scores = [*SCORES, score("same\udcff", "drs", CEILING_DB, 50.0)]
    write_scores(tmp_path / "rows.csv", scores, Protocol.RGB)
    write_scores(tmp_path / "deep" / "rows.json", scores, Protocol.RGB)
    with (tmp_path / "rows.csv").open(newline="") as file:
        from_csv = list(csv.DictReader(file))
    from_json = json.loads((tmp_path / "deep" / "rows.json").read_text())
    assert [row["id"] for row in from_json] == [*"abcde", "same\udcff"]
    assert [row["id"] for row in from_csv] == [*"abcde", "same\\udcff"], "a name that is no UTF-8 is escaped"
    assert float(from_csv[1]["output_psnr"]) == from_json[1]["output_psnr"] == 22.0
    assert from_json[5]["input_psnr"] == float(from_csv[5]["input_psnr"]) == 100.0
    assert {row["protocol"] for row in from_csv} == {"rgb"}
    assert list(from_csv[0])[:2] == ["id", "type"], "a row begins with what it is about"
    with pytest.raises(DatasetError, match="csv"):
        write_scores(tmp_path / "rows.xlsx", scores, Protocol.RGB)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "rows.csv"]


def test_the_table_says_that_equal_pictures_are_counted_at_the_ceiling():
    assert "100 dB" in markdown_table([*SCORES, score("same", "drs", CEILING_DB, 50.0)], Protocol.RGB)
    assert "100 dB" not in markdown_table(SCORES, Protocol.RGB)


def test_a_place_for_rows_is_checked_before_anything_is_measured(tmp_path):
    (tmp_path / "afile").write_text("a file")
    (tmp_path / "folder.csv").mkdir()
    check_rows_path(tmp_path / "new" / "rows.csv")
    with pytest.raises(DatasetError, match="afile"):
        check_rows_path(tmp_path / "afile" / "deep" / "rows.csv")
    with pytest.raises(DatasetError, match="folder"):
        check_rows_path(tmp_path / "folder.csv")
