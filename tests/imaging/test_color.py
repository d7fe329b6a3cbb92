import numpy as np
import pytest
import skimage.color
import skimage.data
import torch

from derain.errors import ImageError
from derain.imaging.color import linear_to_srgb, luma_bt601, luminance, srgb_to_linear
from derain.imaging.pixels import to_tensor


@pytest.fixture(scope="module")
def cat() -> torch.Tensor:
    return to_tensor(skimage.data.chelsea()[::3, ::3])


def test_linear_light_agrees_with_scikit_image_through_xyz(cat: torch.Tensor) -> None:
    xyz = skimage.color.rgb2xyz(cat[0].permute(1, 2, 0).double().numpy())
    torch.testing.assert_close(
        luminance(srgb_to_linear(cat.double()))[0, 0], torch.from_numpy(xyz[..., 1]), atol=5e-5, rtol=0
    )


@pytest.mark.parametrize(("encoded", "linear"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.21404114), (0.04, 0.04 / 12.92)])
def test_known_points_of_the_curve(encoded: float, linear: float) -> None:
    assert srgb_to_linear(torch.tensor(encoded)).item() == pytest.approx(linear, abs=1e-7)
    assert linear_to_srgb(torch.tensor(linear)).item() == pytest.approx(encoded, abs=1e-6)


def test_the_curves_undo_each_other_for_every_16_bit_value_and_beyond_white() -> None:
    values = torch.arange(70_000, dtype=torch.float64) / 65_535
    # The standard's own rounded constants leave the two pieces 2e-8 apart where they meet.
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-7, rtol=0)


def test_curves_clamp_below_zero_and_never_fall() -> None:
    values = torch.linspace(-0.2, 1.5, 5001)
    for curve in (srgb_to_linear, linear_to_srgb):
        assert curve(values)[values <= 0].abs().max() == 0
        assert curve(values).diff().min() >= 0


def test_gradients_are_finite_down_to_zero() -> None:
    for curve in (srgb_to_linear, linear_to_srgb):
        values = torch.tensor([0.0, 1e-6, 0.003, 0.04, 0.5, 1.0], requires_grad=True)
        curve(values).sum().backward()
        assert values.grad is not None
        assert values.grad.isfinite().all()
        assert (values.grad[1:] > 0).all()


def test_luma_is_studio_swing(cat: torch.Tensor) -> None:
    expected = skimage.color.rgb2ycbcr(cat[0].permute(1, 2, 0).double().numpy())[..., 0] / 255
    np.testing.assert_allclose(luma_bt601(cat)[0, 0].numpy(), expected, atol=1e-6)
    assert luma_bt601(torch.zeros(1, 3, 1, 1)).item() == pytest.approx(16 / 255)
    assert luma_bt601(torch.ones(1, 3, 1, 1)).item() == pytest.approx(235 / 255)


def test_luminance_of_grey_is_the_grey() -> None:
    grey = torch.rand(2, 1, 5, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(luminance(grey.expand(2, 3, 5, 4)), grey)


@pytest.mark.parametrize("function", [luma_bt601, luminance])
def test_three_channels_are_wanted(function: object) -> None:
    assert callable(function)
    with pytest.raises(ImageError, match=r"\(1, 4, 2, 2\)"):
        function(torch.zeros(1, 4, 2, 2))
