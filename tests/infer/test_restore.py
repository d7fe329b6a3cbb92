from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import skimage.data
import torch

import derain
from derain.errors import CheckpointError, SettingsError
from derain.imaging.io import to_tensor
from derain.imaging.tiling import spans
from derain.infer.restore import TILE_OVERLAP, Restorer, _reduce, _reduce_pixels, fit_tile
from derain.infer.runtimes import Precision, Runtime
from derain.models.checkpoints import load_checkpoint

ASTRONAUT = skimage.data.astronaut()


@pytest.fixture(scope="module")
def whole(checkpoint):
    return derain.load(checkpoint, device="cpu", precision="fp32", tile=2048)


def test_a_restorer_gives_what_its_network_gives(checkpoint, whole):
    network, _ = load_checkpoint(checkpoint)
    image = to_tensor(ASTRONAUT)
    with torch.inference_mode():
        expected = network(image).clamp(0, 1)
    torch.testing.assert_close(whole(image), expected, atol=1e-4, rtol=0)


def test_tiles_agree_with_the_picture_in_one_piece(checkpoint, whole):
    tiled = derain.load(checkpoint, device="cpu", precision="fp32", tile=192)
    image = to_tensor(ASTRONAUT)
    difference = (tiled(image) - whole(image)).abs()
    change = (whole(image) - image).abs()
    assert difference.max() < 0.05 * change.max()
    assert difference.mean() < 0.002 * change.mean()


