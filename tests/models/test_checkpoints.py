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
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from derain.models.find import find_checkpoint

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


def test_foreign_and_missing_files_are_named(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"conv.weight": torch.zeros(2)}, foreign)
    with pytest.raises(CheckpointError, match=r"another program's weights, 1 tensors such as conv\.weight"):
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


@pytest.mark.parametrize("wrap", [lambda state: {"params": {f"module.{k}": v for k, v in state.items()}}, dict])
@pytest.mark.parametrize("name", ["tiny", "unet-tiny"])
def test_a_state_dict_of_a_usual_network_is_loaded_whatever_its_ending(tmp_path: Path, name: str, wrap: object) -> None:
    network = zoo.build(name)
    path = tmp_path / "ours.pth"
    torch.save(wrap(network.state_dict()), path)  # type: ignore[operator]
    image = torch.rand(1, 3, 16, 16)
    loaded, header = load_checkpoint(path)
    assert torch.equal(loaded(image), network.eval()(image))
    assert header.model == name


def test_a_checkpoint_is_known_by_its_content(tmp_path: Path, saved: Path) -> None:
    for name in ("weights.pth", "weights.ckpt", "weights"):
        (tmp_path / name).write_bytes(saved.read_bytes())
        assert load_checkpoint(tmp_path / name)[1] == read_header(saved)


def test_a_state_dict_with_other_settings_is_named(tmp_path: Path, network: nn.Module) -> None:
    torch.save(network.state_dict(), tmp_path / "narrow.pt")
    with pytest.raises(CheckpointError, match=r"UniRainTiny .* other settings"):
        load_checkpoint(tmp_path / "narrow.pt")


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pth"
    torch.save({"params": _Attack()}, path)
    with pytest.raises(CheckpointError, match="never run"):
        load_checkpoint(path)
    assert not Path("ran").exists()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="refused"):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="wanted a mapping"):
        load_checkpoint(path)


# Names of tensors as the authors' programs save them.
PUBLISHED = {
    "Restormer": (
        "patch_embed.proj.weight encoder_level1.0.norm1.body.weight encoder_level1.0.attn.temperature "
        "encoder_level1.0.attn.qkv.weight encoder_level1.0.attn.qkv_dwconv.weight "
        "encoder_level1.0.ffn.dwconv.weight down1_2.body.0.weight latent.0.attn.qkv.weight reduce_chan_level3.weight "
        "refinement.0.attn.temperature output.weight"
    ),
    "PromptIR": (
        "patch_embed.proj.weight prompt1.prompt_param prompt1.linear_layer.weight prompt1.conv3x3.weight "
        "encoder_level1.0.attn.qkv_dwconv.weight encoder_level1.0.ffn.dwconv.weight reduce_chan_level3.weight "
        "noise_level3.norm1.body.weight refinement.0.attn.temperature output.weight"
    ),
    "DRSformer": (
        "patch_embed.proj.weight encoder_level0.layers.0.ca_fc.0.weight encoder_level1.0.attn.attn1 "
        "encoder_level1.0.attn.attn4 encoder_level1.0.attn.qkv_dwconv.weight encoder_level1.0.ffn.dwconv3x3.weight "
        "encoder_level1.0.ffn.dwconv5x5.weight reduce_chan_level3.weight refinement.layers.0.ca_fc.0.weight"
    ),
    "NAFNet": (
        "intro.weight intro.bias ending.weight encoders.0.0.beta encoders.0.0.gamma encoders.0.0.conv1.weight "
        "encoders.0.0.sca.1.weight middle_blks.0.beta ups.0.0.weight downs.0.weight"
    ),
    "MPRNet": (
        "shallow_feat1.0.weight stage1_encoder.encoder_level1.0.CA.conv_du.0.weight "
        "stage3_orsnet.orb1.body.0.CA.conv_du.0.weight sam12.conv1.weight concat12.weight tail.weight"
    ),
    "PReNet": (
        "conv0.0.weight conv0.0.bias res_conv1.0.weight res_conv5.2.weight conv_i.0.weight conv_f.0.weight "
        "conv_g.0.weight conv_o.0.weight conv.0.weight"
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_weights_of_a_published_network_are_named_with_what_opens_them(tmp_path: Path, name: str, ending: str) -> None:
    state = {f"net.{tensor}": torch.zeros(2) for tensor in PUBLISHED[name].split()}
    path = tmp_path / f"downloaded.{ending}"
    if ending == "pth":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        save_file(state, path)
    with pytest.raises(CheckpointError, match=rf"weights of {name}; .*open them with .*github\.com/.*{name}"):
        load_checkpoint(path)


def test_a_file_of_no_weights_is_named(tmp_path: Path) -> None:
    for content in (b"", b"weights", b"\xff\xd8\xff\xe0 a photograph"):
        (tmp_path / "net.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"net\.pth: no weights; wanted a safetensors file"):
            load_checkpoint(tmp_path / "net.pth")
