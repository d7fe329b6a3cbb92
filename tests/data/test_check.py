"""The check before a run, and the audit of whole lists: every fault is found and named by its kind, in one go."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image

import derain.data.check as check_module
from derain.data.audit import Audit
from derain.data.check import (
    FaultKind,
    check_pair,
    check_picture,
    in_threads,
    measure,
    require_pairs,
    require_pictures,
    require_sound,
)
from derain.data.duplicates import in_several_splits
from derain.data.faults import Fault
from derain.data.pairs import Pair, read_photos, write_manifest
from derain.data.table import MOST_TYPES, open_table
from derain.data.type_names import is_one_slip_away, slips
from derain.errors import DatasetError, ImageError
from derain.imaging.io import read_image


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "manifests"


def save(path: Path, size: tuple[int, int] = (64, 48), added: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    shown = np.minimum(skimage.data.astronaut().astype(int) + added, 255).astype(np.uint8)
    Image.fromarray(shown).resize(size).save(path)
    return path


def make_pair(folder: Path, name: str, split: str = "train", scene: str = "", type_name: str = "drs") -> Pair:
    rainy, clean = save(folder / "rainy" / f"{name}.png", added=20), save(folder / "clean" / f"{name}.png")
    return Pair(name, rainy, clean, type_name, "own", split, scene or name)


def break_pictures(folder: Path) -> dict[str, FaultKind]:
    """Pairs a to h, all but a and h each with its own fault."""
    (folder / "rainy" / "b.png").unlink()
    (folder / "clean" / "c.png").write_text("no picture")
    save(folder / "rainy" / "d.png", (64, 31), added=20)
    save(folder / "clean" / "d.png", (64, 31))
    save(folder / "clean" / "e.png", (64, 40))
    whole = (folder / "rainy" / "f.png").read_bytes()
    middle = len(whole) // 2
    (folder / "rainy" / "f.png").write_bytes(whole[:middle] + bytes(16) + whole[middle + 16 :])
    kinds = FaultKind.MISSING, FaultKind.UNREADABLE, FaultKind.TOO_SMALL, FaultKind.SIZES_DIFFER, FaultKind.BROKEN
    return dict(zip("bcdef", kinds, strict=True))


@pytest.mark.parametrize("decode", [False, True])
def test_each_fault_of_a_picture_has_its_kind(tmp_path: Path, decode: bool) -> None:
    pairs = [make_pair(tmp_path, name) for name in "abcdef"]
    expected = break_pictures(tmp_path)
    if not decode:
        del expected["f"]
    found = {pair.id: {fault.kind for fault in check_pair(pair, 32, decode).faults} for pair in pairs}
    assert {name: kinds for name, kinds in found.items() if kinds} == {name: {kind} for name, kind in expected.items()}
    assert len(check_pair(pairs[3], 32, decode).faults) == 2, "both of the pair are too small"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_file_that_was_cut_off_is_found_without_decoding_the_others(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = save(tmp_path / f"whole.{suffix}"), save(tmp_path / f"cut.{suffix}")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with pytest.raises(DatasetError, match=rf"cut\.{suffix} (is broken|cannot be opened)"):
        require_pictures([whole, cut], 32)
    monkeypatch.setattr(check_module, "read_picture", refuse_to_decode)
    monkeypatch.setattr(check_module, "SAMPLED", 0)
    require_pictures([whole], 32)


def test_a_photograph_with_a_film_behind_it_is_whole(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.jpg")
    photo.write_bytes(photo.read_bytes() + b"film" * 5000)
    require_pictures([photo], 32)


def refuse_to_decode(path: Path) -> None:
    raise AssertionError(f"{path} is decoded")


def size_as_read(path: Path) -> tuple[int, int]:
    """Width and height."""
    _, _, height, width = read_image(path).shape
    return width, height


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "cmyk.tif"])
def test_size_is_that_of_the_picture_as_it_is_read(
    tmp_path: Path, suffix: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    picture = Image.fromarray(skimage.data.chelsea()[:40, :60])
    file = tmp_path / f"lying.{suffix}"
    picture.convert("CMYK" if suffix == "cmyk.tif" else "RGB").save(file, exif=exif)
    expected = size_as_read(file)
    assert expected == ((60, 40) if orientation < 5 else (40, 60))
    monkeypatch.setattr(check_module, "read_picture", refuse_to_decode)
    assert measure(file) == expected


KINDS = {
    "jpg": "1 L RGB CMYK YCbCr",
    "png": "1 L LA P RGB RGBA I;16",
    "webp": "RGB RGBA",
    "tif": "1 L LA P PA RGB RGBA RGBX CMYK YCbCr LAB I I;16 F",
    "bmp": "1 L P RGB RGBA",
}


@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix in KINDS for mode in KINDS[suffix].split()])
def test_header_is_refused_where_the_reader_refuses_it(tmp_path: Path, suffix: str, mode: str) -> None:
    file = tmp_path / f"picture.{suffix}"
    Image.new(mode, (60, 40)).save(file)
    expected: tuple[int, int] | None
    try:
        expected = size_as_read(file)
    except ImageError:
        expected = None
    size, fault, _ = check_picture(file, 1, False)
    assert size == expected
    assert (fault is None) == (expected is not None)


def test_what_pillow_does_not_open_is_measured_or_refused_by_the_reader(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "deep.tif", np.zeros((20, 30, 3), np.uint16), photometric="rgb")
    assert measure(tmp_path / "deep.tif") == (30, 20)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="it holds 2 frames"):
        measure(tmp_path / "moving.png")
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="it holds 2 pages"):
        measure(tmp_path / "pages.tif")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_large_pictures_are_measured_without_a_warning_and_too_large_ones_refused(tmp_path: Path, suffix: str) -> None:
    for height in (9_000, 15_001):
        Image.new("1", (10_000, height)).save(tmp_path / f"{height}.{suffix}")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert measure(tmp_path / f"9000.{suffix}") == (10_000, 9_000)
        with pytest.raises(ImageError, match="over the limit of 150000000 pixels"):
            measure(tmp_path / f"15001.{suffix}")
    assert [str(warning.message) for warning in warned] == []


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
    assert "of 14 rows looked at 12 missing, 1 sizes differ:" in message
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
    pairs[1].rainy.write_text("no picture")
    require_sound(rows, 32, lambda *done: told.append(done))
    assert told == [(2, 2)], "looked at once"
    pairs[1].rainy.unlink()
    with pytest.raises(DatasetError, match=r"b.png is not there"):
        require_sound(rows, 16)
    with pytest.raises(DatasetError, match=r"b.png is not there"):
        require_sound(open_table(manifest).select("train", ["drs", "snow"]), 32)
    with pytest.raises(DatasetError, match=r"b.png is not there"):  # a failed check is not remembered
        require_sound(rows, 16)
    write_manifest(manifest, pairs[:1])
    require_sound(open_table(manifest).select("train", ["drs"]), 16)


def test_files_that_went_after_a_passed_check_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tmp_path / "manifest.csv"
    pairs = [make_pair(tmp_path, name, type_name=("drs", "snow")[name == "d"]) for name in "abcd"]
    write_manifest(manifest, pairs)
    rows = open_table(manifest).select("train", ["drs", "snow"])
    require_sound(rows, 32)
    (tmp_path / "clean" / "a.png").rename(tmp_path / "kept.png")
    with pytest.raises(DatasetError, match=r"clean/a.png is not there"):
        require_sound(rows, 32)
    (tmp_path / "kept.png").rename(tmp_path / "clean" / "a.png")
    pairs[1].rainy.write_text("no picture")
    with pytest.raises(DatasetError, match=r"b.png cannot be opened"):  # everything is looked at anew
        require_sound(rows, 32)
    save(pairs[1].rainy)
    require_sound(rows, 32)
    monkeypatch.setattr(check_module, "SAMPLED", 2)
    assert [pair.id for pair in rows.evenly(2)] == ["a", "c", "d"], "of each type at least one"
    pairs[1].rainy.unlink()
    require_sound(rows, 32)
    pairs[3].rainy.unlink()
    with pytest.raises(DatasetError, match=r"d.png is not there"):
        require_sound(rows, 32)


def audit(path: Path, decode: bool = False) -> list[Fault]:
    return list(Audit(path, 32, decode).faults())


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
