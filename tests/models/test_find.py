"""Which weights are meant: by name, file, folder or repository."""

import sys
from pathlib import Path

import pytest

from derain.errors import CheckpointError
from derain.models.find import find_checkpoint


def test_a_runs_folder_means_its_best_weights_and_its_state_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("last.pt", "best.safetensors"):
        (folder / name).write_bytes(b"x")
    for given in (folder, tmp_path, folder / "best.safetensors"):
        assert find_checkpoint(given) == folder / "best.safetensors"
    with pytest.raises(CheckpointError, match=r"--resume continues from, not weights; use .*best\.safetensors"):
        find_checkpoint(folder / "last.pt")


def test_a_network_without_shipped_weights_is_answered_by_name() -> None:
    with pytest.raises(CheckpointError, match="full has no shipped weights"):
        find_checkpoint("full")


def test_what_has_the_form_of_a_repository_is_a_path_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "name").write_bytes(b"weights")
    assert find_checkpoint("owner/name") == Path("owner/name")
    with pytest.raises(CheckpointError, match="no such file or folder, nor a shipped model"):
        find_checkpoint("owner/name.safetensors")


def test_a_repository_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "derain.models.hub", raising=False)
    with pytest.raises(CheckpointError, match=r"owner/name: no such file or folder; .*derain\[hub\]"):
        find_checkpoint("owner/name")
