"""The blur against SciPy's, at every width."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data

from derain.rain.blur import gaussian_blur


@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0, 9.0, 25.0])
def test_blur_equals_a_gaussian_filter(sigma: float) -> None:
    pixels = data.camera()[::4, ::4].astype(np.float32) / 255
    expected = torch.from_numpy(ndimage.gaussian_filter(pixels, sigma, mode="nearest", truncate=5))
    blurred = gaussian_blur(torch.from_numpy(pixels)[None, None], sigma)[0, 0]
    assert float((blurred - expected).abs().mean()) < 0.01
    inside = (slice(32, 96), slice(32, 96))
    assert float((blurred - expected)[inside].abs().max()) < 0.03


def test_a_flat_picture_stays_flat_at_any_size() -> None:
    for height, width in ((1, 1), (3, 200), (37, 53)):
        for sigma in (0.0, 0.5, 4.0, 60.0):
            flat = torch.full((2, 3, height, width), 0.3)
            torch.testing.assert_close(gaussian_blur(flat, sigma), flat)
