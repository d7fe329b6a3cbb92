"""A folder of published weights: what lies in it, that it is loaded again; broken weights are not published."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from derain.errors import CheckpointError
from derain.models import zoo
from derain.models.checkpoints import CheckpointHeader, load_checkpoint, read_header, save_checkpoint, with_header
from derain.models.publication import prepare

NARROW_FULL = {
    "width": 8,
    "encoder_blocks": (1, 1, 1, 1),
    "decoder_blocks": (1, 1, 1),
    "refinement_blocks": 1,
    "experts": (2, 2, 2, 1),
}


def save_random(path: Path, model: str, changes: dict[str, object] | None = None) -> nn.Module:
    torch.manual_seed(3)
    network = zoo.build(model, changes)
    header = CheckpointHeader(model=model, settings=network.settings.model_dump(mode="json"), metrics={"drs.psnr": 25})
    save_checkpoint(path, network, header)
    return network.eval()


@pytest.mark.parametrize(("model", "changes"), [("tiny", None), ("full", NARROW_FULL)])
def test_weights_come_back_from_a_folder(tmp_path, model, changes):
    network = save_random(tmp_path / "own.safetensors", model, changes)
    prepare(tmp_path / "own.safetensors").write(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    again, header = load_checkpoint(tmp_path / "out" / "model.safetensors")
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(again(image), network(image))
    assert header == read_header(tmp_path / "own.safetensors")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["library_name"] == "derain"
    assert config["model"] == model
    assert config["settings"] == network.settings.model_dump(mode="json")
    assert config["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert config["metrics"] == {"drs.psnr": 25}


def test_the_shipped_weights_are_published_as_they_are_with_their_card(tmp_path):
    publication = prepare("tiny")
    publication.write(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == publication.weights.read_bytes()
    card = (tmp_path / "README.md").read_text()
    assert "CC BY-NC 4.0, academic" in card, "the text beside the weights"
    assert publication.header.licence in card
    assert "Unknown" not in card


def test_a_stated_licence_goes_into_the_weights_too(tmp_path):
    save_random(tmp_path / "own.safetensors", "full", NARROW_FULL)
    prepare(tmp_path / "own.safetensors", licence="CC0-1.0").write(tmp_path / "out")
    written = tmp_path / "out" / "model.safetensors"
    assert read_header(written).licence == "CC0-1.0"
    assert read_header(tmp_path / "own.safetensors").licence == ""
    before, after = load_file(tmp_path / "own.safetensors"), load_file(written)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items())
    assert "license: cc0-1.0\n" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["licence"] == "CC0-1.0"


def test_a_published_folder_keeps_its_card_as_it_was_edited(tmp_path):
    save_random(tmp_path / "own.safetensors", "full", NARROW_FULL)
    first, second = tmp_path / "first", tmp_path / "second"
    prepare(tmp_path / "own.safetensors").write(first)
    edited = (first / "README.md").read_text() + "\nEdited by hand.\n"
    (first / "README.md").write_text(edited)
    prepare(first).write(second)
    assert (second / "README.md").read_text() == edited
    prepare(first).write(first)  # onto itself
    assert (first / "README.md").read_text() == edited
    assert load_checkpoint(first / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"README\.md: a finished model card.* another licence"):
        prepare(first, licence="MIT")
    (tmp_path / "text.md").write_text("Anew.\n")
    prepare(first, card=tmp_path / "text.md", licence="MIT").write(first)
    anew = (first / "README.md").read_text()
    assert anew.endswith("\n\nAnew.\n")
    assert "license: mit\n" in anew
    assert read_header(first / "model.safetensors").licence == "MIT"


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_what_is_not_ours_is_never_written_over(tmp_path, name):
    save_random(tmp_path / "own.safetensors", "full", NARROW_FULL)
    (tmp_path / "card.md").write_text("Text.\n")
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("somebody's work")
    for card in (None, tmp_path / "card.md"):
        with pytest.raises(CheckpointError, match=rf"out: holds {name}, but no model\.safetensors of derain's"):
            prepare(tmp_path / "own.safetensors", card=card).write(out)
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, "somebody's work")]


def test_other_weights_replace_a_card_that_nobody_edited_and_no_other(tmp_path):
    save_random(tmp_path / "one.safetensors", "full", NARROW_FULL)
    header = read_header(tmp_path / "one.safetensors")
    better = header.model_copy(update={"step": 7})
    with_header(tmp_path / "one.safetensors", tmp_path / "two.safetensors", better)
    out = tmp_path / "out"
    prepare(tmp_path / "one.safetensors").write(out)
    prepare(tmp_path / "two.safetensors").write(out)
    assert read_header(out / "model.safetensors") == better
    assert "| optimiser steps | 7 |" in (out / "README.md").read_text()

    edited = (out / "README.md").read_text() + "\nEdited by hand.\n"
    (out / "README.md").write_text(edited)
    prepare(out).write(out)  # keeps the card, and that it is an edited one is not forgotten
    (tmp_path / "card.md").write_text("Text.\n")
    prepare(out).write(tmp_path / "copy")
    for folder in (out, tmp_path / "copy"):
        with pytest.raises(CheckpointError, match=r"README\.md: was edited .*--card"):
            prepare(tmp_path / "one.safetensors").write(folder)
        assert (folder / "README.md").read_text() == edited
        assert read_header(folder / "model.safetensors") == better
        prepare(tmp_path / "one.safetensors", card=tmp_path / "card.md").write(folder)
        assert (folder / "README.md").read_text().endswith("\n\nText.\n")
        assert read_header(folder / "model.safetensors") == header


def test_an_edited_card_cannot_contradict_the_weights(tmp_path):
    save_random(tmp_path / "own.safetensors", "full", NARROW_FULL)
    out = tmp_path / "out"
    prepare(tmp_path / "own.safetensors", licence="CC-BY-4.0").write(out)
    card = (out / "README.md").read_text()
    (out / "README.md").write_text(card.replace("license: cc-by-4.0", "license: mit"))
    with pytest.raises(CheckpointError, match=r"its license is 'mit', the weights' header says 'CC-BY-4\.0'"):
        prepare(out)


def test_a_text_that_contradicts_the_weights_is_refused_before_anything_is_made(tmp_path):
    save_random(tmp_path / "own.safetensors", "full", NARROW_FULL)
    (tmp_path / "own.md").write_text("---\nlicense: mit\n---\nText.\n")
    with pytest.raises(CheckpointError, match="its license is 'mit'"):
        prepare(tmp_path / "own.safetensors", licence="CC0-1.0")
    assert prepare(tmp_path / "own.safetensors", licence="MIT").text


def test_broken_weights_and_cards_are_refused_before_anything_is_written(tmp_path):
    path, out = tmp_path / "own.safetensors", tmp_path / "out"
    save_random(path, "full", NARROW_FULL)
    (tmp_path / "card.md").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"card\.md: cannot be read as the model card"):
        prepare(path, card=tmp_path / "card.md")
    with pytest.raises(CheckpointError, match=r"missing\.md"):
        prepare(path, card=tmp_path / "missing.md")
    (tmp_path / "own.md").write_text("---\n- list\n---\n")
    with pytest.raises(CheckpointError, match="front matter"):
        prepare(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        prepare(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="another program"):
        prepare(path)
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CheckpointError, match="taken: cannot be written"):
        prepare("tiny").write(tmp_path / "taken")


def test_terms_that_a_folder_states_hold_on_for_weights_that_state_none(tmp_path):
    save_random(tmp_path / "one.safetensors", "full", NARROW_FULL)
    header = read_header(tmp_path / "one.safetensors")
    with_header(tmp_path / "one.safetensors", tmp_path / "two.safetensors", header.model_copy(update={"step": 7}))
    free = header.model_copy(update={"licence": "MIT"})
    with_header(tmp_path / "one.safetensors", tmp_path / "free.safetensors", free)
    out = tmp_path / "out"
    prepare(tmp_path / "one.safetensors", licence="CC-BY-4.0", folder=out).write(out)
    again = prepare(tmp_path / "two.safetensors", folder=out)
    assert again.keeps_licence
    again.write(out)
    written = read_header(out / "model.safetensors")
    assert (written.licence, written.step) == ("CC-BY-4.0", 7)
    assert "license: cc-by-4.0\n" in (out / "README.md").read_text()
    with pytest.raises(CheckpointError, match=r"states the licence 'CC-BY-4\.0', .* state 'MIT'; say which"):
        prepare(tmp_path / "free.safetensors", folder=out)
    other = prepare(tmp_path / "free.safetensors", licence="MIT", folder=out)
    assert not other.keeps_licence
    other.write(out)
    assert read_header(out / "model.safetensors").licence == "MIT"
    assert not prepare(out, folder=out).keeps_licence
