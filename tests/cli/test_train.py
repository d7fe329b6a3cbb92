"""`derain train`: a configuration without a command's name beside named commands."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from derain.cli.main import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", *arguments])


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with the log of a run that has begun."""
    folder = tmp_path / "run"
    folder.mkdir()
    rows = [{"kind": "train", "step": step, "loss": 0.1, "loss.drs": 0.1 / step} for step in range(1, 20)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_help_names_the_configuration_its_options_and_the_commands() -> None:
    shown = run("--help").output
    for word in ("Usage: ", "configuration", "--set", "--resume", "plot", "Draw loss"):
        assert word in shown, word
    assert "RUN" in run("plot", "--help").output
    assert "--resume" in run("any.yaml", "--help").output


@pytest.mark.parametrize(
    ("arguments", "configuration"),
    [
        (["absent.yaml"], "absent.yaml"),
        (["--resume", "absent.yaml", "--set", "seed=1"], "absent.yaml"),
        (["--set", "seed=1", "plot"], "plot"),
        (["./plot"], "plot"),
        (["CONFIGURATION"], "CONFIGURATION"),
        (["train"], "train"),
    ],
)
def test_a_first_word_that_is_no_command_is_a_configuration(
    arguments: list[str], configuration: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert (done.exit_code, f"derain: {configuration}: no such file" in done.output) == (2, True), done.output


def test_an_option_that_the_method_does_not_have_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    done = run("tiny", "--set", "method.options.critic=1", "--set", f"run={tmp_path / 'run'}")
    assert (done.exit_code, "method.options: critic: no such setting" in done.output) == (2, True), done.output
    done = run("tiny", "--set", "method.name=supervise")
    assert (done.exit_code, "did you mean 'supervised'?" in done.output) == (2, True), done.output


def test_a_missing_configuration_and_an_unknown_option_are_usage_errors_of_train() -> None:
    for arguments, said in (([], "Missing argument"), (["--bogus", "x.yaml"], "No such option")):
        done = run(*arguments)
        assert done.exit_code == 2
        assert said in done.output
        assert "train [OPTIONS]" in done.output


def test_plot_draws_into_the_runs_folder_and_says_what_it_left_out(trained: Path) -> None:
    done = run("plot", str(trained))
    assert done.exit_code == 0, done.output
    assert f"wrote {trained / 'plots' / 'loss.png'}" in done.output
    assert "left out weights.png: no reweighting in the log" in done.output
    assert (trained / "plots" / "loss.png").stat().st_size > 1000


def test_plot_of_several_runs_goes_where_it_is_told_or_here(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("plot", str(trained), str(trained), "-o", "pictures").exit_code == 0
    assert (tmp_path / "pictures" / "loss.png").exists()
    assert run("plot", "run", "run").exit_code == 0
    assert (tmp_path / "plots" / "loss.png").exists()
    assert not (trained / "plots").exists()


def test_plot_of_what_is_no_run_is_one_clear_line_and_2(tmp_path: Path) -> None:
    for folder, said in ((tmp_path / "absent", "no such folder"), (tmp_path, "no log.jsonl in it")):
        done = run("plot", str(folder))
        assert done.exit_code == 2
        assert said in done.output
        assert done.output.count("\n") == 1
