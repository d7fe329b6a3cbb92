"""What every command has in common: help, exit statuses, one clear line for an error."""

import errno
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from derain import __version__
from derain.cli.evaluate import evaluate
from derain.cli.main import app
from derain.cli.restore import restore
from derain.cli.simulate import simulate
from derain.data.pairs import SPLITS
from derain.errors import ImageError
from derain.imaging.formats import FORMATS, format_of_name
from derain.imaging.io import DEFAULT_PIXEL_LIMIT, Picture, write_image, write_picture
from derain.imaging.metrics import Protocol
from derain.infer.restore import SMALLEST_TILE, load
from derain.infer.runtimes import Precision
from derain.models.checkpoints import read_header
from derain.models.find import shipped_weights


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def choices(command, parameter):
    hint = get_type_hints(command, include_extras=False)[parameter]
    assert hint.__origin__ is Literal
    return set(get_args(hint))


def test_choices_offered_are_those_that_the_package_knows():
    assert choices(evaluate, "protocol") == set(Protocol)
    assert choices(restore, "precision") == choices(evaluate, "precision") == set(Precision)
    assert choices(simulate, "split") == set(SPLITS)
    formats = get_args(get_type_hints(restore)["format"])[0]
    assert {format_of_name(name) for name in get_args(formats)} == set(FORMATS)


@pytest.mark.parametrize("command", ["restore", "evaluate", "simulate", "data", "train", "ablate", "publish", "info"])
def test_every_command_explains_itself(command):
    done = run(command, "--help")
    assert done.exit_code == 0
    assert "Usage: " in done.output


def test_the_version_is_printed():
    assert run("--version").output.strip() == __version__


