import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from derain.errors import ImageError, SettingsError
from derain.imaging.pixels import to_pixels, to_tensor
from derain.imaging.tiling import map_tiles, map_tiles_pixels, pad_to_multiple, spans


def identity(image: Tensor) -> Tensor:
    return image


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, int]:
    """(tile, overlap, multiple) that go together."""
    multiple = draw(st.integers(1, 8))
    tile = multiple * draw(st.integers(1, 6)) + draw(st.integers(0, multiple - 1))
    return tile, draw(st.integers(0, (tile - tile % multiple) // 2)), multiple


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20))
def test_padding_reaches_the_next_multiple_and_keeps_the_picture(height: int, width: int, multiple: int) -> None:
    image = torch.rand(2, 3, height, width)
    padded = pad_to_multiple(image, multiple)
    assert padded.shape[-2] % multiple == padded.shape[-1] % multiple == 0
    assert 0 <= padded.shape[-2] - height < multiple
    assert 0 <= padded.shape[-1] - width < multiple
    assert torch.equal(padded[..., :height, :width], image)


def test_padding_mirrors_and_repeats_only_where_the_picture_is_too_small_to_mirror() -> None:
    row = torch.tensor([1.0, 2, 3, 4, 5]).view(1, 1, 1, 5)
    assert pad_to_multiple(row.expand(1, 1, 8, 5), 8)[0, 0, 0].tolist() == [1, 2, 3, 4, 5, 4, 3, 2]
    assert pad_to_multiple(row[..., :2], 8)[0, 0, 7].tolist() == [1, 2, 2, 2, 2, 2, 2, 2]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), layouts())
