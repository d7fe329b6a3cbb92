"""Tables read in stretches: the same cells and the same lines as Python's own csv module, whatever stands in them."""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from derain.data import rows as rows_module
from derain.data.duplicates import find_duplicates, hash_strings, repeated
from derain.data.rows import column_names, read_records, read_rows, refuse_row
from derain.errors import DatasetError

Cells = list[tuple[str, list[str]]]

TRICKY = st.text(alphabet=st.sampled_from(list('ab,"\n\r\t é漢\u00a0\u2003\x00;')), max_size=8)
RECORDS = st.lists(st.tuples(TRICKY, TRICKY, st.text(max_size=6)), max_size=12)
REUSED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)


def read(path: Path, columns: list[str]) -> Cells:
    """Place and cells of each row."""
    found: Cells = []
    for stretch in read_rows(path, columns, refuse_row(path)):
        cells = zip(*(stretch.cells.column(name).to_pylist() for name in columns), strict=True)
        found += [(stretch.place(row), list(record)) for row, record in enumerate(cells)]
    return found


def read_slowly(text: str, columns: list[str]) -> Cells:
    """The same by the csv module and a dictionary a row."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = next(reader)
    found: Cells = []
    for record in reader:
        if record:
            assert len(record) == len(names)
            row = dict(zip(names, record, strict=True))
            found.append((f"line {reader.line_num}", [row[name].strip() for name in columns]))
    return found


def read_or_refuse_alike(path: Path, text: str, columns: list[str], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "BLOCK_BYTES", block)
        try:
            expected = read_slowly(text, columns)
        except (csv.Error, AssertionError):
            with pytest.raises(DatasetError):
                read(path, columns)
            with pytest.raises(DatasetError):
                list(read_records(path, columns))
        else:
            assert read(path, columns) == expected
            assert [(place, [row[name] for name in columns]) for place, row in read_records(path, columns)] == expected


@REUSED_FOLDER
@given(
    records=RECORDS,
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    blank=st.integers(0, 2),
    bom=st.booleans(),
    block=st.sampled_from([7, 40, 4 << 20]),
)
def test_any_written_table_is_read_as_the_csv_module_reads_it(
    tmp_path: Path, records: list[tuple[str, str, str]], quoting: int, ending: str, blank: int, bom: bool, block: int
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=quoting, lineterminator=ending)
    writer.writerow(["id", "note", "last"])
    for record in records:
        writer.writerow([cell.encode("utf-8", "replace").decode() for cell in record])
        buffer.write(ending * blank)
    text = buffer.getvalue()
    path = tmp_path / "table.csv"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    read_or_refuse_alike(path, text, ["last", "id"], block)


@REUSED_FOLDER
@given(lines=st.lists(st.text(alphabet='ab",\n\r ', max_size=9), max_size=8), block=st.sampled_from([5, 4 << 20]))
def test_any_text_is_read_or_refused_as_by_the_csv_module(tmp_path: Path, lines: list[str], block: int) -> None:
    text = "id,note\n" + "\n".join(lines)
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    read_or_refuse_alike(path, text, ["id", "note"], block)


def test_bad_rows_are_refused_or_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('id,note\n1,a\n2\n\n3,"b\nc"\n4,d,e\n5,f\n')
    with pytest.raises(DatasetError, match=r"table.csv, line 3: wanted 2 cells as in the header, got 1"):
        read(path, ["id"])
    told: list[str] = []
    kept = [
        (stretch.place(row), identity)
        for stretch in read_rows(path, ["id"], lambda place, reason: told.append(f"{place}: {reason[:20]}"))
        for row, identity in enumerate(stretch.cells.column("id").to_pylist())
    ]
    assert kept == [("line 2", "1"), ("line 6", "3"), ("line 8", "5")]
    assert [line.partition(":")[0] for line in told] == ["line 3", "line 7"]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with pytest.raises(DatasetError, match=r"table.csv: no such file"):
        read(path, ["id"])
    with pytest.raises(DatasetError, match="this is a folder"):
        column_names(tmp_path)
    path.write_bytes(b"\xff\xd8\xff\xe0picture")
    with pytest.raises(DatasetError, match="not a text file in UTF-8"):
        read(path, ["id"])
    path.write_bytes(b"id,note\n1,\xff\xfe\n")
    with pytest.raises(DatasetError, match="not a text file in UTF-8"):
        read(path, ["id"])
    path.write_text("id,note,id\n1,2,3\n")
    with pytest.raises(DatasetError, match="line 1: column id is there more than once"):
        read(path, ["id"])
    assert read(path, ["note"]) == [("line 2", ["2"])]
    path.write_bytes(b"PAR1 and then nothing of the kind")
    with pytest.raises(DatasetError, match="cannot be read as a Parquet table"):
        read(path, ["id"])


def test_parquet_gives_the_same_rows_as_csv(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    names = pa.array([" a ", "b", None, "d"]).dictionary_encode()
    table = pa.table({"id": pa.array([7, 8, 9, 10]), "note": names, "other": [0.5] * 4})
    pq.write_table(table, tmp_path / "table.any", row_group_size=3)
    expected = [("row 1", ["7", "a"]), ("row 2", ["8", "b"]), ("row 3", ["9", ""]), ("row 4", ["10", "d"])]
    assert read(tmp_path / "table.any", ["id", "note"]) == expected
    records = [(place, list(row.values())) for place, row in read_records(tmp_path / "table.any", ["id", "note"])]
    assert records == expected
    assert column_names(tmp_path / "table.any") == ["id", "note", "other"]
    with pytest.raises(DatasetError, match="no column scene; the header must have id, scene, it has id, note, other"):
        read(tmp_path / "table.any", ["id", "scene"])


@given(st.lists(st.text(max_size=40), max_size=30), st.integers(0, 5))
def test_equal_strings_and_only_they_have_equal_hashes(strings: list[str], start: int) -> None:
    strings = [text.encode("utf-8", "replace").decode() for text in strings]
    array = pa.array([*strings, *strings[::-1]], pa.string()).slice(start)
    hashes = hash_strings(array).tolist()
    assert len(hashes) == len(array)
    assert len(set(hashes)) == len(set(array.to_pylist()))
    by_string = dict(zip(array.to_pylist(), hashes, strict=True))
    assert [by_string[text] for text in array.to_pylist()] == hashes


def test_hashes_scatter() -> None:
    hashes = hash_strings(pa.array([f"photo-{number:07d}" for number in range(200_000)]))
    assert len(np.unique(hashes)) == 200_000
    low = np.bincount((hashes % np.uint64(16)).astype(int))
    assert np.abs(low - 12_500).max() < 5 * 12_500**0.5


def test_duplicates_are_found_with_both_places(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    names = ["a", "b", "a", "", "c", "b", "a", ""]
    path.write_text("id,note\n" + "".join(f"{name},x\n" for name in names))
    suspects = repeated([hash_strings(pa.array(names))])
    found = [
        (duplicate.value, duplicate.place, duplicate.earlier) for duplicate in find_duplicates(path, "id", suspects)
    ]
    assert found == [("a", "line 4", "line 2"), ("b", "line 7", "line 3"), ("a", "line 8", "line 2")]
    # Equal hashes alone are no duplicates: the values themselves are compared.
    assert list(find_duplicates(path, "id", hash_strings(pa.array(["c"])))) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id;scene;note\n1;2;3\n", "its cells are separated by semicolons: save it with commas"),
        (b"id\tscene\n1\t2\n", "its cells are separated by tabs: save it with commas"),
        ("id,note\n1,2\n".encode("utf-16"), "it is UTF-16: save it as UTF-8"),
        (b"id,scnee\n1,2\n", "is 'scnee' meant as 'scene'"),
        (b"ID,scene\n1,2\n", "is 'ID' meant as 'id'"),
        ("\xef\xbb\xbfid,other\n1,2\n".encode("latin-1"), r"it has id, other$"),
    ],
)
def test_a_table_that_a_spreadsheet_saved_otherwise_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    for reading in (read, lambda path, columns: list(read_records(path, columns))):
        with pytest.raises(DatasetError, match=said):
            reading(tmp_path / "table.csv", ["id", "scene"])


@pytest.mark.parametrize(
    ("header", "wanted", "said"),
    [
        ("path,light,split,source,scene", ["id", "rainy", "clean"], "this is an index of clean photographs"),
        ("id,rainy,clean,split", ["path", "light", "split"], "this is a manifest of pairs"),
    ],
)
def test_an_index_given_as_a_manifest_is_named_and_the_other_way_round(
    tmp_path: Path, header: str, wanted: list[str], said: str
) -> None:
    (tmp_path / "table.csv").write_text(f"{header}\n")
    with pytest.raises(DatasetError, match=said):
        read(tmp_path / "table.csv", wanted)
