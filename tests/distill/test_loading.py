import hashlib
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_blip, tiny_clip, tiny_qwen2

from derain.backends.batching import same_shape_batches
from derain.backends.loading import (
    choose_placement,
    find_model,
    folder_digest,
    load_network,
    load_part,
    parse_model,
)
from derain.errors import ModelError, SettingsError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def no_network(monkeypatch):
    """Nothing may even ask for a name's address."""

    def refuse(*arguments, **_):
        raise AssertionError(f"the network was asked: {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """The hub's cache with one model in it, and no way to the hub."""
    repository = tmp_path / "hub" / "models--owner--tiny-clip"
    shutil.copytree(tiny_clip(), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return repository


@pytest.fixture
def copied(tmp_path):
    """A copy of a model that may be damaged."""
    return Path(shutil.copytree(tiny_qwen2(), tmp_path / "copied"))


def networks(folder, name="Qwen2ForCausalLM", kinds=()):
    import transformers

    return load_network(getattr(transformers, name), find_model(str(folder), kinds=kinds), choose_placement("cpu"))


@pytest.mark.parametrize(
    ("text", "model", "revision"),
    [
        ("owner/name", "owner/name", None),
        ("owner/name@v1.0", "owner/name", "v1.0"),
        ("owner/name@refs/pr/4", "owner/name", "refs/pr/4"),
        ("some/folder", "some/folder", None),
    ],
)
def test_a_model_is_named_with_or_without_a_revision(text, model, revision):
    assert parse_model(text) == (model, revision)


def test_a_folder_may_have_an_at_sign_in_its_name(tmp_path):
    folder = tmp_path / "models@home"
    folder.mkdir()
    assert parse_model(str(folder)) == (str(folder), None)


@pytest.mark.parametrize("text", ["", "@main", "owner/name@", " "])
def test_half_a_name_is_refused(text):
    with pytest.raises(SettingsError, match="wanted MODEL or MODEL@REVISION"):
        parse_model(text)


def test_a_cpu_computes_in_float32():
    placement = choose_placement("cpu")
    assert (placement.device.type, placement.dtype, placement.rows) == ("cpu", torch.float32, 1)
    assert choose_placement("cpu", rows=5).rows == 5


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(SettingsError, match=r"use auto"):
        choose_placement(device)


def test_batches_of_no_rows_are_refused():
    with pytest.raises(SettingsError, match="at least 1 row, got 0"):
        choose_placement("cpu", rows=0)


@pytest.mark.usefixtures("no_network")
def test_a_folder_is_known_by_the_bytes_of_its_files(copied):
    before = find_model(str(copied))
    assert before.revision == f"sha256:{folder_digest(copied)[:16]}"
    assert (before.name, before.model_type) == ("copied", "qwen2")
    (copied / "notes.md").write_text("read by nobody")
    assert find_model(str(copied)).revision == before.revision
    with (copied / "tokenizer.json").open("a") as file:
        file.write("\n")
    assert find_model(str(copied)).revision != before.revision


def test_the_digest_is_that_of_names_and_contents(tmp_path):
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    lines = [
        f"config.json\0{hashlib.sha256(b'{}').hexdigest()}\n",
        f"model.safetensors\0{hashlib.sha256(b'weights').hexdigest()}\n",
    ]
    assert folder_digest(tmp_path) == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.usefixtures("hub_cache", "no_network")
def test_a_name_on_the_hub_comes_from_the_cache_at_its_commit():
    source = find_model("owner/tiny-clip")
    assert (source.name, source.revision, source.model_type) == ("owner/tiny-clip", COMMIT, "clip")
    assert find_model("owner/tiny-clip", COMMIT) == source
    network = networks(source.folder, "CLIPModel")
    assert network.config.projection_dim == 24
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.training


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize(("model", "revision"), [("owner/other", None), ("owner/tiny-clip", "v2")])
def test_what_the_cache_lacks_cannot_be_had_offline(model, revision):
    with pytest.raises(ModelError, match=r"not in the hub's cache.*hf download.*or name a folder"):
        find_model(model, revision)


def test_a_hub_that_does_not_answer_is_told_from_a_model_that_is_not_there():
    """In a process of its own, for the hub's address is read when its package is imported."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        program = (
            "from derain.backends.loading import find_model\n"
            "from derain.errors import ModelError\n"
            "try:\n    find_model('owner/name')\n"
            "except ModelError as error:\n    print(error)\n"
        )
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={"HF_ENDPOINT": address, "HF_HOME": "/nonexistent", "PATH": "", "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            check=True,
        )
    assert "not in the hub's cache, and no answer from the hub" in run.stdout


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("model", ["/no/such/folder", "a/b/c", "owner/na me", "./folder"])
def test_neither_a_folder_nor_a_name_is_refused(model):
    with pytest.raises(ModelError, match="no such folder, nor the name of a model"):
        find_model(model)


def test_a_folder_has_no_revisions():
    with pytest.raises(ModelError, match="a folder, which has no revisions; leave @main out"):
        find_model(str(tiny_clip()), "main")


def test_another_kind_of_model_is_refused_before_it_is_loaded():
    with pytest.raises(ModelError, match="a model of the kind 'qwen2'; wanted blip"):
        find_model(str(tiny_qwen2()), kinds=("blip",))


def test_a_folder_without_a_configuration_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"without a config\.json"):
        find_model(str(tmp_path))


def test_pickles_are_not_loaded(copied):
    torch.save({}, copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors, and weights of other kinds are not loaded"):
        find_model(str(copied))


def test_weights_that_are_missing_are_not_drawn_at_random(copied):
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 of its weights are missing, the first is model\.layers\.1\.mlp"):
        networks(copied)


def test_truncated_weights_are_refused(copied):
    whole = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        networks(copied)


def test_weights_of_another_size_are_refused(copied):
    configuration = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(configuration | {"intermediate_size": 40}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        networks(copied)


def test_a_broken_tokenizer_is_refused(copied):
    from transformers import AutoTokenizer

    (copied / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_part(AutoTokenizer, find_model(str(copied)))


def test_code_that_comes_with_a_model_is_never_run(copied):
    configuration = json.loads((copied / "config.json").read_text())
    own = {"model_type": "own-kind", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Network"}}
    (copied / "config.json").write_text(json.dumps(configuration | own))
    (copied / "own.py").write_text(f"open({str(copied / 'ran')!r}, 'w')\nclass Config: pass\nclass Network: pass\n")
    with pytest.raises(ModelError, match="it needs code of its own, which is never run"):
        networks(copied, "AutoModelForCausalLM")
    assert not (copied / "ran").exists()


def test_tied_weights_are_not_taken_for_missing():
    """BLIP's decoder shares its words' matrix with its output, and only one of the two is in the file."""
    network = networks(tiny_blip(), "BlipForConditionalGeneration", kinds=("blip",))
    assert network.text_decoder.cls.predictions.decoder.weight.std() > 0.2


@pytest.mark.parametrize(
    ("lengths", "rows", "step"), [([3, 9, 3, 8, 17, 1], 2, 8), ([1] * 7, 4, 1), ([5], 8, 8), ([], 3, 1)]
)
def test_batches_cover_every_item_once_in_one_shape(lengths, rows, step):
    batches = same_shape_batches(lengths, rows, step)
    assert sorted(item for batch in batches for item in batch.items) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch.rows) == rows
        assert batch.rows[: len(batch.items)] == batch.items
        assert batch.length % step == 0
        assert all(batch.length - step < lengths[item] <= batch.length for item in batch.items)
