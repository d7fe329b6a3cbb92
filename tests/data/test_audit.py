"""The audit of whole lists: every fault is found and named by its kind, in one go."""

import errno
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from data_samples import DAMAGES, break_pictures, damaged, make_pair, save

from derain.data.audit import Audit
from derain.data.check import (
    FaultKind,
)
from derain.data.duplicates import in_several_splits
from derain.data.faults import Fault
from derain.data.pairs import read_photos, write_manifest
from derain.data.repetition import content_key
from derain.data.table import MOST_TYPES
from derain.data.type_names import is_one_slip_away, slips
from derain.errors import DatasetError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "manifests"


def audit(path: Path, decode: bool = False) -> list[Fault]:
    return list(Audit(path, 32, decode).faults())


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_picture_is_named_by_an_audit_that_decodes(tmp_path: Path, kind: str) -> None:
    broken = damaged(tmp_path, kind)
    (tmp_path / "index.csv").write_text(f"path,light,split,source,scene\n{broken.name},day,train,s,1\n")
    assert [fault.kind for fault in audit(tmp_path / "index.csv", decode=True)] == [FaultKind.BROKEN]
    assert not audit(tmp_path / "index.csv"), "header and end are as they should be"


def test_a_bad_place_on_the_disk_is_a_fault_and_no_end_of_the_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path / "manifest.csv", [make_pair(tmp_path, name) for name in "ab"])

    def read_badly(path: Path) -> int:
        if path.name == "a.png":
            raise OSError(errno.EIO, "Input/output error")
        return content_key(path)

    monkeypatch.setattr("derain.data.audit.content_key", read_badly)
    found = audit(tmp_path / "manifest.csv")
    assert [(fault.id, fault.kind) for fault in found] == [("a", FaultKind.BROKEN)] * 2
    assert "Input/output error" in found[0].reason


def test_audit_finds_everything_in_a_manifest(tmp_path: Path) -> None:
    pairs = [make_pair(tmp_path, name) for name in "abcdef"]
    pairs += [make_pair(tmp_path, "g", "val", "a"), make_pair(tmp_path, "h", "test")]
    break_pictures(tmp_path)
    write_manifest(tmp_path / "manifest.csv", pairs)
    with (tmp_path / "manifest.csv").open("a") as file:
        file.write("a,rainy/a.png,clean/a.png,drs,own,train,x\n")  # line 10: duplicate id
        file.write("i,rainy/a.png,,drs,own,train,x\n")  # no partner
        file.write("j,rainy/a.png,,,own,test,y\n")  # no partner and type, which test pictures need not have
        file.write("k,rainy/a.png,clean/a.png,drs,own,holdout,x\n")
        file.write("l,rainy/a.png\n")
        file.write(",,clean/a.png,drs,own,train,x\n")
        file.write("m,rainy/a.png,clean/a.png,,own,val,z\n")  # no type
    found = Counter((fault.place, fault.id, fault.kind) for fault in audit(tmp_path / "manifest.csv", decode=True))
    assert found == Counter(
        {
            ("line 3", "b", FaultKind.MISSING): 1,
            ("line 4", "c", FaultKind.UNREADABLE): 1,
            ("line 5", "d", FaultKind.TOO_SMALL): 2,
            ("line 6", "e", FaultKind.SIZES_DIFFER): 1,
            ("line 7", "f", FaultKind.BROKEN): 1,
            ("line 8", "a", FaultKind.SPLIT_SCENE): 1,
            ("line 10", "a", FaultKind.DUPLICATE_ID): 1,
            ("line 11", "i", FaultKind.NO_CLEAN): 1,
            ("line 13", "k", FaultKind.BAD_ROW): 1,
            ("line 14", "", FaultKind.BAD_ROW): 1,
            ("line 15", "", FaultKind.BAD_ROW): 1,
            ("line 16", "m", FaultKind.NO_TYPE): 1,
        }
    )


