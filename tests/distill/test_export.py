"""Pairs in folders: safe names, whole files, and on from where it stopped."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pixel_models import crop, save

from derain.data.pairs import Pair, read_manifest, write_manifest
from derain.distill.pipeline import export
from derain.distill.pipeline.export import LONGEST_NAME, RECORD, export_folders, safe_names
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
    """All but the record."""
    found = [path for path in target.rglob("*") if path.is_file() and path.name != RECORD]
    return {str(path.relative_to(target)): path.read_bytes() for path in found}


def tell_otherwise(manifest: Path, splits: dict[str, str]) -> None:
    """Only these ids are kept, with these splits."""
    pairs = [pair for pair in read_manifest(manifest) if pair.id in splits]
    write_manifest(manifest, [replace(pair, split=splits[pair.id]) for pair in pairs])


def listed(target: Path) -> set[str]:
    """What the target's manifest says is there, and the manifest."""
    pairs = read_manifest(target / "manifest.csv")
    return {str(file.relative_to(target)) for pair in pairs for file in (pair.rainy, pair.clean)} | {"manifest.csv"}


@pytest.mark.parametrize("how", ["copy", "link"])
def test_each_split_has_folders_of_types_and_a_manifest_of_all(tmp_path, manifest, how):
    report = export_folders(manifest, tmp_path / "out", how=how)
    assert (report.pairs, report.written) == (4, 8)
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


def test_it_goes_on_where_it_stopped_and_touches_nothing_that_is_there(tmp_path, manifest):
    told: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_folders(manifest, tmp_path / "out", on_progress=stop)
    assert told == [(1, 4), (2, 4)]
    assert len(files(tmp_path / "out")) == 4
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    assert export_folders(manifest, tmp_path / "out").written == 4
    assert export_folders(manifest, tmp_path / "out").written == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert not list((tmp_path / "out").rglob("*.part"))


def test_another_file_in_the_place_is_not_overwritten(tmp_path, manifest):
    export_folders(manifest, tmp_path / "out")
    victim = next((tmp_path / "out").rglob("kept-9.png"))
    victim.write_bytes(b"mine")
    with pytest.raises(DistillError, match="another file stands there"):
        export_folders(manifest, tmp_path / "out")
    assert victim.read_bytes() == b"mine"


def test_a_picture_that_is_gone_is_named(tmp_path, manifest):
    (tmp_path / "in" / "c1.JPG").unlink()
    with pytest.raises(DistillError, match=r"c1.JPG .*put it there"):
        export_folders(manifest, tmp_path / "out")


def test_one_split_does_not_take_the_place_of_another(tmp_path, manifest):
    export_folders(manifest, tmp_path / "out", split="train")
    before = files(tmp_path / "out")
    for split in ("test", None):
        with pytest.raises(DistillError, match="holds an export of split 'train'"):
            export_folders(manifest, tmp_path / "out", split=split)
    assert files(tmp_path / "out") == before
    assert export_folders(manifest, tmp_path / "out", split="train").written == 0


