import numpy as np
import pytest
import torch

from derain.errors import ImageError
from derain.imaging.pixels import to_pixels, to_tensor


@pytest.mark.parametrize(("kind", "bit_depth"), [(np.uint8, 8), (np.uint16, 16)])
def test_every_value_comes_back_exactly(kind: type[np.unsignedinteger], bit_depth: int) -> None:
    values = np.arange(1 << bit_depth, dtype=kind)
    pixels = np.stack([values, values[::-1], np.roll(values, 1)], axis=-1)[None]
    image = to_tensor(pixels)
    assert image.shape == (1, 3, 1, 1 << bit_depth)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert (image.min(), image.max()) == (0, 1)
    back = to_pixels(image, bit_depth)
    assert back.dtype == kind
    np.testing.assert_array_equal(back, pixels)


def test_to_tensor_copies_and_takes_views_that_cannot_be_written() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    view = pixels[::-1, ::2]
    view.flags.writeable = False
    image = to_tensor(view)
    image.fill_(1)
    assert pixels.max() == 0


def test_to_pixels_rounds_and_clamps() -> None:
    image = torch.tensor([-0.3, 0.4 / 255, 0.6 / 255, 1.7]).expand(3, 1, 4)
    assert to_pixels(image)[0, :, 0].tolist() == [0, 0, 1, 255]
    assert to_pixels(image, 16)[0, :, 0].tolist() == [0, 103, 154, 65535]


def test_to_pixels_takes_low_precision() -> None:
    assert to_pixels(torch.full((1, 3, 1, 1), 0.5, dtype=torch.bfloat16)).tolist() == [[[128, 128, 128]]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    image = torch.zeros(1, 3, 2, 2)
    image[0, 1, 1, 1] = bad
    with pytest.raises(ImageError, match="NaN or infinite"):
        to_pixels(image)


def test_other_shapes_types_and_depths_are_refused() -> None:
    with pytest.raises(ImageError, match=r"\(2, 3, 4, 4\)"):
        to_pixels(torch.zeros(2, 3, 4, 4))
    with pytest.raises(ImageError, match="got 12"):
        to_pixels(torch.zeros(3, 4, 4), 12)
    with pytest.raises(ImageError, match="float64"):
        to_tensor(np.zeros((2, 2, 3)))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"\(2, 2\)"):
        to_tensor(np.zeros((2, 2), np.uint8))