class Recording:
    """A runtime that records the gates that it is given."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.received = []

    def run(self, image, gates=None):
        self.received.append(gates)
        return self.runtime.run(image, gates)

    def __getattr__(self, name):
        return getattr(self.runtime, name)


def test_every_tile_gets_the_gates_of_the_whole_picture(checkpoint):
    restorer = derain.load(checkpoint, device="cpu", precision="fp32", tile=192)
    recording = Recording(restorer.runtime)
    Restorer(recording, restorer.header, restorer.tile)(ASTRONAUT)
    expected = restorer.gates(ASTRONAUT)
    assert len(recording.received) == 16
    for gates in recording.received:
        for one, wanted in zip(gates, expected, strict=True):
            assert torch.equal(one, wanted)


@pytest.mark.parametrize("tile", [192, 2048])
def test_the_pictures_own_gates_change_nothing_and_anothers_do(checkpoint, tile):
    restorer = derain.load(checkpoint, device="cpu", precision="fp32", tile=tile)
    freely, dark = restorer.restore(ASTRONAUT), np.zeros_like(ASTRONAUT)
    np.testing.assert_array_equal(restorer.restore(ASTRONAUT, restorer.gates(ASTRONAUT)), freely)
    assert not np.array_equal(restorer.restore(ASTRONAUT, restorer.gates(dark)), freely)


def test_gates_of_another_model_are_refused(whole):
    with pytest.raises(SettingsError, match=r"7 mixtures of model 'tiny', got 2"):
        whole.restore(ASTRONAUT, gates=whole.gates(ASTRONAUT)[:2])


def test_arrays_and_tensors_of_one_picture_get_one_result(checkpoint):
    restorer = derain.load(checkpoint, device="cpu", precision="fp32", tile=256)
    from_tensor = restorer(to_tensor(ASTRONAUT))[0].permute(1, 2, 0).numpy() * 255
    np.testing.assert_allclose(restorer(ASTRONAUT), from_tensor, atol=0.51)


def test_bf16_stays_near_fp32(checkpoint, whole):
    bf16 = derain.load(checkpoint, device="cpu", precision="bf16", tile=2048)
    assert bf16.runtime.precision is Precision.BF16
    image = to_tensor(ASTRONAUT)
    difference = (bf16(image) - whole(image)).abs()
    assert 0 < difference.mean() < 2e-3


def test_precision_auto_resolves(checkpoint):
    assert derain.load(checkpoint, device="cpu").runtime.precision in (Precision.FP32, Precision.BF16)


def test_progress_is_reported_tile_by_tile(checkpoint):
    restorer = derain.load(checkpoint, device="cpu", precision="fp32", tile=256)
    calls = []
    restorer.restore(ASTRONAUT, on_tile=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, 9) for i in range(9)]


@pytest.mark.parametrize("size", [(866, 1155), (3000, 4000), (6124, 8165), (1281, 1281), (50, 9000), (1300, 40)])
def test_tiles_are_fitted_to_the_picture(size):
    def computed(tile):
        lengths = [[span.stop - span.start for span in spans(length, tile, TILE_OVERLAP)] for length in size]
        return sum(lengths[0]) * sum(lengths[1])

    tile = fit_tile(*size, largest=1280, multiple=16)
    assert 640 <= tile <= 1280
    assert tile % 16 == 0
    assert computed(tile) == min(computed(other) for other in range(640, 1281, 16))
    assert computed(tile) <= 1.3 * size[0] * size[1]


def test_a_small_picture_keeps_the_largest_tile_and_small_tiles_stay():
    assert fit_tile(100, 100, largest=1280, multiple=16) == 1280
    assert fit_tile(5000, 5000, largest=192, multiple=16) == 192


def test_restoring_twice_gives_the_same(whole):
    np.testing.assert_array_equal(whole(ASTRONAUT), whole(ASTRONAUT))


@pytest.mark.parametrize(
    ("size", "factor"),
    [((1, 1), 1), ((192, 180), 1), ((512, 300), 1), ((760, 10), 1), ((900, 100), 2), ((6000, 8000), 16)],
)
def test_routing_of_tiled_pictures_is_decided_at_about_512_pixels(size, factor, whole):
    tiled = Restorer(whole.runtime, whole.header, tile=192)
    assert tiled._reduction(*size) == factor


def test_a_picture_in_one_tile_is_routed_as_it_is(whole):
    assert whole._reduction(whole.tile, whole.tile) == 1
    assert whole._reduction(4 * whole.tile, 3) > 1


@pytest.mark.parametrize("shape", [(64, 96), (61, 7), (3, 200), (2, 2), (2100, 40)])
@pytest.mark.parametrize("factor", [1, 2, 5])
def test_reducing_pixels_in_bands_is_the_mean_over_blocks(shape, factor):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    reduced = _reduce_pixels(pixels, factor)
    torch.testing.assert_close(reduced, _reduce(to_tensor(pixels), factor))
    block = pixels[:factor, :factor].reshape(-1, 3).mean(axis=0) / 255
    np.testing.assert_allclose(reduced[0, :, 0, 0], block, atol=1e-6)


def test_gates_weigh_the_experts_of_every_mixture(checkpoint):
    restorer = derain.load(checkpoint, device="cpu")
    gates = restorer.gates(ASTRONAUT)
    assert len(gates) == len(restorer.mixture_names) == 7
    for name, layer in zip(restorer.mixture_names, gates, strict=True):
        assert layer.shape == (1, 2)
        if name.startswith("encoder"):
            assert layer.sum().item() == pytest.approx(1, abs=1e-5)
        else:
            assert (layer > 0).sum() == 1


def test_pictures_restored_at_the_same_time_or_with_fewer_threads_are_the_same(checkpoint):
    restorer = derain.load(checkpoint, device="cpu", precision="fp32")
    pictures = [np.ascontiguousarray(ASTRONAUT[top : top + 96, :128]) for top in (0, 96, 192, 288)]
    one_by_one = [restorer.restore(picture) for picture in pictures]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(2) as pool:
            at_once = list(pool.map(restorer.restore, pictures))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(one_by_one, at_once, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_tile_is_a_multiple_that_the_network_takes(checkpoint):
    assert derain.load(checkpoint, tile=201).tile == 208


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"device": "toaster"}, "toaster"),
        ({"precision": "fp8"}, "auto, fp32, bf16"),
        ({"tile": 64}, "192"),
    ],
)
def test_what_cannot_be_had_is_refused(checkpoint, arguments, said):
    with pytest.raises(SettingsError, match=said):
        derain.load(checkpoint, **arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_missing_cuda_device_is_refused(checkpoint):
    with pytest.raises(SettingsError, match="cuda"):
        derain.load(checkpoint, device="cuda")


def test_unknown_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="nothing_like_it"):
        derain.load("nothing_like_it")
    with pytest.raises(CheckpointError):
        derain.load(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
@pytest.mark.parametrize("device", ["gpu", "cuda"])
def test_a_refused_device_is_answered_briefly_with_what_there_is(checkpoint, device):
    with pytest.raises(SettingsError, match=r"use auto or cpu$") as refusal:
        derain.load(checkpoint, device=device)
    assert len(str(refusal.value)) < 200


def test_a_restorer_says_what_it_is(checkpoint):
    restorer = derain.load(checkpoint, device="cpu", precision="fp32", tile=192)
    assert repr(restorer) == "Restorer(model='tiny', device='cpu', precision='fp32', tile=192)"
    assert derain.load(device="cpu").header.model == "tiny"
