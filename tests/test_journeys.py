"""What a user does, from end to end through the command line, on sample photographs."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import skimage.data
from typer.testing import CliRunner

import derain
from derain.cli.main import app
from derain.imaging.io import Picture, read_picture, write_picture
from derain.infer.record import RECORD_NAME


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def digests():
    return lambda folder: {
        p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != RECORD_NAME
    }


def test_from_clean_photographs_to_a_table_and_restored_files(photos, tmp_path, checkpoint, digests):
    # Add rain.
    work = tmp_path / "work"
    rain = ("simulate", photos, "-o", work, "--types", "drs,nrd", "--seed", 7)
    done = run(*rain)
    assert done.exit_code == 0, done.output
    assert "6 rendered" in done.output
    with (work / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["type"] for row in rows) == ["drs"] * 3 + ["nrd"] * 3
    rendered = digests(work)

    # The same again changes nothing; another type joins the manifest.
    assert "6 done before" in run(*rain).output
    assert digests(work) == rendered
    assert run("simulate", photos, "-o", work, "--types", "nrs", "--seed", 7).exit_code == 0
    assert len((work / "manifest.csv").read_text().splitlines()) == 1 + 9

    # Measure: by manifest and by folder, which name the same pictures.
    done = run("evaluate", work / "manifest.csv", "--model", checkpoint, "-o", tmp_path / "rows.json")
    assert done.exit_code == 0, done.output
    assert "Protocol: unirain" in done.output
    assert "| average of types | 9 |" in done.output
    by_manifest = json.loads((tmp_path / "rows.json").read_text())
    assert run("evaluate", work, "--model", checkpoint, "-o", tmp_path / "rows.csv").exit_code == 0
    with (tmp_path / "rows.csv").open(newline="") as file:
        by_folder = {row["id"]: float(row["output_psnr"]) for row in csv.DictReader(file)}
    assert by_folder == pytest.approx({row["id"]: row["output_psnr"] for row in by_manifest})

    # Restore the tree, in which one file is broken.
    broken = work / "rainy" / "drs" / "broken.png"
    broken.write_bytes(next((work / "rainy" / "drs").glob("*.png")).read_bytes()[:500])
    before = digests(work)
    restore = ("restore", work / "rainy", "-o", tmp_path / "dry", "--compare", "--model", checkpoint)
    done = run(*restore)
    assert done.exit_code == 1
    assert "9 restored" in done.output
    assert "1 failed" in done.output
    assert "broken.png" in done.output.splitlines()[-1]
    assert digests(work) == before, "originals are left alone"
    names = {path.relative_to(work / "rainy") for path in (work / "rainy").rglob("*.png")} - {
        broken.relative_to(work / "rainy")
    }
    assert {path.relative_to(tmp_path / "dry") for path in (tmp_path / "dry").rglob("*.png")} == names
    assert len(list((tmp_path / "dry" / "compare").rglob("*.jpg"))) == 9
    restored = digests(tmp_path / "dry")

    # Mended, only the broken one is left to do.
    broken.unlink()
    write_picture(broken, Picture(pixels=skimage.data.chelsea()[:60, :80].copy()))
    done = run(*restore)
    assert done.exit_code == 0
    assert "1 restored" in done.output
    assert "9 done before" in done.output
    after = digests(tmp_path / "dry")
    assert {path: after[path] for path in restored} == restored


def test_the_command_line_and_python_restore_alike(photos, tmp_path, checkpoint):
    assert run("restore", photos / "cat.png", "-o", tmp_path / "dry.png", "--model", checkpoint).exit_code == 0
    expected = derain.load(checkpoint)(read_picture(photos / "cat.png").pixels)
    np.testing.assert_array_equal(read_picture(tmp_path / "dry.png").pixels, expected)


def test_originals_are_overwritten_only_when_asked(photos, checkpoint, digests):
    before = digests(photos)
    assert run("restore", photos, "-o", photos, "--overwrite", "--model", checkpoint).exit_code == 2
    assert digests(photos) == before
    assert run("restore", photos, "--in-place", "--model", checkpoint).exit_code == 0
    after = digests(photos)
    assert after.keys() == before.keys()
    assert all(after[path] != before[path] for path in before)


def test_an_index_gives_light_split_and_scene(photos, tmp_path):
    index = tmp_path / "photos.csv"
    index.write_text(
        "path,role,light,split,source,scene\n"
        "photos/cat.png,clean,day,val,samples,cat\n"
        "photos/trip/coffee.jpg,clean,day,train,samples,coffee\n"
        "photos/trip/evening/rocket.png,clean,night,val,samples,rocket\n"
    )
    done = run("simulate", index, "-o", tmp_path / "work", "--types", "drs,nrs", "--split", "val")
    assert done.exit_code == 0, done.output
    with (tmp_path / "work" / "manifest.csv").open(newline="") as file:
        rows = {(row["scene"], row["type"]): row for row in csv.DictReader(file)}
    assert rows.keys() == {("cat", "drs"), ("cat", "nrs"), ("rocket", "nrs")}
    assert {row["split"] for row in rows.values()} == {"val"}
    # A photograph of night is its own target; one of day becomes night first.
    rocket = read_picture(tmp_path / "work" / rows["rocket", "nrs"]["clean"]).pixels
    np.testing.assert_array_equal(rocket, read_picture(photos / "trip/evening/rocket.png").pixels)
    cat = read_picture(tmp_path / "work" / rows["cat", "nrs"]["clean"]).pixels
    assert cat.mean() < 0.7 * read_picture(photos / "cat.png").pixels.mean()


def test_ctrl_c_leaves_whole_files_and_the_next_run_goes_on(tmp_path, checkpoint):
    rainy = tmp_path / "rainy"
    rainy.mkdir()
    cat, count = np.ascontiguousarray(skimage.data.chelsea()[::2, ::2]), 20
    for index in range(count):
        write_picture(rainy / f"{index:02}.png", Picture(pixels=np.roll(cat, index, axis=1)))
    out = tmp_path / "dry"
    arguments = ["restore", str(rainy), "-o", str(out), "--model", str(checkpoint)]
    command = [sys.executable, "-c", f"from derain.cli.main import app; app({arguments!r})"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        deadline = time.monotonic() + 120
        while len(list(out.glob("*.png"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "to go: run the same command again" in said
    present = list(out.glob("*.png"))
    assert 2 <= len(present) < count
    for path in present:
        assert read_picture(path).pixels.shape == cat.shape
    done = run(*arguments)
    assert done.exit_code == 0
    assert f"{len(present)} done before" in done.output
    assert len(list(out.glob("*.png"))) == count


def test_stopped_in_place_tells_what_is_overwritten_and_invites_no_second_time(tmp_path, checkpoint):
    cat = np.ascontiguousarray(skimage.data.chelsea()[::2, ::2])
    for index in range(20):
        write_picture(tmp_path / f"{index:02}.png", Picture(pixels=cat))
    before = {path: path.read_bytes() for path in tmp_path.glob("*.png")}
    arguments = ["restore", str(tmp_path), "--in-place", "--model", str(checkpoint)]
    command = [sys.executable, "-c", f"from derain.cli.main import app; app({arguments!r})"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        said = "".join(process.stdout.readline() for _ in range(2))
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "run the same command again" not in said
    listed = said.split("a second time by the same command:\n")[1].splitlines()
    changed = [str(path) for path in sorted(before) if path.read_bytes() != before[path]]
    assert 2 <= len(listed) < 20
    assert listed == changed


def test_a_second_run_relabels_and_replaces_no_picture(photos, tmp_path):
    work = tmp_path / "work"
    rain = ("simulate", photos / "cat.png", "-o", work, "--types", "drs")
    assert run(*rain).exit_code == 0
    manifest = (work / "manifest.csv").read_text()
    done = run(*rain, "--split", "val")
    assert done.exit_code == 2
    assert "split" in done.output
    assert (work / "manifest.csv").read_text() == manifest
    # Another photograph of the same name, and another size, are other pictures.
    assert "1 rendered" in run(*rain, "--longest-side", 100).output
    (photos / "trip/evening/rocket.png").rename(photos / "cat.png")
    assert "1 rendered" in run(*rain, "--split", "val").output
    with (work / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["train", "train", "val"]
    assert len({(work / row["rainy"]).read_bytes() for row in rows}) == 3


def test_the_guides_way_from_photographs_over_an_index_to_a_table(photos, checkpoint, monkeypatch):
    monkeypatch.chdir(photos.parent)
    assert run("data", "index", "photos/", "-o", "photos.csv").exit_code == 0
    for split in ("train", "val"):
        done = run("simulate", "photos.csv", "-o", "work/", "--split", split, "--types", "nrs,nrd")
        assert done.exit_code == 0, done.output
    done = run("evaluate", "work/manifest.csv", "--split", "val", "--model", checkpoint)
    assert done.exit_code == 0, done.output
    assert "| average of types | 2 |" in done.output
    with (photos.parent / "work" / "manifest.csv").open(newline="") as file:
        splits = {row["scene"]: row["split"] for row in csv.DictReader(file)}
    assert sorted(splits.values()) == ["train", "val"], "the third scene is the probe's"
