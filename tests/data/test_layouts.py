"""Folders of pairs: partners by rules about names, and every picture without one is named."""

from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from derain.data.layouts import read_paired_folder, role_of
from derain.errors import DatasetError


def add(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(skimage.data.chelsea()[:8, :8]).save(path)


def partners(root):
    return {
        pair.rainy.relative_to(root).as_posix(): pair.clean.relative_to(root).as_posix()
        for pair in read_paired_folder(root).pairs
    }


@pytest.mark.parametrize(
    ("rainy", "clean"),
    [("rainy", "clean"), ("input", "target"), ("rain", "norain"), ("rainy", "gt"), ("lq", "gt"), ("data", "gt")],
)
def test_partners_are_matched_by_name_not_by_order(tmp_path, rainy, clean):
    add(tmp_path, f"{rainy}/b.png", f"{rainy}/a.jpg", f"{rainy}/c/a.png")
    add(tmp_path, f"{clean}/a.png", f"{clean}/b.png", f"{clean}/c/a.png")
    assert partners(tmp_path) == {
        f"{rainy}/a.jpg": f"{clean}/a.png",
        f"{rainy}/b.png": f"{clean}/b.png",
        f"{rainy}/c/a.png": f"{clean}/c/a.png",
    }
    assert [pair.id for pair in read_paired_folder(tmp_path).pairs] == ["a", "b", "c/a"]


SETS = {
    "rain100": {"rainy/rain-001.png": "norain-001.png", "rainy/rain-002.png": "norain-002.png"},
    "rain200": {"test/rain/rain-1.png": "test/norain/norain-1.png"},
    "raindrop": {"data/0_rain.png": "gt/0_clean.png", "data/10_rain.png": "gt/10_clean.png"},
    "rain1400": {
        "rainy_image/901_1.jpg": "ground_truth/901.jpg",
        "rainy_image/901_2.jpg": "ground_truth/901.jpg",
        "rainy_image/902_1.jpg": "ground_truth/902.jpg",
    },
    "gt_rain": {
        "scene_1/scene_1-R-000.png": "scene_1/scene_1-C-000.png",
        "scene_1/scene_1-R-001.png": "scene_1/scene_1-C-000.png",
        "scene_2/scene_2-R-000.png": "scene_2/scene_2-C-000.png",
    },
    "raindrop_clarity": {
        "drop/7/1.png": "clear/7/1.png",
        "blur/7/1.png": "clear/7/1.png",
        "drop/8/1.png": "clear/8/1.png",
    },
    "splits": {"train/rainy/a.png": "train/clean/a.png", "test/rainy/a.png": "test/clean/a.png"},
    "numbers_that_are_names": {"rainy/a_1.png": "clean/a_1.png", "rainy/a_2.png": "clean/a_2.png"},
}


@pytest.mark.parametrize("name", SETS)
def test_public_sets_are_read_as_their_authors_name_files(tmp_path, name):
    expected = SETS[name]
    add(tmp_path, *expected, *expected.values())
    assert partners(tmp_path) == expected
    pairs = read_paired_folder(tmp_path).pairs
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert len({pair.scene for pair in pairs}) == len(set(expected.values())), "of one clean picture is one scene"


def test_sets_of_several_layouts_lie_side_by_side(tmp_path):
    expected = {f"{name}/{rainy}": f"{name}/{clean}" for name in SETS for rainy, clean in SETS[name].items()}
    add(tmp_path, *expected, *expected.values())
    assert partners(tmp_path) == expected


def test_a_folder_named_like_a_rain_type_gives_the_type(tmp_path):
    add(tmp_path, "rainy/nrd/a.png", "clean/nrd/a.png", "rainy/other/a.png", "clean/other/a.png", "rainy/drs.png")
    add(tmp_path, "clean/drs.png", "test/drs/rainy/a.png", "test/drs/clean/a.png")
    assert {pair.id: pair.type for pair in read_paired_folder(tmp_path).pairs} == {
        "nrd/a": "nrd",
        "other/a": None,
        "drs": None,
        "test/drs/a": "drs",
    }


def test_pictures_without_a_partner_are_an_error_that_names_them(tmp_path):
    add(tmp_path, "rainy/a.png", "rainy/b.png", "clean/a.png", "clean/z.png")
    with pytest.raises(DatasetError, match=r"2 of 4 .*clean/z\.png, rainy/b\.png"):
        read_paired_folder(tmp_path)


def test_a_missing_partner_is_not_made_up_by_another_rule(tmp_path):
    add(tmp_path, "rainy/a_1.png", "rainy/a_2.png", "clean/a_1.png", "clean/a.png")
    with pytest.raises(DatasetError, match=r"have no partner by their names, or several"):
        read_paired_folder(tmp_path)


def test_two_clean_pictures_of_one_name_are_named(tmp_path):
    add(tmp_path, "rainy/a.png", "clean/a.png", "target/a.png")
    with pytest.raises(DatasetError, match=r"clean/a\.png, rainy/a\.png, target/a\.png"):
        read_paired_folder(tmp_path)


def test_a_folder_that_lacks_a_role_or_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"of 0 pictures .* none is known to be rainy"):
        read_paired_folder(tmp_path)
    add(tmp_path, "rainy/a.png", "restored/a.png")
    with pytest.raises(DatasetError, match=r"of 2 pictures .* none is known to be clean by a folder named clean or"):
        read_paired_folder(tmp_path)
    add(tmp_path, "clean/a.png")
    found = read_paired_folder(tmp_path)
    assert (len(found.pairs), found.left_out) == (1, [tmp_path / "restored" / "a.png"])
    (tmp_path / "clean" / "b.png").symlink_to("nowhere.png")
    with pytest.raises(DatasetError, match=r"clean/b\.png: a link to nowhere\.png"):
        read_paired_folder(tmp_path)


def test_the_nearest_folder_tells_the_role_before_the_name():
    assert role_of(Path("data/clean/rain-001.png")) == "clean"
    assert role_of(Path("rain-001.png")) == "rainy"
    assert role_of(Path("norain-001.png")) == "clean"
    assert role_of(Path("train.png")) is None
    assert role_of(Path("terrain/a.png")) is None