def test_neither_a_run_nor_a_manifest_of_somebody_else_is_overwritten(tmp_path, manifest):
    with pytest.raises(DistillError, match="is the folder of a run"):
        export_folders(manifest, tmp_path)
    (tmp_path / "run" / ".derain-run").mkdir(parents=True)
    with pytest.raises(DistillError, match="is the folder of a run"):
        export_folders(manifest, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.csv").write_text(manifest.read_text().replace("in/", f"{tmp_path}/in/"))
    with pytest.raises(DistillError, match=r"no export wrote it|nothing says that an export"):
        export_folders(manifest, tmp_path / "mine")
    assert len(read_manifest(manifest)) == 4


def test_half_copied_files_of_a_killed_export_go(tmp_path, manifest):
    folder = tmp_path / "out" / "train" / "drs" / "rainy"
    folder.mkdir(parents=True)
    (folder / ".a.png.12.0123abcd.part").touch()
    (folder / ".film.part").touch()
    export_folders(manifest, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*.part")] == [".film.part"]


@pytest.mark.parametrize("how", ["copy", "link"])
def test_files_that_are_no_part_of_it_any_more_are_removed_and_no_others(tmp_path, manifest, how):
    out = tmp_path / "out"
    assert export_folders(manifest, out, how=how).removed == 0
    (out / "train" / "nrd" / "rainy" / "mine.png").write_bytes(b"mine")
    originals = files(tmp_path / "in")
    # One moves to another split and was the last of its type there, one is dropped, two stay.
    tell_otherwise(manifest, {"a/../b c": "test", "plain": "train", "PLAIN": "train"})
    report = export_folders(manifest, out, how=how)
    assert (report.written, report.removed, report.left) == (2, 4, ())
    assert set(files(out)) == listed(out) | {"train/nrd/rainy/mine.png"}
    assert not (out / "train" / "drs").exists(), "no empty folder that a program would read"
    assert files(tmp_path / "in") == originals
    assert export_folders(manifest, out, how=how).removed == 0


def test_a_split_that_is_empty_now_goes_too(tmp_path, manifest):
    export_folders(manifest, tmp_path / "out")
    tell_otherwise(manifest, {"a/../b c": "train", "plain": "train", "PLAIN": "train"})
    assert export_folders(manifest, tmp_path / "out").removed == 2
    assert set(files(tmp_path / "out")) == listed(tmp_path / "out")
    tell_otherwise(manifest, {})
    assert export_folders(manifest, tmp_path / "out").removed == 6
    assert set(files(tmp_path / "out")) == {"manifest.csv"}


def test_an_export_of_one_split_forgets_what_left_that_split(tmp_path, manifest):
    export_folders(manifest, tmp_path / "out", split="train")
    tell_otherwise(manifest, {"a/../b c": "test", "plain": "train", "PLAIN": "train", "kept-9": "train"})
    report = export_folders(manifest, tmp_path / "out", split="train")
    assert (report.written, report.removed) == (2, 2)
    assert set(files(tmp_path / "out")) == listed(tmp_path / "out")
    assert {pair.id for pair in read_manifest(tmp_path / "out" / "manifest.csv")} == {"plain", "PLAIN", "kept-9"}


def test_a_file_that_was_changed_since_stays_and_is_named(tmp_path, manifest):
    out = tmp_path / "out"
    export_folders(manifest, out)
    victim = out / "test" / "drs" / "rainy" / "kept-9.png"
    victim.write_bytes(b"mine")
    tell_otherwise(manifest, {"a/../b c": "train"})
    report = export_folders(manifest, out)
    assert (report.removed, report.left) == (5, (victim,))
    assert victim.read_bytes() == b"mine"
    assert export_folders(manifest, out).left == ()


def test_where_nothing_says_who_wrote_the_files_none_is_touched(tmp_path, manifest):
    out = tmp_path / "out"
    export_folders(manifest, out)
    (out / RECORD).unlink()
    before = files(out)
    tell_otherwise(manifest, {"a/../b c": "train"})
    with pytest.raises(DistillError, match="nothing says that an export wrote it"):
        export_folders(manifest, out)
    (out / "manifest.csv").unlink()
    with pytest.raises(DistillError, match="another file stands there"):
        export_folders(manifest, out)
    assert set(files(out)) == set(before) - {"manifest.csv"}


def test_an_export_does_not_go_where_pictures_of_the_run_lie(tmp_path, manifest):
    out = tmp_path / "out"
    export_folders(manifest, out)
    again = tmp_path / "again.csv"
    write_manifest(again, [replace(pair, split="val") for pair in read_manifest(out / "manifest.csv")])
    before = files(out)
    for target in (out, tmp_path / "elsewhere" / ".." / "out"):
        with pytest.raises(DistillError, match="of the run itself lies there"):
            export_folders(again, target)
    assert files(out) == before


@pytest.mark.parametrize("by_link", [False, True])
def test_ones_own_copies_are_never_taken_for_those_of_an_export(tmp_path, manifest, by_link):
    made, out = tmp_path / "made", tmp_path / "out"
    export_folders(manifest, made)
    (made / RECORD).unlink()
    (made / "manifest.csv").unlink()
    if by_link:
        out.mkdir()
        for split in made.iterdir():
            (out / split.name).symlink_to(split)
    else:
        shutil.copytree(made, out)
    before = files(made)
    with pytest.raises(DistillError, match="another file stands there"):
        export_folders(manifest, out)
    tell_otherwise(manifest, {"a/../b c": "train"})
    with pytest.raises(DistillError, match="another file stands there"):
        export_folders(manifest, out)
    assert files(made) == before
    assert not (out / RECORD).exists()


def test_a_type_cannot_lead_out_of_the_target(tmp_path, manifest):
    manifest.write_text(manifest.read_text().replace(",drs,", ",../../drs,"))
    export_folders(manifest, tmp_path / "deep" / "out")
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}
    assert not (tmp_path / "drs").exists()


@pytest.mark.parametrize("moment", ["files", "list", "removal", "record"])
def test_after_a_kill_the_next_export_ends_right_though_splits_moved_again(tmp_path, manifest, monkeypatch, moment):
    out = tmp_path / "out"
    export_folders(manifest, out)
    # What the killed export had written, and perhaps had not listed, is no part of the last one.
    tell_otherwise(manifest, {"a/../b c": "val", "plain": "test", "PLAIN": "train"})

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    def kill_half_way(done: int, _total: int) -> None:
        if done == 2:
            kill()

    with monkeypatch.context() as patch:
        if moment == "list":
            patch.setattr(export, "write_manifest", kill)
        elif moment == "removal":
            patch.setattr(Path, "rmdir", kill)
        elif moment == "record":
            writes = iter((export.write_whole, kill))  # before the files, after the removal
            patch.setattr(export, "write_whole", lambda *told: next(writes)(*told))
        with pytest.raises(KeyboardInterrupt):
            export_folders(manifest, out, on_progress=kill_half_way if moment == "files" else None)
    tell_otherwise(manifest, {"plain": "train"})
    export_folders(manifest, out)
    assert set(files(out)) == listed(out)
    assert [pair.id for pair in read_manifest(out / "manifest.csv")] == ["plain"]


@pytest.mark.parametrize("line", ["half", "../../in/r0.png,1,2", "/etc/hosts,1,2", "a.png,one,2"])
def test_a_damaged_record_is_told_and_removes_nothing(tmp_path, manifest, line):
    out = tmp_path / "out"
    export_folders(manifest, out)
    before = files(out)
    (out / RECORD).write_text(f"{line}\n")
    with pytest.raises(DistillError, match=r"derain-export\.csv: .*export to another folder"):
        export_folders(manifest, out)
    assert files(out) == before


@given(st.lists(st.text(min_size=1, max_size=200), max_size=12, unique=True))
def test_names_are_safe_and_differ_whatever_the_ids(ids):
    names = safe_names(ids)
    assert len({name.lower() for name in names}) == len(ids)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name)
        assert len(name) <= LONGEST_NAME + 13


def test_names_that_are_safe_stay():
    assert safe_names(["rain-100_a.b", "x"]) == ["rain-100_a.b", "x"]
