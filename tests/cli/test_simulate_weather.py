"""Snow and haze on the command line, from photographs to a table of results."""

from pathlib import Path

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
