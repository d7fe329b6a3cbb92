"""The file of faults: what it holds, and what it never overwrites."""

import csv
from pathlib import Path

import pytest

from derain.data.audit import Fault
from derain.data.check import FaultKind
from derain.data.faults import FaultFile
from derain.errors import DatasetError


def make_fault(folder: Path, number: int) -> Fault:
    return Fault(folder / "m.csv", f"line {number}", "a, b", FaultKind.MISSING, "a.png", 'the "a"')


def places(path: Path) -> list[str]:
    with path.open(newline="") as text:
        return [row["place"] for row in csv.DictReader(text)]


def test_faults_go_into_a_file_row_by_row_and_replace_an_earlier_one_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "faults.csv"
    path.touch()  # an empty file holds nothing that could be lost
    for numbers in ([2, 3], [5]):
        before = path.read_bytes()
        file = FaultFile(path, [tmp_path / "m.csv"])
        for number in numbers:
            file.write(make_fault(tmp_path, number))
        assert path.read_bytes() == before
        file.close()
        assert places(path) == [f"line {number}" for number in numbers]
    with path.open(newline="") as text:
        (row,) = csv.DictReader(text)
    assert (row["kind"], row["id"], row["reason"]) == ("missing", "a, b", 'the "a"')
    assert [file.name for file in tmp_path.iterdir()] == ["faults.csv"]


def test_neither_a_list_nor_another_file_is_overwritten(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("list,place,id,kind,file,reason\n")
    (tmp_path / "link.csv").symlink_to(manifest)
    for path in (manifest, tmp_path / "link.csv"):
        with pytest.raises(DatasetError, match=r"this is one of the lists to check; give another place with -o"):
            FaultFile(path, [manifest])
    (tmp_path / "other.csv").write_text("id,rainy,clean\n")
    (tmp_path / "picture.csv").write_bytes(b"\xff\xd8\xff\xe0")
    for name in ("other.csv", "picture.csv", "."):
        with pytest.raises(DatasetError, match="is there and no file of faults"):
            FaultFile(tmp_path / name, [manifest])
    with pytest.raises(DatasetError, match="cannot be written"):
        FaultFile(tmp_path / "no" / "faults.csv", [manifest])
    assert (tmp_path / "other.csv").read_text() == "id,rainy,clean\n"
