import pytest
import skimage.data

from derain.errors import DatasetError
from derain.evaluate.folders import read_paired_folder
from derain.imaging.io import to_tensor, write_image


def add(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, to_tensor(skimage.data.chelsea()[:8, :8].copy()))


def test_partners_are_matched_by_name_not_by_order(tmp_path):
    add(tmp_path, "rainy/b.png", "rainy/a.jpg", "rainy/c/a.png", "target/a.png", "target/b.png", "target/c/a.png")
    pairs = read_paired_folder(tmp_path)
    assert [pair.id for pair in pairs] == ["a", "b", "c/a"]
    for pair in pairs:
        assert pair.clean.relative_to(tmp_path / "target").with_suffix("").as_posix() == pair.id
        assert pair.rainy.relative_to(tmp_path / "rainy").with_suffix("").as_posix() == pair.id


def test_a_subfolder_named_like_a_rain_type_gives_the_type(tmp_path):
    add(tmp_path, "rainy/nrd/a.png", "clean/nrd/a.png", "rainy/other/a.png", "clean/other/a.png", "rainy/drs.png")
    add(tmp_path, "clean/drs.png")
    assert {pair.id: pair.type for pair in read_paired_folder(tmp_path)} == {
        "nrd/a": "nrd",
        "other/a": None,
        "drs": None,
    }


def test_orphans_are_named(tmp_path):
    add(tmp_path, "rainy/a.png", "rainy/b.png", "clean/a.png", "clean/z.png")
    with pytest.raises(DatasetError, match=r"2 of 4 .*rainy/b\.png.*clean/z\.png"):
        read_paired_folder(tmp_path)


def test_two_pictures_of_one_name_are_refused(tmp_path):
    add(tmp_path, "rainy/a.png", "rainy/a.jpg", "clean/a.png")
    with pytest.raises(DatasetError, match="suffix"):
        read_paired_folder(tmp_path)


def test_missing_doubled_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="found none"):
        read_paired_folder(tmp_path)
    for name in ("rainy", "clean"):
        (tmp_path / name).mkdir()
    with pytest.raises(DatasetError, match="no picture"):
        read_paired_folder(tmp_path)
    (tmp_path / "target").mkdir()
    with pytest.raises(DatasetError, match="clean, target"):
        read_paired_folder(tmp_path)
