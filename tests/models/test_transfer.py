"""Finetuning: which weights are taken over, which stay as they are, and when a start is refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from derain.errors import CheckpointError
from derain.models import zoo
from derain.models.checkpoints import CheckpointHeader, save_checkpoint
from derain.models.find import find_checkpoint, shipped_weights
from derain.models.transfer import start_from, transfer

NARROW = {"widths": (16, 16, 16, 16), "encoder_blocks": (1, 1, 1, 1), "decoder_blocks": (1, 1, 1)}
DEEPER = NARROW | {"encoder_blocks": (1, 1, 2, 1)}


def network(seed: int, changes: dict[str, object]) -> nn.Module:
    torch.manual_seed(seed)
    return zoo.build("tiny", changes)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    other = network(0, NARROW)
    header = CheckpointHeader(model="tiny", settings=other.settings.model_dump(mode="json"))
    save_checkpoint(path, other, header)
    return path


def test_the_same_network_takes_everything(saved: Path) -> None:
    module = network(1, NARROW)
    report = start_from(module, "tiny", saved)
    assert (report.share, report.fresh, report.unused) == (1.0, (), ())
    assert report.taken == tuple(module.state_dict())
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(module.eval()(image), network(0, NARROW).eval()(image))


def test_a_deeper_network_takes_what_it_shares_and_names_the_rest(saved: Path) -> None:
    module, untouched = network(1, DEEPER), network(1, DEEPER).state_dict()
    source = network(0, NARROW).state_dict()
    report = start_from(module, "tiny", saved)
    assert report.fresh
    assert {name.split(".")[:3][0] for name in report.fresh} == {"encoder"}
    assert set(report.taken) | set(report.fresh) == set(untouched)
    after = module.state_dict()
    assert all(torch.equal(after[name], source[name]) for name in report.taken)
    assert all(torch.equal(after[name], untouched[name]) for name in report.fresh)
    values = sum(source[name].numel() for name in report.taken)
    assert report.share == pytest.approx(values / sum(value.numel() for value in untouched.values()))
    assert f"{len(report.fresh)} fresh: {report.fresh[0]}, " in report.sentence()
    assert report.sentence().startswith(f"{len(report.taken)} weights taken (")


def test_weights_without_a_place_are_named_as_unused() -> None:
    module = network(1, NARROW)
    report = transfer(module, network(0, DEEPER).state_dict())
    assert report.share == 1.0
    assert report.fresh == ()
    assert set(report.unused) == network(0, DEEPER).state_dict().keys() - module.state_dict().keys()


def test_the_share_counts_values_not_names_and_half_is_enough() -> None:
    def layers(middle: int) -> nn.Module:
        return nn.ModuleDict({"a": nn.Linear(4, 4, bias=False), "b": nn.Linear(1, middle, bias=False)})

    assert transfer(layers(16), {"a.weight": torch.zeros(4, 4)}).share == 0.5
    module = layers(17)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = {"a.weight": torch.zeros(4, 4), "b.weight": torch.zeros(2, 1)}
    with pytest.raises(CheckpointError, match=r"got 48.5 % \(1 of 2 weights.*b.weight is \(17, 1\) here and \(2, 1\)"):
        transfer(module, state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_values_keep_the_modules_type_and_are_copied() -> None:
    module = nn.Linear(2, 2).half()
    state = {"weight": torch.full((2, 2), 3.0), "bias": torch.ones(2)}
    transfer(module, state)
    state["weight"].zero_()
    assert module.weight.dtype is torch.float16
    assert module.weight.eq(3).all()
    assert module.weight.requires_grad


def test_a_wider_network_is_refused_with_the_first_difference(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"small\.safetensors: wanted weights of which 50 %.* here and "):
        start_from(network(1, NARROW | {"widths": (32, 32, 32, 32)}), "tiny", saved)


def test_a_model_of_another_name_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"wanted weights of model 'small' to start from, got 'tiny'"):
        start_from(network(1, NARROW), "small", saved)


def test_shipped_names_and_folders_of_runs_and_publications_are_found(saved: Path, tmp_path: Path) -> None:
    assert find_checkpoint("tiny") == shipped_weights()["tiny"]
    for place in ("run/checkpoints/best.safetensors", "published/model.safetensors"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_bytes(saved.read_bytes())
    assert find_checkpoint(tmp_path / "run") == tmp_path / "run/checkpoints/best.safetensors"
    assert find_checkpoint(tmp_path / "run/checkpoints") == tmp_path / "run/checkpoints/best.safetensors"
    assert start_from(network(1, NARROW), "tiny", tmp_path / "published").share == 1.0
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty: a folder without weights; looked for .*checkpoints/best"):
        find_checkpoint(tmp_path / "empty")
