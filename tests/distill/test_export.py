"""Pairs in folders: safe names, both files of a pair, and only into an empty folder."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pixel_models import crop, save

from derain.data.pairs import Pair, read_manifest, write_manifest
from derain.distill.pipeline.export import LONGEST_NAME, export_folders, safe_names
from derain.errors import DatasetError, DistillError


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    pairs = []
    for number, (name, kind, split) in enumerate(
        [("a/../b c", "drs", "train"), ("plain", "nrd", "train"), ("PLAIN", "nrd", "train"), ("kept-9", "drs", "test")]
    ):
        rainy = save(tmp_path / "in" / f"r{number}.png", crop(number))
        clean = save(tmp_path / "in" / f"c{number}.JPG", crop(number + 50))
        pairs.append(Pair(name, rainy, clean, kind, "set", split, f"s{number}"))
    write_manifest(tmp_path / "manifest.csv", pairs)
    return tmp_path / "manifest.csv"


def files(target: Path) -> dict[str, bytes]:
    found = [path for path in target.rglob("*") if path.is_file()]
    return {str(path.relative_to(target)): path.read_bytes() for path in found}


@pytest.mark.parametrize("how", ["copy", "link"])
def test_each_split_has_folders_of_types_and_a_manifest_of_all(tmp_path, manifest, how):
    report = export_folders(manifest, tmp_path / "out", how=how)
    assert (report.pairs, report.files) == (4, 8)
    laid_out = read_manifest(tmp_path / "out" / "manifest.csv")
    assert len(files(tmp_path / "out")) == 9
    for before, after in zip(read_manifest(manifest), laid_out, strict=True):
        assert after.rainy.read_bytes() == before.rainy.read_bytes()
        assert after.clean.read_bytes() == before.clean.read_bytes()
        assert after.rainy.samefile(before.rainy) == (how == "link")
        assert after.rainy.parent == tmp_path / "out" / before.split / before.type / "rainy"
        assert after.clean.parent == tmp_path / "out" / before.split / before.type / "clean"
        assert after.rainy.stem == after.clean.stem
        assert (after.id, after.scene, after.split) == (before.id, before.scene, before.split)
    assert laid_out[0].clean.suffix == ".jpg"


def test_one_split_alone_has_no_folder_of_its_own(tmp_path, manifest):
    export_folders(manifest, tmp_path / "out", split="test")
    assert set(files(tmp_path / "out")) == {"drs/rainy/kept-9.png", "drs/clean/kept-9.jpg", "manifest.csv"}
    with pytest.raises(DatasetError, match="no rows of split 'probe'"):
        export_folders(manifest, tmp_path / "none", split="probe")


@pytest.mark.parametrize("content", ["mine.png", "manifest.csv", ".derain-run/plan.json"])
def test_a_folder_that_is_not_empty_is_refused_and_not_touched(tmp_path, manifest, content):
    (tmp_path / "out" / content).parent.mkdir(parents=True)
    (tmp_path / "out" / content).write_bytes(b"mine")
    for split in (None, "train"):
        with pytest.raises(DistillError, match="wanted an empty folder"):
            export_folders(manifest, tmp_path / "out", split=split)
    assert files(tmp_path / "out") == {content: b"mine"}
    with pytest.raises(DistillError, match="wanted an empty folder"):
        export_folders(manifest, tmp_path)
    assert len(read_manifest(manifest)) == 4


def test_an_interrupted_export_has_no_manifest_and_is_begun_again_elsewhere(tmp_path, manifest):
    called: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        called.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_folders(manifest, tmp_path / "out", on_progress=stop)
    assert called == [(1, 4), (2, 4)]
    assert not (tmp_path / "out" / "manifest.csv").exists()
    with pytest.raises(DistillError, match="finished or interrupted"):
        export_folders(manifest, tmp_path / "out")
    assert export_folders(manifest, tmp_path / "again").files == 8


def test_a_place_that_is_a_file_is_named(tmp_path, manifest):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(DistillError, match=r"out: cannot be written to .*another folder"):
        export_folders(manifest, tmp_path / "out")


def test_a_picture_that_is_gone_is_named(tmp_path, manifest):
    (tmp_path / "in" / "c1.JPG").unlink()
    with pytest.raises(DistillError, match=r"c1.JPG .*put it there"):
        export_folders(manifest, tmp_path / "out")


def test_a_type_cannot_lead_out_of_the_target(tmp_path, manifest):
    manifest.write_text(manifest.read_text().replace(",drs,", ",../../drs,"))
    export_folders(manifest, tmp_path / "deep" / "out")
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}
    assert not (tmp_path / "drs").exists()


@given(st.lists(st.text(min_size=1, max_size=200), max_size=12, unique=True))
def test_names_are_safe_and_differ_whatever_the_ids(ids):
    names = safe_names(ids)
    assert len({name.lower() for name in names}) == len(ids)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name)
        assert len(name) <= LONGEST_NAME + 13


def test_names_that_are_safe_stay():
    assert safe_names(["rain-100_a.b", "x"]) == ["rain-100_a.b", "x"]
