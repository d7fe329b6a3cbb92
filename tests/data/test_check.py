"""The check of pictures before a run: every fault is found and named by its kind."""

import os
import warnings
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import skimage.data
from data_samples import DAMAGES, break_pictures, damaged, make_pair, save
from PIL import Image

import derain.data.check as check_module
from derain.data.check import (
    Depth,
    FaultKind,
    check_pair,
    check_picture,
    in_threads,
    measure,
    require_pairs,
    require_pictures,
    require_sound,
)
from derain.data.pairs import Pair, write_manifest
from derain.data.table import open_table
from derain.errors import DatasetError, ImageError
from derain.imaging.io import read_image


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "manifests"


@pytest.mark.parametrize("depth", get_args(Depth))
def test_each_fault_of_a_picture_has_its_kind(tmp_path: Path, depth: Depth) -> None:
    pairs = [make_pair(tmp_path, name) for name in "abcdef"]
    expected = break_pictures(tmp_path)
    if depth == "header":
        del expected["f"]
    found = {pair.id: {fault.kind for fault in check_pair(pair, 32, depth).faults} for pair in pairs}
    assert {name: kinds for name, kinds in found.items() if kinds} == {name: {kind} for name, kind in expected.items()}
    assert len(check_pair(pairs[3], 32, depth).faults) == 2, "both of the pair are too small"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_file_that_was_cut_off_is_found_without_decoding_the_others(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = save(tmp_path / f"whole.{suffix}"), save(tmp_path / f"cut.{suffix}")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with pytest.raises(DatasetError, match=rf"cut\.{suffix} (is broken|cannot be opened)"):
        require_pictures([whole, cut], 32)
    for reader in ("read_picture", "find_damage"):
        monkeypatch.setattr(check_module, reader, refuse_to_decode)
    monkeypatch.setattr(check_module, "SAMPLED", 0)
    require_pictures([whole], 32)


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_picture_is_named_at_the_start_of_a_run(tmp_path: Path, kind: str) -> None:
    broken = damaged(tmp_path, kind)
    with pytest.raises(DatasetError, match=rf"{broken.name} is broken \(.*truncated or damaged"):
        require_pictures([save(tmp_path / "whole.png"), broken], 32)
    pair = Pair("a", broken, save(tmp_path / "clean.png", (256, 200)), "drs", "own", "train", "a")
    with pytest.raises(DatasetError, match=rf"{broken.name} is broken"):
        require_pairs([pair], 32)


@pytest.mark.parametrize("change", ["no_end_marker", "trailing_zeros"])
def test_a_picture_whose_pixels_are_all_there_is_sound(tmp_path: Path, change: str) -> None:
    photo = save(tmp_path / "photo.jpg")
    content = photo.read_bytes()
    photo.write_bytes(content[:-2] if change == "no_end_marker" else content + bytes(1000))
    for depth in get_args(Depth):
        assert check_picture(photo, 32, depth).fault is None


def test_of_very_many_pictures_some_are_searched_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, whole = damaged(tmp_path, "hole"), save(tmp_path / "whole.png")
    monkeypatch.setattr(check_module, "SAMPLED", 2)
    require_pictures([whole, broken, whole, broken], 32)
    with pytest.raises(DatasetError, match="is broken"):
        require_pictures([broken, whole, whole, whole], 32)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_unreadable_at_once(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "a.jpg"
    (os.mkfifo if kind == "pipe" else os.mkdir)(place)
    fault = check_picture(place, 32, "header").fault
    assert fault is not None
    assert (fault.kind, f"this is a {kind}" in fault.reason) == (FaultKind.UNREADABLE, True)


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
    size, fault, _ = check_picture(file, 1, "header")
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


def test_work_in_threads_keeps_its_order_and_reports_its_progress() -> None:
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


def test_one_fault_is_reported_in_one_line(tmp_path: Path) -> None:
    save(tmp_path / "low.png", (100, 40))
    with pytest.raises(DatasetError, match=r"at least 48 pixels .*low.png is 100x40; repair"):
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