@pytest.mark.parametrize("command", ["", "restore", "train", "data"])
def test_help_does_not_wait_for_large_packages(command):
    large = ["PIL", "derain.imaging", "derain.settings", "numpy", "pyarrow", "rich.progress", "torch", "yaml"]
    code = (
        "import sys\nfrom derain.cli.main import app\n"
        f"try:\n    app({[*command.split(), '--help']})\nexcept SystemExit:\n    pass\n"
        f"sys.exit(', '.join(sys.modules.keys() & {large}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["restore", "absent.jpg", "-o", "out"], "absent.jpg"),
        (["restore", "absent.jpg"], "--in-place"),
        (["restore", "absent.jpg", "-o", "out", "--in-place"], "--in-place"),
        (["restore", "a.jpg", "-o", "out", "--precision", "fp8"], "fp8"),
        (["evaluate", "absent.csv"], "absent.csv"),
        (["evaluate", ".", "-o", "rows.xlsx"], "rows.xlsx"),
        (["evaluate", ".", "--split", "val"], "manifest.csv"),
        (["restore", "a.jpg", "-o", "out", "--tile", "191"], "192"),
        (["restore", "a.jpg", "-o", "out", "--pixel-limit", "0"], "pixel-limit"),
        (["simulate", "absent", "-o", "out"], "absent"),
        (["simulate", "absent", "-o", "out", "--types", "drs,hail"], "hail"),
        (["simulate", "absent", "-o", "out", "--per-photo", "0"], "per-photo"),
    ],
)
def test_what_cannot_be_is_refused_with_status_2(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert not list(tmp_path.iterdir())


def test_errors_are_one_line_without_traceback(tmp_path):
    done = run("info", tmp_path / "absent.jpg")
    assert done.exit_code == 2
    assert done.output.startswith("derain: ")
    assert len(done.output.strip().splitlines()) == 1


def test_unknown_weights_and_tiles_are_usage_errors(photos, tmp_path, checkpoint):
    assert run("restore", photos, "-o", tmp_path / "out", "--model", "huge").exit_code == 2
    done = run("restore", photos, "-o", tmp_path / "out", "--model", checkpoint, "--tile", 10)
    assert (done.exit_code, "192" in done.output) == (2, True)


def test_info_prints_a_model_and_a_photo_with_its_routing(photos, checkpoint):
    model = run("info", checkpoint)
    assert model.exit_code == 0
    for said in ("parameters", "MACs", "widths", "psnr.drs: 24.5", "licence     MIT"):
        assert said in model.output
    photo = run("info", photos / "cat.png", "--model", checkpoint)
    assert photo.exit_code == 0
    assert "226 x 150" in photo.output
    assert photo.output.count("*") >= 7 + 1  # one largest expert per mixture, and the legend


def test_weights_of_another_program_are_named_by_every_command(photos, tmp_path):
    torch.save({"conv0.0.weight": torch.zeros(1), "mystery": torch.zeros(2)}, tmp_path / "net.pth")
    for arguments in (
        ("info", tmp_path / "net.pth"),
        ("restore", photos, "-o", tmp_path / "out", "--model", tmp_path / "net.pth"),
        ("publish", tmp_path / "net.pth", tmp_path / "folder"),
    ):
        done = run(*arguments)
        assert done.exit_code == 2
        assert "another program's weights, 2 tensors such as conv0.0.weight" in done.output


def test_a_runs_folder_and_weights_under_any_ending_are_models(photos, tmp_path, checkpoint):
    best = tmp_path / "run" / "checkpoints" / "best.safetensors"
    best.parent.mkdir(parents=True)
    for path in (best, tmp_path / "small.pth", tmp_path / "bare"):
        path.write_bytes(checkpoint.read_bytes())
    for number, model in enumerate((tmp_path / "run", tmp_path / "small.pth", tmp_path / "bare")):
        cat = photos / "cat.png"
        assert run("restore", cat, "-o", tmp_path / f"{number}.png", "--model", model).exit_code == 0
        assert "widths" in run("info", model).output
        assert run("publish", model, tmp_path / f"published-{number}").exit_code == 0
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_a_place_that_cannot_be_written_is_refused_before_the_work(photos, tmp_path, checkpoint):
    (tmp_path / "afile").write_text("a file")
    for arguments in (
        ("evaluate", photos, "-o", tmp_path / "afile" / "rows.csv"),
        ("simulate", photos, "-o", tmp_path / "afile" / "S"),
        ("restore", photos, "-o", tmp_path / "afile" / "dry", "--model", checkpoint),
    ):
        done = run(*arguments)
        assert done.exit_code == 2
        assert done.output.startswith("derain: ")
        assert "afile" in done.output
        assert len(done.output.strip().splitlines()) == 1


def test_an_error_of_the_file_system_is_one_line():
    done = run("evaluate", "a" * 300 + ".csv")
    assert done.exit_code == 1
    assert done.output.startswith("derain: ")
    assert len(done.output.strip().splitlines()) == 1


def test_files_of_other_formats_are_counted_and_named_and_no_failure(photos, tmp_path, checkpoint):
    for index in range(25):
        (photos / f"{index:02}.gif").write_bytes(b"x")
    done = run("restore", photos, "-o", tmp_path / "out", "--model", checkpoint)
    assert done.exit_code == 0
    assert "25 left out" in done.output
    assert "19.gif" in done.output
    assert "and 5 more" in done.output


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such names cannot be made")
def test_a_name_that_is_no_utf8_is_printed_with_escapes(photos, tmp_path, checkpoint):
    (photos / "cat.png").rename(photos / os.fsdecode(b"cat\xff.png"))
    (photos / os.fsdecode(b"bad\xff.png")).write_bytes(b"broken")
    arguments = ["restore", str(photos), "-o", str(tmp_path / "out"), "--model", str(checkpoint)]
    code = f"from derain.cli.main import app; app({arguments!r})"
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, env=environment)
    assert done.returncode == 1, done.stderr
    assert rb"cat\udcff.png: restored" in done.stdout
    assert rb"bad\udcff.png" in done.stderr
    assert Path(tmp_path / "out" / os.fsdecode(b"cat\xff.png")).exists()


def test_numbers_in_options_are_those_of_the_rooms():
    for command in (restore, evaluate):
        assert get_type_hints(command, include_extras=True)["tile"].__metadata__[0].min == SMALLEST_TILE
    assert inspect.signature(restore).parameters["pixel_limit"].default == DEFAULT_PIXEL_LIMIT


def test_one_failure_is_singular_and_no_result_is_promised(photos, tmp_path, checkpoint):
    (photos / "bad.png").write_bytes(b"broken")
    done = run("restore", photos / "bad.png", "-o", f"{tmp_path}/out.x/", "--model", checkpoint)
    assert "1 photograph failed" in done.output
    assert "results in" not in done.output


def test_lost_bits_are_warned_of_and_later_comparisons_are_counted(tmp_path, checkpoint):
    write_picture(tmp_path / "deep.png", Picture(pixels=np.full((40, 50, 3), 30000, np.uint16)))
    arguments = ("restore", tmp_path / "deep.png", "-o", tmp_path / "s.jpg", "--model", checkpoint)
    assert "  warning: 16 bits written with 8" in run(*arguments).output
    done = run(*arguments, "--compare")
    assert "deep.png: compared\n" in done.output
    assert "0 restored, 1 compared" in done.output