def test_weights_sum_to_one_everywhere(length: int, layout: tuple[int, int, int]) -> None:
    tile, overlap, _ = layout
    cuts = spans(length, tile, min(overlap, tile // 2))
    total = torch.zeros(length)
    for cut in cuts:
        assert 0 <= cut.start <= cut.first < cut.last <= cut.stop <= length
        assert cut.weights.shape == (cut.last - cut.first,)
        assert cut.weights.min() >= 0
        total[cut.first : cut.last] += cut.weights
    torch.testing.assert_close(total, torch.ones(length), atol=1e-6, rtol=0)
    assert {cut.stop - cut.start for cut in cuts} == {min(tile, length)}
    for before, after in pairwise(cuts):
        assert before.stop - after.start >= min(overlap, tile // 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), layouts(), st.sampled_from([np.uint8, np.uint16]), st.integers(0, 99))
def test_identity_gives_back_the_same_pixels(
    height: int, width: int, layout: tuple[int, int, int], kind: type[np.unsignedinteger], seed: int
) -> None:
    tile, overlap, multiple = layout
    peak = int(np.iinfo(kind).max)
    pixels = np.random.default_rng(seed).integers(0, peak, (height, width, 3), endpoint=True).astype(kind)
    seen: list[tuple[int, int]] = []

    def look(image: Tensor) -> Tensor:
        assert image.shape[-2] % multiple == image.shape[-1] % multiple == 0
        assert max(image.shape[-2:]) <= max(tile, multiple)
        seen.append((image.shape[-2], image.shape[-1]))
        return image

    result = map_tiles_pixels(pixels, look, tile, overlap, multiple)
    assert result.dtype == kind
    np.testing.assert_array_equal(result, pixels)
    assert len(set(seen)) == 1
    image = to_tensor(pixels)
    torch.testing.assert_close(map_tiles(image, identity, tile, overlap, multiple), image, atol=1e-6, rtol=0)


def test_a_filter_that_fits_into_the_overlap_leaves_no_trace_of_the_tiles() -> None:
    pixels = skimage.data.chelsea()
    image = to_tensor(pixels)
    kernel = torch.ones(3, 1, 5, 5) / 25

    def blur(tile: Tensor) -> Tensor:
        return F.conv2d(F.pad(tile, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)

    # Fades lie inside the overlap of 32 and at least 2 pixels from the tile's border, which the filter falsifies.
    whole = blur(image)
    tiled = map_tiles(image, blur, tile=96, overlap=32, multiple=8)
    torch.testing.assert_close(tiled[..., 4:-4, 4:-4], whole[..., 4:-4, 4:-4], atol=2e-4, rtol=0)
    streamed = map_tiles_pixels(pixels, blur, tile=96, overlap=32, multiple=8)
    np.testing.assert_array_equal(streamed, to_pixels(tiled))


def test_seams_of_tiles_that_disagree_are_faded() -> None:
    calls = iter(range(100))
    result = map_tiles(torch.zeros(1, 1, 16, 112), lambda tile: torch.full_like(tile, next(calls)), 64, 16, 8)
    row = result[0, 0, 0]
    assert row[0] == 0
    assert row[-1] == 1
    steps = row.diff()
    assert steps.min() >= 0
    assert steps.max() < 0.2  # a raised cosine over 8 pixels, half the overlap, rises by pi / 16 at most
    assert int((steps > 0).sum()) == 9


def test_batches_other_channel_counts_and_gradients_pass_through() -> None:
    image = torch.rand(2, 3, 50, 70, requires_grad=True)
    result = map_tiles(image, lambda tile: tile.mean(dim=1, keepdim=True), 32, 8, 4)
    torch.testing.assert_close(result, image.mean(dim=1, keepdim=True), atol=1e-6, rtol=0)
    result.sum().backward()
    assert image.grad is not None
    torch.testing.assert_close(image.grad, torch.full_like(image, 1 / 3), atol=1e-6, rtol=0)


def test_what_comes_back_in_low_precision_is_blended_in_full() -> None:
    image = torch.rand(1, 3, 40, 40)
    result = map_tiles(image, lambda tile: tile.bfloat16(), 16, 8, 8)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, image, atol=4e-3, rtol=0)


def test_progress_is_told_after_each_tile() -> None:
    told: list[tuple[int, int]] = []
    map_tiles_pixels(
        np.zeros((40, 70, 3), np.uint8), identity, 32, 8, 8, lambda done, total: told.append((done, total))
    )
    assert told == [(i + 1, 6) for i in range(6)]


def test_a_panorama_needs_no_more_memory_than_one_tile_and_the_fades() -> None:
    program = """
import resource
import sys

import numpy as np

from derain.imaging.tiling import map_tiles_pixels

pixels = np.full((700, 40_000, 3), 77, np.uint8)
map_tiles_pixels(pixels[:450, :450], lambda tile: tile, 400, 64, 8)  # what is loaded at the first use
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = map_tiles_pixels(pixels, lambda tile: tile, 400, 64, 8)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert (result == 77).all()
print(grown * (1 if sys.platform == "darwin" else 1024) - result.nbytes)
"""
    answer = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True)
    one_band = 400 * 40_000 * 3 * 4
    assert int(answer.stdout) < one_band / 3


def test_no_more_rows_than_those_of_one_tile_are_read_at_a_time() -> None:
    rows_read: list[int] = []
    pixels = np.zeros((400, 64, 3), np.uint8)

    class Watched(np.ndarray):
        def __getitem__(self, key: object) -> object:
            rows = key[0] if isinstance(key, tuple) else key
            if isinstance(rows, slice):
                rows_read.append(rows.stop - rows.start)
            return np.asarray(self)[key]  # type: ignore[index]

    map_tiles_pixels(pixels.view(Watched), identity, 32, 8, 8)
    assert set(rows_read) == {32}


@pytest.mark.parametrize(
    ("tile", "overlap", "multiple", "message"),
    [
        (4, 0, 8, "tile of at least the size multiple 8"),
        (64, 33, 8, "half the tile of 64, got 33"),
        (64, -1, 8, "got -1"),
        (64, 0, 0, "multiple 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tile: int, overlap: int, multiple: int, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        map_tiles(torch.zeros(1, 3, 9, 9), identity, tile, overlap, multiple)


def test_pictures_and_functions_of_another_shape_are_refused() -> None:
    with pytest.raises(ImageError, match=r"\(3, 9, 9\)"):
        map_tiles(torch.zeros(3, 9, 9), identity, 8, 0, 8)
    with pytest.raises(ImageError, match=r"\(0, 9, 3\)"):
        map_tiles_pixels(np.zeros((0, 9, 3), np.uint8), identity, 8, 0, 8)
    with pytest.raises(ImageError, match=r"returned \(1, 3, 4, 8\) for \(1, 3, 8, 8\)"):
        map_tiles(torch.zeros(1, 3, 9, 9), lambda tile: tile[:, :, ::2], 8, 0, 8)
    with pytest.raises(ImageError, match=r"\(3, 8\)"):
        pad_to_multiple(torch.zeros(3, 8), 8)
    with pytest.raises(SettingsError, match="got 0"):
        pad_to_multiple(torch.zeros(1, 3, 8, 8), 0)
