"""What JPEG does to pixels, against a real encoder."""

import io

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from derain.imaging.pixels import to_tensor
from derain.rain.compression import compress, cosine_basis


def psnr_db(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_it_comes_close_to_a_real_encoder(quality: int) -> None:
    pixels = skimage.data.astronaut()[:250, :333]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    real = to_tensor(np.asarray(Image.open(file)))
    image = to_tensor(pixels)
    ours = compress(image, torch.tensor([float(quality)]))
    assert psnr_db(ours, image) == pytest.approx(psnr_db(real, image), abs=0.4)
    assert psnr_db(ours, real) > psnr_db(real, image) + 6


def test_each_picture_has_its_own_quality_and_zero_leaves_it() -> None:
    image = to_tensor(skimage.data.astronaut()[100:150, 100:160]).repeat(3, 1, 1, 1)
    result = compress(image, torch.tensor([0.0, 20.0, 90.0]))
    assert torch.equal(result[0], image[0])
    assert psnr_db(result[1], image[1]) < psnr_db(result[2], image[2]) - 3
    torch.testing.assert_close(result[1:2], compress(image[1:2], torch.tensor([20.0])))


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (37, 53)])
def test_small_and_odd_sizes(size: tuple[int, int]) -> None:
    flat = torch.full((1, 3, *size), 0.5)
    result = compress(flat, torch.tensor([90.0]))
    torch.testing.assert_close(result, flat, atol=0.01, rtol=0)


def test_the_cosine_basis_is_orthonormal() -> None:
    basis = cosine_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(8), atol=1e-5, rtol=0)
