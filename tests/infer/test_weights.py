import pytest

from derain.errors import CheckpointError
from derain.infer.weights import find_weights


def test_a_run_and_its_state_are_answered_with_its_best_weights(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("last.pt", "best.safetensors"):
        (folder / name).write_bytes(b"x")
    for given in (folder / "last.pt", folder, tmp_path):
        with pytest.raises(CheckpointError, match=r"checkpoints/best\.safetensors"):
            find_weights(given)
    with pytest.raises(CheckpointError, match="--resume"):
        find_weights(folder / "last.pt")
    assert find_weights(folder / "best.safetensors") == folder / "best.safetensors"


def test_a_network_without_shipped_weights_is_answered_by_name():
    with pytest.raises(CheckpointError, match="full has no shipped weights"):
        find_weights("full")