def test_info_explains_routing_and_metrics_and_lists_models(photos, checkpoint):
    assert "without renormalising" in run("info", photos / "cat.png", "--model", checkpoint).output
    assert "protocol rgb" in run("info", checkpoint).output
    done = run("info", "tinny")
    assert done.exit_code == 2
    assert "shipped: tiny" in done.output


def test_python_runs_the_package_as_the_command():
    done = subprocess.run([sys.executable, "-m", "derain", "--version"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, __version__)


def test_a_manifest_in_a_folder_that_is_measured_is_pointed_at(photos, tmp_path, checkpoint):
    for name in ("rainy", "clean"):
        (tmp_path / "work" / name).mkdir(parents=True)
        (tmp_path / "work" / name / "cat.png").write_bytes((photos / "cat.png").read_bytes())
    arguments = ("evaluate", tmp_path / "work", "--model", checkpoint)
    assert "manifest.csv" not in run(*arguments).output
    (tmp_path / "work" / "manifest.csv").write_text("")
    done = run(*arguments)
    assert done.exit_code == 0
    assert f"{tmp_path / 'work' / 'manifest.csv'} is not read, for a folder was given" in done.output


def test_help_names_the_extra_that_the_hub_needs():
    assert "the extra derain[hub] and a login" in " ".join(run("publish", "--help").output.split())


def test_a_photograph_that_may_not_be_read_is_named_with_what_to_do(photos, tmp_path, checkpoint, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("derain.infer.files.origin_of", refuse)
    done = run("restore", photos / "cat.png", "-o", tmp_path / "out.png", "--model", checkpoint)
    assert done.exit_code == 1
    assert f"{photos / 'cat.png'}: permission denied; check the rights to this file and its folder" in done.output


def test_help_on_restoring_says_that_a_place_is_needed():
    told = " ".join(run("restore", "--help").output.replace("│", " ").split())
    assert "this or --in-place must be given" in told


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such folder")
def test_a_folder_that_cannot_be_made_is_not_blamed_on_the_photograph(photos, checkpoint):
    done = run("restore", photos / "cat.png", "-o", "/proc/x/y.png", "--model", checkpoint)
    assert done.exit_code != 0
    assert "/proc" in done.output
    assert "give another" in done.output


def test_a_shipped_models_name_comes_before_a_folder_called_the_same(tmp_path, monkeypatch, checkpoint):
    monkeypatch.chdir(tmp_path)
    assert run("publish", checkpoint, "./tiny").exit_code == 0
    write_picture(tmp_path / "a.png", Picture(np.zeros((32, 32, 3), np.uint8)))
    for model, licence in (("tiny", read_header(shipped_weights()["tiny"]).licence), ("./tiny", "MIT")):
        assert load(model).header.licence == licence
        assert run("restore", "a.png", "-o", f"{len(licence)}.png", "--model", model).exit_code == 0


@pytest.mark.parametrize(
    "arguments", [("restore", "photos"), ("data", "index", "photos"), ("simulate", "photos", "--types", "drs")]
)
def test_what_cannot_be_read_is_named_and_counted_with_status_1(photos, checkpoint, monkeypatch, arguments):
    monkeypatch.chdir(photos.parent)
    (photos / "dangling.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(photos / "pipe.jpg")
    out = "index.csv" if arguments[0] == "data" else "out"
    done = run(*arguments, "-o", out, *(("--model", checkpoint) if arguments[0] == "restore" else ()))
    assert done.exit_code == 1, done.output
    assert "2 paths cannot be read:" in done.output
    assert "  photos/dangling.jpg: a link to nowhere.jpg" in done.output
    assert "  photos/pipe.jpg: a device, pipe" in done.output
    assert Path(out).exists()


def test_simulating_stops_on_a_full_disk_and_can_be_resumed(photos, tmp_path, monkeypatch):
    written = []

    def write_until_full(path, image):
        if len(written) >= 4:
            raise ImageError(f"{path}: cannot be written (no space left)") from OSError(errno.ENOSPC, "no space left")
        written.append(path)
        write_image(path, image)

    arguments = ("simulate", photos, "-o", tmp_path / "S", "--types", "drs,drd,snow", "--longest-side", 64)
    with monkeypatch.context() as full:
        full.setattr("derain.rain.render.write_image", write_until_full)
        done = run(*arguments)
    assert done.exit_code == 1
    assert "stopped after 2 of 9 pictures, as the disk takes no more" in done.output
    assert len(written) == 4
    done = run(*arguments)
    assert done.exit_code == 0
    assert "7 rendered, 2 done before; 9 pairs" in done.output
