"""Snow and haze on the command line, from photographs to a table of results."""

import os
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from derain.cli.main import app
from derain.data.pairs import read_manifest
from derain.imaging.io import read_image
from derain.settings import load_settings
from derain.train.settings import TrainSettings

RECIPE = Path(__file__).parents[2] / "recipes" / "weather.yaml"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_snow_and_haze_are_simulated_listed_and_evaluated(photos: Path, checkpoint: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    run("simulate", photos, "-o", work, "--types", "haze,drs,snow", "--count", 2, "--longest-side", 96)
    pairs = read_manifest(work / "manifest.csv")
    assert [pair.type for pair in pairs] == ["haze", "haze", "drs", "drs", "snow", "snow"]
    for pair in pairs:
        assert pair.type in pair.rainy.parts
        assert pair.clean is not None
        assert not read_image(pair.rainy).equal(read_image(pair.clean))
    said = run("evaluate", work / "manifest.csv", "--model", checkpoint)
    rows = [line for line in said.splitlines() if any(name in line for name in ("drs (day streaks)", "haze", "snow"))]
    assert len(rows) >= 3


def test_the_recipe_names_all_that_can_be_simulated() -> None:
    settings = load_settings(TrainSettings, RECIPE)
    assert settings.data.types == ("drs", "drd", "nrs", "nrd", "snow", "haze")
    assert settings.batch_size % len(settings.data.types) == 0


def test_names_that_differ_in_their_ending_alone_are_both_simulated(photos: Path, tmp_path: Path) -> None:
    shown = Image.open(photos / "cat.png").resize((96, 64))
    (tmp_path / "in").mkdir()
    for name in ("UPPER.JPG", "UPPER.TIFF"):
        shown.save(tmp_path / "in" / name)
    run("simulate", tmp_path / "in", "-o", tmp_path / "work", "--types", "drs")
    pairs = read_manifest(tmp_path / "work" / "manifest.csv")
    assert len({pair.rainy for pair in pairs}) == 2
    assert {pair.scene for pair in pairs} == {"UPPER"}


def test_what_cannot_be_read_is_named_and_the_rest_is_simulated(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.open(photos / "cat.png").resize((96, 64)).save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2 - 2) + whole[-2:])
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "again").symlink_to(".")
    done = CliRunner().invoke(app, ["simulate", str(folder), "-o", str(tmp_path / "work"), "--types", "drs"])
    assert done.exit_code == 1
    assert len(read_manifest(tmp_path / "work" / "manifest.csv")) == 1
    assert "2 paths cannot be read" in done.output
    assert "dangling.jpg: a link to nowhere.jpg" in done.output
    assert "pipe.jpg: a device, pipe or socket" in done.output
    assert "1 photograph failed" in done.output
    assert "half.jpg: this JPEG file is truncated or damaged" in done.output
