import math
import time

import numpy as np
import pytest
import skimage.data
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as torchmetrics_ssim

from derain.errors import ImageError
from derain.imaging.color import luma_bt601
from derain.imaging.metrics import Protocol, psnr, ssim
from derain.imaging.pixels import to_tensor

EVERY_PROTOCOL = pytest.mark.parametrize("protocol", list(Protocol))


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """Two photographs, with noise, blur and an offset: (2, 3, 131, 150)."""
    generator = torch.Generator().manual_seed(3)
    clean = torch.cat(
        [to_tensor(skimage.data.chelsea()[:131, 60:210]), to_tensor(skimage.data.rocket()[:131, 200:350])]
    )
    blurred = torch.nn.functional.avg_pool2d(clean, 3, stride=1, padding=1, count_include_pad=False)
    noise = 0.05 * torch.randn(clean.shape, generator=generator)
    return (blurred + noise + 0.02).clamp(0, 1), clean


def planes(image: Tensor, on_luma: bool) -> np.ndarray:
    """(H, W, C) in double, as scikit-image takes it."""
    image = image.double()
    return (luma_bt601(image) if on_luma else image)[0].permute(1, 2, 0).numpy()


@EVERY_PROTOCOL
def test_psnr_agrees_with_scikit_image_and_torchmetrics(pair: tuple[Tensor, Tensor], protocol: Protocol) -> None:
    on_luma = protocol is Protocol.Y
    for i, value in enumerate(psnr(*pair, protocol)):
        restored, target = (image[i : i + 1] for image in pair)
        theirs = peak_signal_noise_ratio(planes(target, on_luma), planes(restored, on_luma), data_range=1)
        assert value.item() == pytest.approx(theirs, abs=1e-4)
        if on_luma:
            restored, target = luma_bt601(restored), luma_bt601(target)
        assert value.item() == pytest.approx(torchmetrics_psnr(restored, target, data_range=1.0).item(), abs=1e-4)


@EVERY_PROTOCOL
def test_ssim_agrees_with_scikit_image_and_torchmetrics(pair: tuple[Tensor, Tensor], protocol: Protocol) -> None:
    on_luma = protocol is not Protocol.RGB
    for i, value in enumerate(ssim(*pair, protocol)):
        restored, target = (image[i : i + 1] for image in pair)
        theirs = structural_similarity(
            planes(target, on_luma),
            planes(restored, on_luma),
            data_range=1,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert value.item() == pytest.approx(theirs, abs=1e-6)
        if on_luma:
            restored, target = luma_bt601(restored), luma_bt601(target)
        # torchmetrics' own mean takes in the 5 rows and columns of each border, where it mirrors the picture.
        _, places = torchmetrics_ssim(restored, target, data_range=1.0, return_full_image=True)
        assert value.item() == pytest.approx(places[..., 5:-5, 5:-5].mean().item(), abs=1e-4)


def test_luma_figures_equal_those_of_values_16_to_235_with_data_range_255(pair: tuple[Tensor, Tensor]) -> None:
    restored, target = (luma_bt601(image[:1].double())[0, 0].numpy() * 255 for image in pair)
    assert target.min() >= 16
    assert target.max() <= 235
    theirs = peak_signal_noise_ratio(target, restored, data_range=255)
    assert psnr(pair[0][:1], pair[1][:1], Protocol.Y).item() == pytest.approx(theirs, abs=1e-4)


def test_psnr_falls_20_db_when_the_error_grows_tenfold() -> None:
    target = torch.full((1, 3, 16, 16), 0.5)
    near, far = psnr(target + 0.01, target, Protocol.RGB), psnr(target + 0.1, target, Protocol.RGB)
    assert near.item() == pytest.approx(40, abs=1e-4)
    assert (near - far).item() == pytest.approx(20, abs=1e-4)


def test_luma_weighs_green_most_and_rgb_all_alike() -> None:
    target = torch.full((3, 3, 16, 16), 0.5)
    restored = target.clone()
    for i in range(3):
        restored[i, i] += 0.1
    assert psnr(restored, target, Protocol.RGB).std() < 1e-4
    red, green, blue = psnr(restored, target, Protocol.Y)
    assert green < red < blue


@EVERY_PROTOCOL
def test_identical_pictures_are_perfect(pair: tuple[Tensor, Tensor], protocol: Protocol) -> None:
    assert psnr(pair[1], pair[1], protocol).tolist() == [math.inf, math.inf]
    torch.testing.assert_close(ssim(pair[1], pair[1], protocol), torch.ones(2, dtype=torch.float64))


def test_unirain_takes_psnr_from_rgb_and_ssim_from_luma(pair: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(psnr(*pair, Protocol.UNIRAIN), psnr(*pair, Protocol.RGB))
    assert torch.equal(ssim(*pair, Protocol.UNIRAIN), ssim(*pair, Protocol.Y))
    assert not torch.allclose(psnr(*pair, Protocol.UNIRAIN), psnr(*pair, Protocol.Y), atol=0.5)


def test_each_image_of_a_batch_is_measured_alone(pair: tuple[Tensor, Tensor]) -> None:
    for measure in (psnr, ssim):
        together = measure(*pair, Protocol.RGB)
        alone = torch.cat([measure(pair[0][i : i + 1], pair[1][i : i + 1], Protocol.RGB) for i in range(2)])
        torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)


def test_figures_of_flat_and_dark_pictures_are_accurate_in_single_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.full((1, 3, 64, 64), 0.9)
    restored = (target + 2e-4 * torch.randn(target.shape, generator=generator)).float()
    theirs = structural_similarity(
        planes(target, on_luma=False),
        planes(restored, on_luma=False),
        data_range=1,
        channel_axis=-1,
        gaussian_weights=True,
        use_sample_covariance=False,
    )
    assert ssim(restored, target, Protocol.RGB).item() == pytest.approx(theirs, abs=1e-9)


def test_ssim_has_the_gradient_of_its_formula() -> None:
    generator = torch.Generator().manual_seed(2)
    target = torch.rand(1, 3, 11, 12, generator=generator, dtype=torch.float64)
    restored = torch.rand(1, 3, 11, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda image: ssim(image, target, Protocol.RGB), (restored,))


def test_the_smallest_picture_has_one_window() -> None:
    generator = torch.Generator().manual_seed(4)
    a, b = torch.rand(2, 1, 3, 11, 11, generator=generator).unbind()
    assert ssim(a, b, Protocol.RGB).shape == (1,)
    with pytest.raises(ImageError, match=r"at least 11x11 pixels.*got 30x10"):
        ssim(torch.rand(1, 3, 10, 30), torch.rand(1, 3, 10, 30), Protocol.Y)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_shapes_that_do_not_match_are_refused(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(ImageError, match=r"\(1, 3, 20, 20\) and \(1, 3, 20, 21\)"):
        measure(torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 21), Protocol.RGB)
    with pytest.raises(ImageError, match=r"\(1, 1, 20, 20\)"):
        measure(torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 20), Protocol.RGB)


def test_a_megapixel_takes_a_moment() -> None:
    generator = torch.Generator().manual_seed(6)
    a, b = torch.rand(2, 1, 3, 1000, 1000, generator=generator).unbind()
    ssim(a[..., :64, :], b[..., :64, :], Protocol.RGB)
    before = time.process_time()
    ssim(a, b, Protocol.RGB)
    # Some 0.15 s of processor time; the bound leaves room for slow machines, not for another order of magnitude.
    assert time.process_time() - before < 1.5
