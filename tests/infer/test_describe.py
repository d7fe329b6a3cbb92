import os

import pytest

import derain
from derain.errors import CheckpointError, ImageError
from derain.infer.describe import describe_model, describe_photo, names_model
from derain.models.checkpoints import load_checkpoint


def test_a_checkpoint_is_described_by_its_header_and_its_network(checkpoint):
    facts = describe_model(str(checkpoint))
    network, _ = load_checkpoint(checkpoint)
    assert facts.name == "tiny"
    assert facts.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert facts.macs > 1e6
    assert facts.settings["widths"] == (8, 16, 16, 24)
    assert facts.header is not None
    assert facts.header.metrics == {"psnr.drs": 24.5}


def test_a_network_without_weights_is_described_too():
    facts = describe_model("small")
    assert facts.weights is None
    assert facts.header is None
    assert facts.parameters > 1e6


def test_a_photo_is_described_with_its_routing(checkpoint, photos):
    restorer = derain.load(checkpoint, device="cpu")
    facts = describe_photo(photos / "cat.png", restorer)
    assert (facts.width, facts.height, facts.bit_depth, facts.is_grey, facts.has_alpha) == (226, 150, 8, False, False)
    assert [mixture.mixture for mixture in facts.routing] == list(restorer.mixture_names)
    assert describe_photo(photos / "cat.png").routing is None


def test_models_and_photos_are_distinguished():
    assert names_model("full")
    assert names_model("runs/best.safetensors")
    assert names_model("net.PTH")
    assert names_model("owner/name")
    assert not names_model("holiday/tiny.jpg")


def test_what_is_neither_is_refused(tmp_path):
    with pytest.raises(CheckpointError):
        describe_model(str(tmp_path / "none.safetensors"))
    with pytest.raises(ImageError):
        describe_photo(tmp_path / "none.jpg")


def test_a_pipe_is_refused_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert not names_model(str(tmp_path / "pipe.jpg"))
    with pytest.raises(ImageError, match="pipe"):
        describe_photo(tmp_path / "pipe.jpg")


def test_what_a_restored_photograph_would_not_keep_is_named(photos):
    photo = photos / "trip" / "coffee.jpg"
    assert describe_photo(photo).warnings == ()
    photo.write_bytes(photo.read_bytes() + b"\0\0\0\x18ftypmp42" + bytes(2000))
    assert "motion photo" in describe_photo(photo).warnings[0]