def test_audit_finds_everything_in_an_index(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").unlink()
    (tmp_path / "index.csv").write_text(
        "path,role,light,split,source,scene\n"
        "a.png,clean,day,train,s,1\nb.png,clean,day,train,s,2\nc.png,clean,noon,train,s,3\na.png,clean,day,val,s,1\n"
        "gone.png,rainy,day,train,s,9\ngone.png,rainy,day,train,s,9\n"
        "other/../link.png,clean,day,train,s,4\n"
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "c.png")
    assert [(fault.place, fault.id, fault.kind) for fault in audit(tmp_path / "index.csv")] == [
        ("line 3", "b.png", FaultKind.MISSING),
        ("line 4", "c.png", FaultKind.BAD_ROW),
        ("line 5", "a.png", FaultKind.DUPLICATE_PHOTO),
        ("line 8", "other/../link.png", FaultKind.DUPLICATE_PHOTO),
        ("line 5", "1", FaultKind.SPLIT_SCENE),
    ]


def test_index_in_parquet_is_looked_at_and_read_alike(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "index.csv").write_text("path,light,split,source,scene\na.png,day,train,s,1\n./a.png,night,val,s,2\n")
    pq.write_table(pyarrow.csv.read_csv(tmp_path / "index.csv"), tmp_path / "index.parquet")
    for name, place in (("index.csv", "line"), ("index.parquet", "row")):
        last = 2 if place == "row" else 3
        faults = [(fault.place, fault.kind) for fault in audit(tmp_path / name)]
        assert faults == [(f"{place} {last}", FaultKind.DUPLICATE_PHOTO)]
        with pytest.raises(DatasetError, match=rf"{place} {last}: .*a.png is listed on {place} {last - 1} already"):
            read_photos(tmp_path / name)


@pytest.mark.parametrize(
    ("header", "rest"),
    [("id,rainy,clean,type,source,split,scene\n", ""), ("path,role,light,split,source,scene\n", "a,b,day,train,s,1\n")],
)
def test_list_without_rows_is_a_fault(tmp_path: Path, header: str, rest: str) -> None:
    (tmp_path / "list.csv").write_text(header + rest)
    assert [(fault.place, fault.kind) for fault in audit(tmp_path / "list.csv")] == [("whole list", FaultKind.NO_ROWS)]


def test_types_are_counted_and_too_many_are_a_fault(tmp_path: Path) -> None:
    save(tmp_path / "a.png", added=9)
    save(tmp_path / "c.png")
    names = ["snow", "snow", "snwo", "", *(str(number) for number in range(MOST_TYPES))]
    rows = [f"{number},a.png,c.png,{name},s,test,{number}\n" for number, name in enumerate(names)]
    (tmp_path / "manifest.csv").write_text("id,rainy,clean,type,source,split,scene\n" + "".join(rows))
    whole = Audit(tmp_path / "manifest.csv", 16, decode=False)
    (fault,) = whole.faults()
    assert (fault.place, fault.kind) == (f"line {MOST_TYPES + 3}", FaultKind.BAD_ROW)
    assert "more than 1000 different names in the column 'type', such as '997'" in fault.reason
    assert whole.types.most_common(2) == [("snow", 2), ("snwo", 1)]
    assert len(whole.types) == MOST_TYPES


def test_scenes_in_several_splits_are_those_of_the_slow_way() -> None:
    draw = np.random.default_rng(0)
    scenes, splits = draw.integers(0, 900, 2000).astype(np.uint64), draw.integers(-1, 4, 2000).astype(np.int8)
    of_scene: dict[int, set[int]] = {}
    for scene, split in zip(scenes.tolist(), splits.tolist(), strict=True):
        if split >= 0 and scene != 7:
            of_scene.setdefault(scene, set()).add(split)
    expected = sorted(scene for scene, found in of_scene.items() if len(found) > 1)
    assert in_several_splits(scenes, splits, np.uint64(7)).tolist() == expected


def test_sound_lists_have_no_faults_and_rows_are_counted(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.csv", [make_pair(tmp_path, name, scene="") for name in "abc"])
    told: list[int] = []
    whole = Audit(tmp_path / "manifest.csv", 48, decode=True)
    assert list(whole.faults(told.append)) == []
    assert (whole.rows, told[-1]) == (3, 3)
    (tmp_path / "other.csv").write_text("name,file\n1,2\n")
    with pytest.raises(DatasetError, match="no column id, rainy, clean"):
        audit(tmp_path / "other.csv")


def test_a_rare_type_a_slip_away_from_a_frequent_one_is_a_warning(tmp_path: Path) -> None:
    save(tmp_path / "a.png", added=9)
    save(tmp_path / "c.png")
    names = [*["snow"] * 300, "snwo", *["drs"] * 300, "nrs", *["hail"] * 5]
    rows = [f"{number},a.png,c.png,{name},s,test,{number}\n" for number, name in enumerate(names)]
    (tmp_path / "manifest.csv").write_text("id,rainy,clean,type,source,split,scene\n" + "".join(rows))
    (fault,) = audit(tmp_path / "manifest.csv")
    assert (fault.place, fault.id, fault.kind) == ("line 302", "300", FaultKind.RARE_TYPE)
    assert fault.kind.is_warning
    assert fault.reason == "type 'snwo' stands in 1 of 607 rows; did you mean 'snow'?"


def test_slips_are_one_letter_away_of_many_rows() -> None:
    assert slips({"snow": 1000, "snowy": 5, "sonw": 5, "sno": 5, "slow": 5, "smog": 5, "": 5}) == dict.fromkeys(
        ["snowy", "sonw", "sno", "slow"], "snow"
    )
    assert slips({"snow": 1000, "slow": 60}) == {}, "not so rare"
    assert slips({"drs": 1000, "nrs": 1, "drx": 1}) == {"drx": "drs"}, "nrs is a type of rain"


@pytest.mark.parametrize(
    ("name", "other", "expected"),
    [
        ("a", "b", True),
        ("", "a", True),
        ("snow", "snow", False),
        ("ab", "ba", True),
        ("abc", "cba", False),
        ("abcd", "bacd", True),
        ("abcd", "badc", False),
        ("snow", "sn", False),
        ("snow", "nows", False),
    ],
)
def test_one_slip_is_one_letter_or_two_exchanged(name: str, other: str, expected: bool) -> None:
    assert is_one_slip_away(name, other) is is_one_slip_away(other, name) is expected


def test_an_index_with_a_slip_in_its_header_is_known_as_one(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("path,ligth,split,source,scene\na.png,day,train,s,1\n")
    with pytest.raises(DatasetError, match=r"no column light; .*; is 'ligth' meant as 'light'\?"):
        audit(tmp_path / "index.csv")
