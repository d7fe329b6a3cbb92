"""Which photographs an index takes, and the types that folders and tables give them."""

import pytest

from derain.distill.knowledge.photographs import find_photographs, manual_types, read_types
from derain.errors import DistillError


def test_walking_is_sorted_ends_at_loops_and_takes_each_file_once(tmp_path):
    root = tmp_path / "set"
    for name in ("b.png", "a/z.JPG", "a/c.png", ".trash/x.png", "a/.x.png", "readme.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "a" / "up").symlink_to(root)
    found, _ = find_photographs([root, root / "b.png"])
    assert [one.path for one in found] == [root / name for name in ("a/c.png", "a/z.JPG", "b.png")]
    assert {one.source for one in found} == {"set"}
    assert [one.source for one in find_photographs([root / "a" / "c.png"])[0]] == ["a"]
    with pytest.raises(DistillError, match="nothing is there"):
        find_photographs([root / "none"])


def test_types_come_from_folder_names_or_a_table(tmp_path):
    for name in ("nrs/deep/1.png", "drd/NRD/2.png", "other/3.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    types = manual_types([tmp_path], by_folder=True).types
    assert types == {tmp_path / "nrs/deep/1.png": "nrs", tmp_path / "drd/NRD/2.png": "nrd"}
    table = tmp_path / "index.csv"
    table.write_text("path,type,light\na.png,drs,day\nb/../c.png,nrd,\n")
    assert read_types(table) == {tmp_path / "a.png": "drs", tmp_path / "c.png": "nrd"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\na.png\n", "columns path, type.*type missing"),
        ("path,type\na.png,hail\n", "line 2: wanted a path and a type"),
        ("path,type,light\na.png,drs,night\n", "line 2: type drs contradicts light 'night'"),
        ("path,type\na.png,drs\na.png,nrs\n", "line 3: a.png stands above as drs"),
    ],
)
def test_a_table_of_types_with_a_fault_is_refused(tmp_path, text, message):
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(DistillError, match=message):
        read_types(tmp_path / "index.csv")
