"""`derain publish`: to a folder, and what it says when it is not clear where to."""

import pytest
from typer.testing import CliRunner

from derain.cli.console import USAGE
from derain.cli.main import app
from derain.models.checkpoints import CheckpointHeader, read_header, save_checkpoint
from derain.models.zoo import build


def publish(*arguments):
    return CliRunner().invoke(app, ["publish", *(str(argument) for argument in arguments)])


def test_weights_with_card_and_licence_go_into_a_folder(checkpoint, tmp_path):
    (tmp_path / "card.md").write_text("Trained on cats.\n")
    out = tmp_path / "out"
    done = publish(checkpoint, out, "--card", tmp_path / "card.md", "--licence", "CC0-1.0")
    assert done.exit_code == 0, done.output
    assert f"written to {out}\n" in done.output
    assert read_header(out / "model.safetensors").licence == "CC0-1.0"
    assert (out / "README.md").read_text().endswith("\n\nTrained on cats.\n")


def test_a_folder_that_exists_comes_before_a_repository(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me" / "rain").mkdir(parents=True)
    done = publish(checkpoint, "me/rain")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "me" / "rain" / "model.safetensors").is_file()


def test_a_run_folder_publishes_its_best_weights(checkpoint, tmp_path):
    best = tmp_path / "run" / "checkpoints" / "best.safetensors"
    best.parent.mkdir(parents=True)
    best.write_bytes(checkpoint.read_bytes())
    assert publish(tmp_path / "run", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == checkpoint.read_bytes()


def test_a_folder_with_a_readme_of_its_own_is_left_alone(checkpoint, tmp_path):
    (tmp_path / "README.md").write_text("My project.\n")
    done = publish(checkpoint, tmp_path, "--licence", "MIT")
    assert done.exit_code == USAGE
    assert "holds README.md, but no model.safetensors of derain's" in done.output
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("README.md", "My project.\n")]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("tiny", "rain"), USAGE, "rain: wanted owner/name for the hub, or ./rain for a new folder"),
        (("tiny", "./rain", "--private"), USAGE, "--private does nothing"),
        (("tiniest", "./rain"), USAGE, "tiniest: no such file or folder, nor a shipped model"),
        (("tiny", "./rain", "--card", "none.md"), USAGE, "none.md: cannot be read as the model card"),
        (("tiniest", "me/rain"), USAGE, "tiniest: no such file or folder, nor a shipped model"),
    ],
)
def test_what_cannot_be_published_is_one_clear_line(arguments, status, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = publish(*arguments)
    assert done.exit_code == status
    assert said in done.output
    assert done.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_terms_stated_before_are_kept_and_printed(tmp_path):
    network = build("tiny", {"widths": [8] * 4, "encoder_blocks": [1] * 4, "decoder_blocks": [1] * 3})
    header = CheckpointHeader(model="tiny", settings=network.settings.model_dump(mode="json"))
    save_checkpoint(tmp_path / "own.safetensors", network, header)
    out = tmp_path / "out"
    assert "kept" not in publish(tmp_path / "own.safetensors", out, "--licence", "CC0-1.0").output
    done = publish(tmp_path / "own.safetensors", out)
    assert done.exit_code == 0, done.output
    assert "licence 'CC0-1.0' kept, as it stood there; --licence states another" in done.output
    assert read_header(out / "model.safetensors").licence == "CC0-1.0"


def test_an_edited_card_is_not_replaced_and_that_is_a_usage_error(checkpoint, tmp_path):
    out = tmp_path / "out"
    assert publish(checkpoint, out).exit_code == 0
    (out / "README.md").write_text((out / "README.md").read_text() + "\nEdited by hand.\n")
    done = publish(checkpoint, out)
    assert (done.exit_code, "was edited since it was written" in done.output) == (USAGE, True), done.output
