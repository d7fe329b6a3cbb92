"""What every network of the list does, whatever is inside it: from one forward pass to a published file."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor, nn

import derain
from derain.errors import SettingsError
from derain.evaluate.scoring import score_pair
from derain.imaging.io import to_tensor
from derain.imaging.metrics import Protocol
from derain.infer.describe import describe_model, describe_photo
from derain.infer.files import FileRun, Status
from derain.infer.plan import plan_jobs
from derain.infer.restore import Restorer
from derain.infer.runtimes import TorchRuntime
from derain.models import zoo
from derain.models.checkpoints import CheckpointHeader, load_checkpoint, save_checkpoint
from derain.models.transfer import start_from
from references.networks import NAMES, reduced

ASTRONAUT = skimage.data.astronaut()


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def saved(name: str, tmp_path: Path) -> Path:
    network = reduced(name)
    path = tmp_path / "weights.safetensors"
    settings = network.settings.model_dump(mode="json")
    save_checkpoint(path, network, CheckpointHeader(model=name, settings=settings, licence="MIT"))
    return path


def pictures(batch: int, height: int, width: int) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def restorer_of(network: nn.Module, tile: int = 2048) -> Restorer:
    return Restorer(TorchRuntime(network, "cpu", "fp32"), CheckpointHeader(model="any"), tile)


@pytest.mark.parametrize("factors", [(1, 1), (3, 5), (7, 2)])
def test_the_output_has_the_size_of_the_input(name: str, factors: tuple[int, int]) -> None:
    network = reduced(name)
    image = pictures(1, factors[0] * network.size_multiple, factors[1] * network.size_multiple)
    assert network(image).shape == image.shape


@pytest.mark.parametrize("size", [(1, 1), (31, 37), (101, 64), (17, 200)])
def test_a_restorer_takes_any_size_and_pads_it(name: str, size: tuple[int, int]) -> None:
    network = reduced(name)
    pixels = np.ascontiguousarray(ASTRONAUT[: size[0], : size[1]])
    restored = restorer_of(network)(pixels)
    assert restored.shape == pixels.shape
    assert restored.dtype == np.uint8
    assert not np.array_equal(restored, pixels)


def test_gradients_reach_every_parameter(name: str) -> None:
    network = reduced(name).double().train()
    network(pictures(4, 32, 32).double()).square().mean().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    # Of a router with one expert the softmax is constant; everything else must move.
    still = [n for n, p in network.named_parameters() if p.grad is not None and not p.grad.any()]
    assert all("router" in n or "experts" in n for n in still)


def test_pictures_of_a_batch_do_not_see_each_other(name: str) -> None:
    network = reduced(name).double()
    batch = pictures(3, 32, 32).double()
    alone = torch.cat([network(batch[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(batch), alone, rtol=0, atol=1e-10)


def test_the_form_for_inference_gives_the_same_and_leaves_the_network_as_it_is(name: str) -> None:
    network = reduced(name).double().train()
    batch = pictures(2, 32, 48).double()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    ready = network.for_inference()
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not ready.training
    assert not any(parameter.requires_grad for parameter in ready.parameters())
    torch.testing.assert_close(ready(batch), network.eval()(batch), rtol=0, atol=1e-10)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_channels_last_changes_nothing(name: str) -> None:
    network = reduced(name).double()
    batch = pictures(2, 32, 32).double()
    expected = network(batch)
    got = network.to(memory_format=torch.channels_last)(batch.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_bfloat16_stays_close_to_float32(name: str) -> None:
    network = reduced(name)
    image = pictures(1, 64, 64)
    with torch.inference_mode():
        expected = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            got = network(image)
    assert got.dtype == torch.float32
    assert (got - expected).abs().mean() < 0.02 * (expected - image).abs().mean() + 1e-4


def test_what_is_saved_is_loaded_and_can_be_started_from(name: str, saved: Path) -> None:
    network, header = load_checkpoint(saved)
    image = pictures(1, 32, 48)
    assert torch.equal(network(image), reduced(name)(image))
    assert (header.model, network.settings) == (name, reduced(name).settings)
    other = zoo.build(name, header.settings)
    assert start_from(other, name, saved).share == 1
    assert torch.equal(other.eval()(image), network(image))


def test_tiles_stay_near_the_picture_in_one_piece(name: str) -> None:
    network, image = reduced(name), to_tensor(ASTRONAUT[:128, :288])
    whole, tiled = restorer_of(network)(image), restorer_of(network, tile=192)(image)
    assert not torch.equal(whole, tiled)
    # Attention over channels sums over all pixels that it is given, and is not shared between tiles.
    assert (tiled - whole).abs().mean() < 0.3 * (whole - image).abs().mean()


def test_a_benchmark_scores_it(name: str) -> None:
    image = to_tensor(np.ascontiguousarray(ASTRONAUT[:61, :67]))
    score = score_pair(restorer_of(reduced(name)), image, image, Protocol.UNIRAIN)
    assert score.input_psnr > score.output_psnr > 0


def test_its_weights_restore_a_file_and_are_described_and_published(
    name: str, saved: Path, photos: Path, tmp_path: Path
) -> None:
    restorer = derain.load(saved, device="cpu", precision="fp32")
    outcomes = list(FileRun(restorer, plan_jobs([photos / "cat.png"], tmp_path / "out").jobs))
    assert [outcome.status for outcome in outcomes] == [Status.RESTORED]

    facts = describe_model(str(saved))
    assert (facts.name, facts.source) == (name, zoo.MODELS[name].source)
    assert facts.parameters == sum(parameter.numel() for parameter in reduced(name).parameters())
    assert 0 < facts.inference_macs <= facts.macs
    routing = describe_photo(photos / "cat.png", restorer).routing
    assert routing is not None
    assert [mixture.mixture for mixture in routing] == list(restorer.mixture_names)

    folder = derain.save_pretrained(saved, tmp_path / "published")
    assert name in (folder / "README.md").read_text()
    again = derain.from_pretrained(folder, device="cpu", precision="fp32")
    pixels = np.ascontiguousarray(ASTRONAUT[:50, :70])
    np.testing.assert_array_equal(again(pixels), restorer(pixels))


def test_an_unknown_model_or_setting_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="full, small, tiny"):
        zoo.build("huge")
    with pytest.raises(SettingsError, match="did you mean 'widths'"):
        zoo.build("tiny", {"width": 3})


def test_the_plain_baseline_costs_what_tiny_costs() -> None:
    tiny, baseline = describe_model("tiny"), describe_model("unet-tiny")
    assert baseline.macs == pytest.approx(tiny.macs, rel=0.05)
    assert baseline.parameters == pytest.approx(tiny.parameters, rel=0.15)
