"""Indexes made from photographs: light, scenes, splits that stay, and that they are read as they were meant."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from derain.data.index import (
    Found,
    check_list_path,
    guess_light,
    join_scenes,
    look_at,
    scene_of,
    sky_luma,
    split_scenes,
    without_repetitions,
    write_index,
)
from derain.data.pairs import Photo, read_photos
from derain.errors import DatasetError, ImageError


def test_light_is_that_of_the_upper_third_at_any_depth() -> None:
    pixels = np.full((90, 60, 3), 250, np.uint8)
    pixels[:30] = (200, 100, 50)
    expected = (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255
    assert sky_luma(pixels) == pytest.approx(expected)
    assert sky_luma(pixels.astype(np.uint16) * 257) == pytest.approx(expected)
    assert sky_luma(pixels[:1, :1]) == pytest.approx(expected)


def test_a_photograph_by_day_is_day_and_the_same_darkened_is_night() -> None:
    astronaut = skimage.data.astronaut()
    assert guess_light(astronaut) == "day"
    assert guess_light(astronaut // 6) == "night"
    half = round(255 * 0.25 / sky_luma(astronaut)) / 255
    assert guess_light((astronaut * half).astype(np.uint8)) == "dusk"
    assert guess_light(np.ascontiguousarray(skimage.data.rocket())) == "night", "a launch before dawn"


def test_a_scene_stays_in_its_split_when_others_are_added() -> None:
    names = [f"photos/{number}" for number in range(2000)]
    few, many = split_scenes(names[:500], 0.1, 0.05, 3), split_scenes(reversed(names), 0.1, 0.05, 3)
    assert all(many[name] == split for name, split in few.items())
    counts = {split: list(many.values()).count(split) for split in ("train", "val", "probe")}
    assert counts["val"] == pytest.approx(200, abs=40)
    assert counts["probe"] == pytest.approx(100, abs=30)
    assert split_scenes(names, 0.1, 0.05, 4) != many
    assert set(split_scenes(names, 0, 0, 3).values()) == {"train"}


def test_few_scenes_are_shared_out_and_one_is_learnt_from() -> None:
    for seed in range(20):
        assert {"train", "val", "probe"} == set(split_scenes("abcdefgh", 0.1, 0.05, seed).values())
        assert "train" in split_scenes("abc", 0.9, 0.09, seed).values()
        assert list(split_scenes("a", 0.001, 0.001, seed).values()) == ["train"]
    with pytest.raises(DatasetError, match=r"leave some of 1 to train on, got 0\.6 and 0\.4"):
        split_scenes("abc", 0.6, 0.4, 0)


def test_scenes_are_files_or_folders_below_their_source() -> None:
    photo = Found(Path("/x/trip/day1/cat.v2.jpg"), Path("day1/cat.v2.jpg"), "trip")
    assert (scene_of(photo, "file"), scene_of(photo, "folder")) == ("trip/day1/cat.v2", "trip/day1")
    assert scene_of(Found(Path("/x/trip/cat.jpg"), Path("cat.jpg"), "trip"), "folder") == "trip"


def test_copies_and_all_that_share_their_scenes_are_one_scene() -> None:
    names = ["b/1", "b/2", "a/1", "a/1", "c", "d"]
    hashes = [0xFF, 0xFFFF00, 0xFF ^ 0b101, 2**40 - 1, 2**40 - 2, 2**63]
    assert join_scenes(names, hashes) == ["a/1", "b/2", "a/1", "a/1", "a/1", "d"]
    assert join_scenes([], []) == []


def test_an_index_is_read_as_it_was_written_and_can_be_moved(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "photos").mkdir(parents=True)
    for place in (folder / "photos" / "a,b.png", tmp_path / "far.png"):
        Image.fromarray(skimage.data.coffee()[:40, :40]).save(place)
    photos = [
        Photo(folder / "photos" / "a,b.png", "day", "train", "photos", "photos/a,b"),
        Photo(tmp_path / "far.png", "night", "val", "far", "far/far"),
    ]
    write_index(folder / "index.csv", photos)
    assert read_photos(folder / "index.csv") == photos
    folder.rename(tmp_path / "moved")
    moved = read_photos(tmp_path / "moved" / "index.csv")
    assert [photo.path for photo in moved] == [tmp_path / "moved" / "photos" / "a,b.png", tmp_path / "far.png"]


def test_places_and_photographs_that_cannot_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("somebody's list")
    for name, said in (("there.csv", "--force"), ("list.txt", r"ends in \.csv"), ("no.csv/..", "ends in")):
        with pytest.raises(DatasetError, match=said):
            check_list_path(tmp_path / name, False, "an index")
    check_list_path(tmp_path / "there.csv", True, "an index")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\nand nothing")
    with pytest.raises(ImageError, match=r"cut\.png"):
        look_at(Found(tmp_path / "cut.png", Path("cut.png"), "s"), "day")


def test_a_damaged_photograph_is_no_reference(tmp_path: Path) -> None:
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "hole.jpg")
    whole = (tmp_path / "hole.jpg").read_bytes()
    (tmp_path / "hole.jpg").write_bytes(whole[:20_000] + bytes(400) + whole[20_400:])
    with pytest.raises(ImageError, match=r"hole\.jpg: this JPEG file is truncated or damaged"):
        look_at(Found(tmp_path / "hole.jpg", Path("hole.jpg"), "s"), None)


def test_a_photograph_by_two_paths_is_listed_once_by_the_first(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"x")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    found = [Found(tmp_path / name, Path(name), "s") for name in ("b.png", "a.png", "link.png")]
    assert without_repetitions(found) == found[:2]
