"""SSIM of luminances against scikit-image's, and what the structure term makes of light and of flat pictures."""

import numpy as np
import pytest
import skimage.data
from knowledge_samples import ssim, structure_only
from skimage.metrics import structural_similarity

from derain.backends.view import View
from derain.distill.knowledge.structure import luminance, moments, similarity
from derain.errors import DistillError

PHOTOS = {name: getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")}
LUMINANCES = {name: luminance(View(name, pixels)) for name, pixels in PHOTOS.items()}


@pytest.mark.parametrize(("first", "second"), [("astronaut", "chelsea"), ("rocket", "coffee"), ("coffee", "coffee")])
def test_plain_ssim_is_that_of_scikit_image(first, second):
    a, b = LUMINANCES[first], LUMINANCES[second]
    _, full = structural_similarity(
        a / 255,
        b / 255,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert ssim(a, b) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)
    assert ssim(a, b) == ssim(b, a)
    assert ssim(a, a) == pytest.approx(1, abs=1e-6)


def test_the_structure_term_is_that_of_each_window_by_itself():
    a, b = (LUMINANCES[name] / 255 for name in ("astronaut", "chelsea"))
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    total = 0.0
    for side in (256, 64):
        ratio = 256 // side
        x, y = (p.reshape(side, ratio, side, ratio).mean((1, 3)) for p in (a, b))
        x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
        p, q = (np.lib.stride_tricks.sliding_window_view(v, (11, 11)) for v in (x, y))
        p, q = (v - (window * v).sum((-2, -1), keepdims=True) for v in (p, q))
        deviations = np.sqrt((window * p * p).sum((-2, -1)) * (window * q * q).sum((-2, -1)))
        total += ((window * p * q).sum((-2, -1)) / (deviations + 0.03**2 / 2)).mean() / 2
    assert structure_only(LUMINANCES["astronaut"], LUMINANCES["chelsea"]) == pytest.approx(total, abs=1e-5)


def test_the_structure_term_passes_over_light_and_contrast_and_plain_ssim_does_not():
    bright = LUMINANCES["coffee"]
    dark = (bright // 4 + 10).astype(np.uint8)
    assert structure_only(bright, dark) > 0.9 * structure_only(bright, bright)
    assert ssim(bright, dark) < 0.6


def test_a_flat_picture_wins_by_plain_ssim_and_not_by_the_structure_term():
    night = (LUMINANCES["rocket"] // 8).astype(np.uint8)
    flat, other = np.full((256, 256), 10, np.uint8), LUMINANCES["chelsea"]
    assert ssim(night, flat) > ssim(night, other)
    assert structure_only(night, flat) == 0
    assert structure_only(flat, flat) == 0
    assert structure_only(night, night) > 0.1


@pytest.mark.parametrize("shape", [(256, 256), (512, 768), (300, 451), (31, 500), (1, 1)])
def test_luminance_averages_over_areas(shape):
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    luma = pixels @ np.array([0.299, 0.587, 0.114])

    def shares(count):
        """(256, count) of each pixel in each part."""
        edges = np.arange(257) * count / 256
        first, last = np.arange(count), np.arange(count) + 1
        overlap = np.minimum(edges[1:, None], last) - np.maximum(edges[:-1, None], first)
        return np.maximum(overlap, 0) / (count / 256)

    expected = shares(shape[0]) @ luma @ shares(shape[1]).T
    found = luminance(View("", pixels))
    assert found.shape == (256, 256)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.5 + 1e-6


def test_moments_may_be_kept_and_other_shapes_are_refused():
    a, b = LUMINANCES["rocket"], LUMINANCES["chelsea"]
    kept = moments(a, "plain")
    assert similarity(kept, moments(b, "plain")) == similarity(kept, moments(b, "plain")) == ssim(a, b)
    with pytest.raises(DistillError, match=r"256, 256.*got \(64, 64\)"):
        ssim(a[:64, :64], b)
