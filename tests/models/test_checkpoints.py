"""Weights on disk: what is written comes back, and whatever else lies there is refused with one clear error."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from derain.errors import CheckpointError
from derain.models import zoo
from derain.models.checkpoints import (
    CheckpointHeader,
    find_checkpoint,
    load_checkpoint,
    load_foreign,
    read_header,
    save_checkpoint,
)

NARROW = {"widths": (16, 16, 16, 16), "encoder_blocks": (1, 1, 1, 1), "decoder_blocks": (1, 1, 1)}


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return zoo.build("tiny", NARROW).eval()


@pytest.fixture
def saved(network: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    settings_ = network.settings.model_dump()
    save_checkpoint(path, network, CheckpointHeader(model="tiny", settings=settings_, metrics={"psnr.drs": 27.5}))
    return path


def test_a_loaded_network_gives_the_saved_ones_answers(network: nn.Module, saved: Path) -> None:
    loaded, header = load_checkpoint(saved)
    image = torch.rand(1, 3, 32, 48)
    assert torch.equal(loaded(image), network(image))
    assert header.model == "tiny"
    assert header.metrics == {"psnr.drs": 27.5}
    assert not loaded.training
    assert saved.stat().st_mode & 0o444 == 0o444
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_half_precision_storage_halves_the_file(network: nn.Module, saved: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    save_checkpoint(half, network, read_header(saved), dtype="float16")
    assert half.stat().st_size < 0.6 * saved.stat().st_size
    image = torch.rand(1, 3, 32, 32)
    assert (load_checkpoint(half)[0](image) - network(image)).abs().max() < 1e-3


@given(keep=st.floats(0.0, 0.999))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_file_is_one_clear_error(saved: Path, keep: float) -> None:
    whole = saved.read_bytes()
    cut = saved.with_name("cut.safetensors")
    cut.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
        load_checkpoint(cut)


def test_a_flipped_header_byte_is_refused_not_crashed_on(saved: Path) -> None:
    broken = bytearray(saved.read_bytes())
    broken[0] ^= 0xFF
    saved.write_bytes(bytes(broken))
    with pytest.raises(CheckpointError):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda header: header | {"model": "huge"}, "huge"),
        (lambda header: header | {"settings": {"widths": [16, 16, 16]}}, "settings do not fit"),
        (lambda header: header | {"settings": NARROW | {"experts": [0, 1, 1, 1]}}, "settings do not fit"),
        (lambda header: header | {"settings": NARROW | {"widths": [16, 16, 32, 16]}}, "should be"),
        (lambda header: header | {"settings": NARROW | {"encoder_blocks": [2, 1, 1, 1]}}, "missing"),
        (lambda header: header | {"settings": NARROW | {"decoder_routing": "none"}}, "not of this network"),
        (lambda header: header | {"from_the_future": 1}, "newer"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(saved: Path, spoil: object, reason: str) -> None:
    header = json.loads(read_header(saved).model_dump_json())
    save_file(load_file(saved), saved, metadata={"derain": json.dumps(spoil(header))})  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(saved)


def test_foreign_and_missing_files_are_named(tmp_path: Path, network: nn.Module) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file(network.state_dict(), foreign)
    with pytest.raises(CheckpointError, match="another program"):
        load_checkpoint(foreign)
    with pytest.raises(CheckpointError, match="no such"):
        load_checkpoint(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match="nor a shipped model"):
        find_checkpoint("tiniest")


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path, network: nn.Module) -> None:
    next(network.parameters()).data[0] = torch.nan
    with pytest.raises(CheckpointError, match="not finite"):
        save_checkpoint(tmp_path / "bad.safetensors", network, CheckpointHeader(model="tiny"))
    assert list(tmp_path.iterdir()) == []


class _Attack:
    """A pickle that would run code when loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("ran"),))


def test_foreign_pth_files_are_read_without_running_pickle(tmp_path: Path) -> None:
    network = zoo.build("tiny")
    path = tmp_path / "foreign.pth"
    torch.save({"params": {f"module.{k}": v for k, v in network.state_dict().items()}}, path)
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(load_foreign(path, "tiny")(image), network.eval()(image))
    torch.save({"params": _Attack()}, path)
    with pytest.raises(CheckpointError, match="never run"):
        load_foreign(path, "tiny")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="refused"):
        load_foreign(path, "tiny")
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="wanted a mapping"):
        load_foreign(path, "tiny")


@pytest.mark.parametrize("name", ["foreign.pth", "foreign.PT"])
def test_a_foreign_file_is_told_its_way_in(tmp_path: Path, network: nn.Module, name: str) -> None:
    torch.save(network.state_dict(), tmp_path / name)
    with pytest.raises(CheckpointError, match=r"load_foreign.*save_checkpoint"):
        load_checkpoint(tmp_path / name)
