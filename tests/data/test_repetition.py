"""Faults of pairs whose files are all there: repeated, shared by splits, equal, exchanged, of a misspelt type."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from derain.data.added_light import lacks_rain
from derain.data.audit import Audit
from derain.data.check import FaultKind
from derain.data.faults import Fault
from derain.data.repetition import content_key, repetition_faults

HEADER = "id,rainy,clean,type,source,split,scene\n"


def picture(number: int) -> np.ndarray:
    return skimage.data.coffee()[60 * number : 60 * number + 96, 80 : 80 + 128]


def streaked(clean: np.ndarray) -> np.ndarray:
    rainy = clean.astype(int)
    rainy[:, ::9] += 90
    return np.minimum(rainy, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        Image.fromarray(picture(number)).save(tmp_path / f"c{number}.png")
        Image.fromarray(streaked(picture(number))).save(tmp_path / f"r{number}.png")
    return tmp_path


def faults(folder: Path, rows: str, decode: bool = False) -> list[Fault]:
    (folder / "pairs.csv").write_text(HEADER + rows)
    audit = Audit(folder / "pairs.csv", 64, decode)
    return [*audit.faults(), *repetition_faults([(audit.path, audit.contents)])]


def test_the_same_pair_twice_is_a_warning_under_whatever_names(folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "r0.png").read_bytes())
    (found,) = faults(folder, "a,r0.png,c0.png,drs,own,train,s\nb,copy.png,c0.png,drs,own,train,t\n")
    assert (found.kind, found.place, found.reason) == (
        FaultKind.DUPLICATE_PAIR,
        "line 3",
        "its pictures are those of line 2; keep one row",
    )
    assert found.kind.is_warning


def test_one_clean_picture_with_several_rainy_ones_is_no_fault(folder: Path) -> None:
    assert not faults(folder, "a,r0.png,c0.png,drs,own,train,s\nb,r1.png,c0.png,drs,own,train,s\n")


@pytest.mark.parametrize("shared", ["rainy", "clean"])
def test_a_picture_in_train_and_val_is_found_by_its_content(folder: Path, shared: str) -> None:
    name = "r0.png" if shared == "rainy" else "c0.png"
    (folder / "copy.png").write_bytes((folder / name).read_bytes())
    second = "copy.png,c1.png" if shared == "rainy" else "r1.png,copy.png"
    (found,) = faults(folder, f"a,r0.png,c0.png,drs,own,train,s\nb,{second},drs,own,val,t\n")
    assert (found.kind, found.place, Path(found.file).name) == (FaultKind.SPLIT_PICTURE, "line 3", "copy.png")
    assert "train (line 2), val (line 3)" in found.reason
    assert not found.kind.is_warning


def test_a_pair_in_two_splits_is_one_fault(folder: Path) -> None:
    found = faults(folder, "a,r0.png,c0.png,drs,own,train,s\nb,r0.png,c0.png,drs,own,val,t\n")
    assert [fault.kind for fault in found] == [FaultKind.SPLIT_PICTURE]


def test_files_that_differ_in_the_middle_alone_are_no_copies(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    other = noise.copy()
    other[20, 20] ^= 1
    for name, pixels in (("c0", noise), ("c1", other), ("r0", streaked(noise)), ("r1", streaked(noise[::-1]))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.bmp")
    assert content_key(tmp_path / "c0.bmp") == content_key(tmp_path / "c1.bmp"), "the key alone does not tell"
    assert not faults(tmp_path, "a,r0.bmp,c0.bmp,drs,own,train,s\nb,r1.bmp,c1.bmp,drs,own,val,t\n")


def test_near_duplicates_in_several_splits_are_a_warning_when_pictures_are_decoded(folder: Path) -> None:
    Image.open(folder / "c0.png").resize((90, 67)).save(folder / "small.jpg", quality=60)
    Image.fromarray(streaked(np.asarray(Image.open(folder / "small.jpg")))).save(folder / "small_rainy.png")
    rows = "a,r0.png,c0.png,drs,own,train,s\nb,r1.png,c1.png,drs,own,train,u\n"
    rows += "c,small_rainy.png,small.jpg,drs,own,val,t\n"
    (found,) = faults(folder, rows, decode=True)
    assert (found.kind, found.place) == (FaultKind.NEAR_DUPLICATE, "line 4")
    assert "train (line 2), val (line 4)" in found.reason
    assert not faults(folder, rows)


def test_partners_that_are_one_picture_are_a_fault(folder: Path) -> None:
    Image.open(folder / "c1.png").save(folder / "again.png", compress_level=1)
    rows = "a,c0.png,c0.png,drs,own,train,s\nb,c1.png,again.png,snow,own,train,t\n"
    assert [(fault.kind, fault.place) for fault in faults(folder, rows, decode=True)] == [
        (FaultKind.RAINY_IS_CLEAN, "line 2"),
        (FaultKind.RAINY_IS_CLEAN, "line 3"),
    ]


def test_exchanged_columns_are_a_warning(folder: Path) -> None:
    rows = "".join(f"{n},c{n}.png,r{n}.png,drs,own,train,{n}\n" for n in range(4))
    (found,) = faults(folder, rows)
    assert (found.kind, found.place) == (FaultKind.SWAPPED, "whole list")
    assert "4 of 4 rainy pictures looked at, of type 'drs' from 'own', lack what rain adds" in found.reason
    assert not faults(folder, rows.replace("drs", "shadow")), "only what adds light is judged"
    assert not faults(folder, "".join(f"{n},r{n}.png,c{n}.png,drs,own,train,{n}\n" for n in range(4)))
    assert not faults(folder, "".join(rows.splitlines(keepends=True)[:3])), "three say nothing"


def test_most_have_to_lack_what_rain_adds(folder: Path) -> None:
    rows = "".join(f"{n},c{n}.png,r{n}.png,drs,own,train,{n}\n" for n in range(3))
    assert not faults(folder, rows + "3,r3.png,c3.png,drs,own,train,3\n")


def test_veils_and_streaks_add_light_and_darkening_does_not() -> None:
    clean = picture(0)
    veiled = (clean * 0.6 + 80).astype(np.uint8)
    assert not lacks_rain(streaked(clean), clean)
    assert lacks_rain(clean, streaked(clean))
    assert not lacks_rain(veiled, clean)
    assert lacks_rain(clean, veiled)
    assert lacks_rain(clean.astype(np.uint16) * 257, streaked(clean).astype(np.uint16) * 257)


def test_a_known_type_in_other_capitals_is_a_fault(folder: Path) -> None:
    found = faults(folder, "a,r0.png,c0.png,DRS,own,train,s\nb,r1.png,c1.png,drs,own,train,t\n")
    assert [(fault.kind, fault.place) for fault in found] == [(FaultKind.UNKNOWN_TYPE, "line 2")]
    assert "did you mean 'drs'?" in found[0].reason
    assert not found[0].kind.is_warning
