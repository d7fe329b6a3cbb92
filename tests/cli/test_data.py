"""`derain data`: exit statuses, counts, and the table of what is there."""

import os
from pathlib import Path

import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from derain.cli.data import FAULTS_SHOWN, data_app

TYPES = "types: 2 drs, 2 snow\n"
HEADER = "id,rainy,clean,type,source,split,scene\n"


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    for n in range(4):
        shown = skimage.data.coffee()[80 * n : 80 * n + 64, :80] // 2
        Image.fromarray(shown).save(tmp_path / f"c{n}.png")
        Image.fromarray(shown + 60).save(tmp_path / f"r{n}.png")
    lines = [f"{n},r{n}.png,c{n}.png,{('drs', 'snow')[n % 2]},own,{('train', 'val')[n == 3]},{n}\n" for n in range(4)]
    (tmp_path / "manifest.csv").write_text(HEADER + "".join(lines))
    return tmp_path / "manifest.csv"


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(data_app, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def test_sound_manifest_passes(manifest: Path) -> None:
    assert run("check", manifest, "--crop", 64, "--decode") == (0, f"4 rows in 1 list: no faults\n{TYPES}")


def test_faults_are_counted_shown_and_written(manifest: Path, tmp_path: Path) -> None:
    with manifest.open("a") as file:
        file.writelines(f"x{n},gone.png,c0.png,drs,own,train,y\n" for n in range(30))
        file.write("last,gone.png,c3.png,drs,own,val,y\n")
    status, output = run("check", manifest, manifest, "--crop", 64, "-o", tmp_path / "faults.csv")
    assert status == 1
    assert "70 rows in 2 lists: 62 missing, 2 scene in several splits (warning)" in output
    assert output.count("gone.png is not there") == FAULTS_SHOWN
    assert "and 44 more" in output
    assert (tmp_path / "faults.csv").read_text().count("gone.png is not there") == 62


def test_warnings_alone_are_no_failure(manifest: Path) -> None:
    with manifest.open("a") as file:
        file.write("x,r3.png,c3.png,drs,own,val,0\n")
    status, output = run("check", manifest, "--crop", 64)
    assert status == 0
    assert "line 6: scene in several splits: scene '0' is in several splits: train (line 2), val (line 6)" in output


def test_lists_are_compared_with_each_other(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "again.png").write_bytes((tmp_path / "r1.png").read_bytes())
    (tmp_path / "val.csv").write_text(HEADER + "1,again.png,c1.png,snow,own,val,new\n")
    status, output = run("check", manifest, tmp_path / "val.csv", "--crop", 64)
    assert status == 1
    assert f"again.png is, by its content, in several splits: train ({manifest}, line 3), val (line 2)" in output


def test_manifest_is_never_overwritten(manifest: Path) -> None:
    before = manifest.read_bytes()
    status, output = run("check", manifest, "-o", manifest)
    assert status == 2
    assert "this is one of the lists to check" in output
    assert manifest.read_bytes() == before


def test_lists_are_opened_before_any_is_looked_at(manifest: Path, tmp_path: Path) -> None:
    manifest.write_text(HEADER + "1,gone.png,gone.png,drs,own,train,1\n")
    (tmp_path / "other.csv").write_text("id,rainy\n")
    for name, message in (("typo.csv", "typo.csv: no such file"), ("other.csv", "other.csv: no column clean")):
        status, output = run("check", manifest, tmp_path / name, "-o", tmp_path / "faults.csv")
        assert status == 2
        assert message in output
        assert "missing" not in output
        assert not (tmp_path / "faults.csv").exists()


def test_what_was_found_is_printed_when_a_later_list_cannot_be_read_to_its_end(manifest: Path, tmp_path: Path) -> None:
    manifest.write_text(HEADER + "1,gone.png,c0.png,drs,own,train,1\n")
    (tmp_path / "odd.csv").write_bytes(HEADER.encode() + b"1,a.png,a.png,snow,own,train,1\n" * 2000 + b"\xff\n")
    status, output = run("check", manifest, tmp_path / "odd.csv", manifest, "-o", tmp_path / "faults.csv")
    assert status == 2
    assert "1 rows in 1 of 3 lists and what could be read of the next: 1 missing" in output
    assert "types: 1 drs" in output
    assert "gone.png is not there" in output
    assert "odd.csv: this is not a text file in UTF-8" in output
    assert "gone.png is not there" in (tmp_path / "faults.csv").read_text()


def test_what_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    assert run("check", tmp_path / "none.csv")[0] == 2
    assert run("show", tmp_path / "none.csv")[0] == 2


def test_rows_are_shown_by_source_type_and_split(manifest: Path) -> None:
    status, output = run("show", manifest, manifest)
    assert status == 0
    assert output.splitlines()[0] == "8 rows"
    assert [line.split() for line in output.splitlines()[2:]] == [
        ["source", "type", "train", "val", "test", "probe"],
        ["own", "drs", "4", "0", "0", "0"],
        ["own", "snow", "2", "2", "0", "0"],
        ["all", "6", "2", "0", "0"],
    ]


def test_a_list_with_faults_is_shown_the_way_to_all_of_them(manifest: Path) -> None:
    manifest.write_text(manifest.read_text() + "x,r0.png,c0.png,drs,own,trian,y\n")
    status, output = run("show", manifest)
    assert (status, f"`derain data check {manifest}` finds all faults at once" in output) == (2, True), output
    assert "check" not in run("show", manifest.with_name("absent.csv"))[1]


def test_rows_of_the_wrong_length_are_counted_among_the_rows(manifest: Path) -> None:
    with manifest.open("a") as file:
        file.write("x,a.png\n")
    assert "5 rows in 1 list: 1 bad row" in run("check", manifest, "--crop", 64)[1]


def test_an_index_is_made_of_folders_and_is_sound(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number in range(6):
        place = photos / f"{'a' if number < 3 else 'b'}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        shown = skimage.data.astronaut()[50 * number : 50 * number + 200, :200] // (8 if number % 3 == 0 else 1)
        Image.fromarray(shown).save(place)
    (photos / "notes.txt").write_text("notes")
    out = tmp_path / "photos.csv"
    status, output = run("index", photos, photos / "a", "-o", out)
    assert status == 0, output
    assert f"6 photographs of 6 scenes in {out}" in output
    assert "3 left out, as they are there by another path already" in output
    assert "notes.txt" in output
    listed = out.read_text()
    assert [row.split(",")[1] for row in listed.splitlines()[1:]] == ["night", "day", "day"] * 2
    assert {row.split(",")[2] for row in listed.splitlines()[1:]} == {"train", "val", "probe"}
    assert run("check", out) == (0, "6 rows in 1 list: no faults\n")

    status, output = run("index", photos, "-o", out)
    assert (status, "give --force to replace it" in output, out.read_text()) == (2, True, listed)
    (photos / "bad.jpg").write_text("no picture")
    status, output = run("index", photos, "-o", out, "--force", "--light", "night", "--scene", "folder", "--probe", 0)
    assert status == 1
    assert "1 photograph failed:\n  " in output
    assert "bad.jpg: this is not a picture" in output
    assert "training on rain by day needs one of day or dusk in train" in output
    rows = [row.split(",") for row in out.read_text().splitlines()[1:]]
    assert {(row[1], row[4]) for row in rows} == {("night", "photos/a"), ("night", "photos/b")}
    assert len({(row[2], row[4]) for row in rows}) == 2, "a folder lies in one split"


def test_a_photograph_eight_times_is_one_scene_in_one_split(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shown = Image.fromarray(skimage.data.astronaut()[:256, :256])
    for number in range(8):
        shown.save(photos / f"p{number}.{'png' if number < 6 else 'jpg'}")
    Image.fromarray(skimage.data.coffee()).save(photos / "other.png")
    status, output = run("index", photos, "-o", tmp_path / "photos.csv", "--val", 0.3, "--probe", 0.3)
    assert status == 0
    assert "9 photographs of 2 scenes" in output
    assert "7 look like an earlier one (copies, frames of a film): one scene each" in output
    rows = [row.split(",") for row in (tmp_path / "photos.csv").read_text().splitlines()[1:]]
    assert len({(row[2], row[4]) for row in rows if "/p" in row[0]}) == 1


@pytest.mark.parametrize("kind", ["closed", "dangling", "pipe"])
def test_what_cannot_be_read_is_named_and_the_rest_is_indexed(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    (photos / "closed").mkdir(parents=True)
    Image.fromarray(skimage.data.coffee()).save(photos / "a.png")
    if kind == "dangling":
        (photos / "dangling.jpg").symlink_to("nowhere.jpg")
    elif kind == "pipe":
        os.mkfifo(photos / "pipe.jpg")
    else:  # also for root, whom permissions do not stop
        listdir = os.listdir

        def refusing(place: str) -> list[str]:
            if str(place).endswith("closed"):
                raise PermissionError(13, "Permission denied", place)
            return listdir(place)

        monkeypatch.setattr(os, "listdir", refusing)
    status, output = run("index", photos, "-o", tmp_path / "photos.csv", "--val", 0, "--probe", 0)
    assert status == 1
    assert "1 photographs of 1 scenes" in output
    assert "1 path cannot be read" in output
    assert str(photos / kind) in output


def test_linked_folders_are_indexed_once(tmp_path: Path) -> None:
    (tmp_path / "album").mkdir()
    (tmp_path / "photos").mkdir()
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "album" / "c.png")
    for name in ("one", "two"):
        (tmp_path / "photos" / name).symlink_to("../album")
    (tmp_path / "album" / "back").symlink_to("../photos")
    status, output = run("index", tmp_path / "photos", "-o", tmp_path / "photos.csv")
    assert status == 0
    assert "1 photographs of 1 scenes" in output


def test_a_manifest_is_made_of_folders_as_public_sets_lay_them_out(tmp_path: Path) -> None:
    for number in range(12):
        clean = skimage.data.astronaut()[30 * number : 30 * number + 64, 100:180] // 2
        for name, shown in ((f"ground_truth/{number}.png", clean), (f"rainy_image/{number}_1.jpg", clean + 90)):
            (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shown).save(tmp_path / "set" / name)
    Image.fromarray(clean).save(tmp_path / "set" / "preview.png")
    out = tmp_path / "pairs.csv"
    status, output = run("pairs", tmp_path / "set", "-o", out, "--type", "drs", "--val", 0.2)
    assert status == 0, output
    assert "12 pairs of 12 scenes" in output
    assert "1 left out (neither rainy nor clean by their names)" in output
    assert run("check", out, "--crop", 64, "--decode") == (0, "12 rows in 1 list: no faults\ntypes: 12 drs\n")
    assert {row.split(",")[5] for row in out.read_text().splitlines()[1:]} == {"train", "val", "probe"}

    (tmp_path / "set" / "ground_truth" / "3.png").unlink()
    status, output = run("pairs", tmp_path / "set", "-o", tmp_path / "more.csv", "--split", "test")
    assert (status, "rainy_image/3_1.jpg" in output, (tmp_path / "more.csv").exists()) == (2, True, False)


def test_an_index_that_cannot_be_made_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"x")
    for arguments, said in (
        ([tmp_path / "photo.png", "-o", tmp_path / "i.csv"], "wanted a folder of clean photographs"),
        ([tmp_path, "-o", tmp_path / "index"], "ends in .csv"),
        ([tmp_path, "-o", tmp_path / "photo.png" / "i.csv"], "this is a file"),
        ([tmp_path, "-o", tmp_path / "i.csv", "--val", 0.9, "--probe", 0.1], "wanted shares"),
    ):
        status, output = run("index", *arguments)
        assert (status, said in output) == (2, True), output
    assert run("index", tmp_path, "-o", tmp_path / "i.csv")[0] == 1
    assert not (tmp_path / "i.csv").exists(), "nothing could be read"
