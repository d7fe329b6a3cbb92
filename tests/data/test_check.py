"""The check before a run, and the audit of whole lists: every fault is found and named by its kind, in one go."""

import csv
from collections import Counter
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from derain.data.audit import Audit, Fault, FaultFile
from derain.data.check import (
    FaultKind,
    in_threads,
    measure,
    pair_faults,
    require_pairs,
    require_pictures,
    require_sound,
)
from derain.data.pairs import Pair, write_manifest
from derain.data.table import open_table
from derain.errors import DatasetError, ImageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "manifests"


def save(path: Path, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(skimage.data.astronaut()).resize(size).save(path)
    return path


def make_pair(folder: Path, name: str, split: str = "train", scene: str = "", type_name: str = "drs") -> Pair:
    rainy, clean = save(folder / "rainy" / f"{name}.png"), save(folder / "clean" / f"{name}.png")
    return Pair(name, rainy, clean, type_name, "own", split, scene or name)


def break_pictures(folder: Path) -> dict[str, FaultKind]:
    """Pairs a to h, all but a and h each with its own fault."""
    (folder / "rainy" / "b.png").unlink()
    (folder / "clean" / "c.png").write_text("no picture")
    save(folder / "rainy" / "d.png", (64, 31))
    save(folder / "clean" / "d.png", (64, 31))
    save(folder / "clean" / "e.png", (64, 40))
    whole = (folder / "rainy" / "f.png").read_bytes()
    (folder / "rainy" / "f.png").write_bytes(whole[: len(whole) // 2])
    kinds = FaultKind.MISSING, FaultKind.UNREADABLE, FaultKind.TOO_SMALL, FaultKind.SIZES_DIFFER, FaultKind.BROKEN
    return dict(zip("bcdef", kinds, strict=True))


@pytest.mark.parametrize("decode", [False, True])
def test_each_fault_of_a_picture_has_its_kind(tmp_path: Path, decode: bool) -> None:
    pairs = [make_pair(tmp_path, name) for name in "abcdef"]
    expected = break_pictures(tmp_path)
    if not decode:
        del expected["f"]
    found = {pair.id: {fault.kind for fault in pair_faults(pair, 32, decode)} for pair in pairs}
    assert {name: kinds for name, kinds in found.items() if kinds} == {name: {kind} for name, kind in expected.items()}
    assert len(pair_faults(pairs[3], 32, decode)) == 2, "both of the pair are too small"


def test_size_is_that_of_the_picture_as_it_is_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(skimage.data.chelsea()[:40, :60]).save(tmp_path / "lying.jpg", exif=exif)
    assert measure(tmp_path / "lying.jpg") == (40, 60)
    import numpy as np
    import tifffile

    tifffile.imwrite(tmp_path / "deep.tif", np.zeros((20, 30, 3), np.uint16), photometric="rgb")
    assert measure(tmp_path / "deep.tif") == (30, 20)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="it holds 2 frames"):
        measure(tmp_path / "moving.png")


def test_work_in_threads_keeps_its_order_and_tells_how_far_it_is() -> None:
    told: list[tuple[int, int]] = []
    answers = list(in_threads(lambda n: n * n, range(300), 300, lambda *done: told.append(done), threads=3))
    assert answers == [n * n for n in range(300)]
    assert told == [(192, 300), (300, 300)]


def test_start_names_ten_faults_and_counts_the_others(tmp_path: Path) -> None:
    pairs = [make_pair(tmp_path, f"{number:02d}") for number in range(14)]
    require_pairs(pairs, 32)
    for pair in pairs[1:13]:
        pair.rainy.unlink()
    save(pairs[13].clean or tmp_path, (60, 48))
    with pytest.raises(DatasetError) as caught:
        require_pairs(pairs, 32, manifest=tmp_path / "manifest.csv")
    message = str(caught.value)
    assert "of 14 rows 12 missing, 1 sizes differ:" in message
    assert message.count("is not there") == 10
    assert "01.png is not there" in message
    assert "and 3 more" in message
    assert f"`derain data check {tmp_path / 'manifest.csv'} --crop 32` lists all" in message


def test_one_fault_is_told_in_one_line(tmp_path: Path) -> None:
    save(tmp_path / "low.png", (100, 40))
    with pytest.raises(DatasetError, match=r"at least 48 pixels .*low.png is 100x40; mend"):
        require_pictures([tmp_path / "low.png"], 48)


def test_passed_check_is_remembered_until_the_manifest_or_the_crop_changes(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    pairs = [make_pair(tmp_path, name) for name in "ab"]
    write_manifest(manifest, pairs)
    rows = open_table(manifest).select("train", ["drs"])
    told: list[tuple[int, int]] = []
    require_sound(rows, 32, lambda *done: told.append(done))
    pairs[1].rainy.unlink()
    require_sound(rows, 32, lambda *done: told.append(done))
    assert told == [(2, 2)], "looked at once"
    with pytest.raises(DatasetError, match=r"b.png is not there"):
        require_sound(rows, 16)
    with pytest.raises(DatasetError, match=r"b.png is not there"):
        require_sound(open_table(manifest).select("train", ["drs", "snow"]), 32)
    with pytest.raises(DatasetError, match=r"b.png is not there"):  # a failed check is not remembered
        require_sound(rows, 16)
    write_manifest(manifest, pairs[:1])
    require_sound(open_table(manifest).select("train", ["drs"]), 16)


def audit(path: Path, decode: bool = False) -> list[Fault]:
    return list(Audit(path, 32, decode).faults())


def test_audit_finds_everything_in_a_manifest(tmp_path: Path) -> None:
    pairs = [make_pair(tmp_path, name) for name in "abcdef"]
    pairs += [make_pair(tmp_path, "g", "val", "a"), make_pair(tmp_path, "h", "test")]
    break_pictures(tmp_path)
    write_manifest(tmp_path / "manifest.csv", pairs)
    with (tmp_path / "manifest.csv").open("a") as file:
        file.write("a,rainy/a.png,clean/a.png,drs,own,train,x\n")  # line 10: double id
        file.write("i,rainy/a.png,,drs,own,train,x\n")  # no partner
        file.write("j,rainy/a.png,,drs,own,test,y\n")  # no partner, which test pictures need not have
        file.write("k,rainy/a.png,clean/a.png,drs,own,holdout,x\n")
        file.write("l,rainy/a.png\n")
        file.write(",,clean/a.png,drs,own,train,x\n")
    found = Counter((fault.place, fault.id, fault.kind) for fault in audit(tmp_path / "manifest.csv", decode=True))
    assert found == Counter(
        {
            ("line 3", "b", FaultKind.MISSING): 1,
            ("line 4", "c", FaultKind.UNREADABLE): 1,
            ("line 5", "d", FaultKind.TOO_SMALL): 2,
            ("line 6", "e", FaultKind.SIZES_DIFFER): 1,
            ("line 7", "f", FaultKind.BROKEN): 1,
            ("line 8", "a", FaultKind.SPLIT_SCENE): 1,
            ("line 10", "a", FaultKind.DOUBLE_ID): 1,
            ("line 11", "i", FaultKind.NO_CLEAN): 1,
            ("line 13", "k", FaultKind.BAD_ROW): 1,
            ("line 14", "", FaultKind.BAD_ROW): 1,
            ("line 15", "", FaultKind.BAD_ROW): 1,
        }
    )
    assert FaultKind.BROKEN not in {fault.kind for fault in audit(tmp_path / "manifest.csv")}


def test_audit_finds_everything_in_an_index(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").unlink()
    (tmp_path / "index.csv").write_text(
        "path,role,light,split,source,scene\n"
        "a.png,clean,day,train,s,1\nb.png,clean,day,train,s,2\nc.png,clean,noon,train,s,3\na.png,clean,day,val,s,1\n"
        "gone.png,rainy,day,train,s,9\ngone.png,rainy,day,train,s,9\n"
    )
    assert [(fault.place, fault.id, fault.kind) for fault in audit(tmp_path / "index.csv")] == [
        ("line 3", "b.png", FaultKind.MISSING),
        ("line 4", "c.png", FaultKind.BAD_ROW),
        ("line 5", "a.png", FaultKind.DOUBLE_ID),
        ("line 5", "1", FaultKind.SPLIT_SCENE),
    ]


def test_sound_lists_have_no_faults_and_rows_are_counted(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.csv", [make_pair(tmp_path, name, scene="") for name in "abc"])
    told: list[int] = []
    whole = Audit(tmp_path / "manifest.csv", 48, decode=True)
    assert list(whole.faults(told.append)) == []
    assert (whole.rows, told[-1]) == (3, 3)
    (tmp_path / "other.csv").write_text("name,file\n1,2\n")
    with pytest.raises(DatasetError, match="no column id, rainy, clean"):
        audit(tmp_path / "other.csv")


def test_faults_go_into_a_file_row_by_row(tmp_path: Path) -> None:
    faults = [Fault(tmp_path / "m.csv", f"line {n}", "a, b", FaultKind.MISSING, "a.png", 'the "a"') for n in (2, 3)]
    file = FaultFile(tmp_path / "faults.csv")
    for fault in faults:
        file.write([fault])
    file.close()
    with (tmp_path / "faults.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["place"] for row in rows] == ["line 2", "line 3"]
    assert {row["kind"] for row in rows} == {"missing"}
    assert {row["reason"] for row in rows} == {'the "a"'}
    with pytest.raises(DatasetError, match="cannot be written"):
        FaultFile(tmp_path / "no" / "faults.csv")
