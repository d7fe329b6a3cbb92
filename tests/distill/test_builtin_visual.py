import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from derain.backends.view import View, file_digest
from derain.distill.describe.builtin_visual import (
    COLOURS,
    DIMENSIONS,
    GRADIENTS,
    NETWORK,
    PIXELS,
    BuiltinVisualEncoder,
    balanced,
    colour_numbers,
    constants_path,
    gradient_numbers,
    measurements,
    network_numbers,
    read_constants,
    reduced,
    shares,
    shipped_network,
)
from derain.errors import ModelError
from derain.imaging.io import to_pixels, to_tensor
from derain.models.find import shipped_weights
from derain.rain.simulate import simulate
from derain.types import RainType

PHOTOGRAPHS = {
    "astronaut": skimage.data.astronaut(),
    "cat": skimage.data.chelsea(),
    "coffee": skimage.data.coffee(),
    "rocket": skimage.data.rocket(),
}


def view(pixels):
    return View("0" * 64, np.ascontiguousarray(pixels))


@pytest.fixture(scope="module")
def encoder():
    return BuiltinVisualEncoder()


@pytest.fixture(scope="module")
def network():
    return shipped_network()


@pytest.fixture(scope="module")
def vectors(encoder):
    return encoder.encode_views([view(pixels) for pixels in PHOTOGRAPHS.values()])


def in_rain(pixels, rain_type, seed):
    """A photograph in simulated rain of a type."""
    return to_pixels(simulate(to_tensor(pixels), rain_type, torch.Generator().manual_seed(seed)).rainy)


def test_vectors_have_512_numbers_and_length_one(encoder, vectors):
    assert vectors.shape == (4, encoder.dimensions) == (4, DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.encode_views([]).shape == (0, DIMENSIONS)


def test_a_vector_does_not_depend_on_pictures_beside_it_nor_on_threads(encoder, vectors):
    views = [view(pixels) for pixels in PHOTOGRAPHS.values()]
    np.testing.assert_array_equal(encoder.encode_views(views[::-1]), vectors[::-1])
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        np.testing.assert_array_equal(encoder.encode_views(views[:2]), vectors[:2])
    finally:
        torch.set_num_threads(threads)


def test_the_same_view_at_another_size_lies_nearest(encoder, vectors):
    for place, pixels in enumerate(PHOTOGRAPHS.values()):
        height, width = pixels.shape[:2]
        larger = np.asarray(Image.fromarray(pixels).resize((width * 2, height * 2), Image.Resampling.BICUBIC))
        cosines = vectors @ encoder.encode_views([view(larger)])[0]
        assert cosines.argmax() == place
        assert cosines[place] > 0.9


def test_drops_are_nearer_to_drops_on_other_scenes_than_to_those_scenes_dry(encoder, vectors):
    wet = [in_rain(pixels, RainType.DRD, seed) for seed, pixels in enumerate(PHOTOGRAPHS.values())]
    rows = encoder.encode_views([view(pixels) for pixels in wet])
    others = ~np.eye(4, dtype=bool)
    assert (rows @ rows.T)[others].mean() > (rows @ vectors.T)[others].mean() + 0.02


def test_night_is_nearer_to_night_than_to_day(encoder, vectors):
    dark = [(pixels * 0.15).astype(np.uint8) for pixels in PHOTOGRAPHS.values()]
    night = encoder.encode_views([view(pixels) for pixels in dark])
    others = ~np.eye(4, dtype=bool)
    assert (night @ night.T)[others].mean() > (night @ vectors.T)[others].mean() + 0.2


def test_the_shipped_constants_are_of_such_pictures(network):
    """Standardised, photographs that took no part stay within what photographs are."""
    means, deviations = read_constants(constants_path())
    standard = np.stack([(measurements(network, pixels) - means) / deviations for pixels in PHOTOGRAPHS.values()])
    for kind in (NETWORK, COLOURS, GRADIENTS):
        assert np.abs(standard[:, kind]).mean() < 2
        assert standard[:, kind].std(axis=0).mean() > 0.2


@pytest.mark.parametrize(
    ("height", "width", "wanted"),
    [
        (3000, 4000, (192, 256)),
        (4000, 3000, (256, 192)),
        (512, 512, (224, 224)),
        (192, 256, (192, 256)),
        (100, 70, (96, 64)),
        (1, 1, (32, 32)),
        (20, 60000, (32, 1536)),
    ],
)
def test_pictures_are_reduced_to_one_budget(height, width, wanted):
    small = reduced(np.full((height, width, 3), 77, np.uint8))
    assert small.shape == (*wanted, 3)
    assert (small == 77).all()
    assert wanted[0] * wanted[1] <= PIXELS * 1.1


def test_the_network_is_asked_as_it_restores(network):
    """The means are those of what flows through the network when it restores the picture."""
    image = to_tensor(reduced(PHOTOGRAPHS["cat"]))
    seen = []
    hooks = [level.register_forward_hook(lambda *call: seen.append(call[2])) for level in network.encoder]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    wanted = []
    for features in seen[:3]:
        wanted += [features.mean(dim=(0, 2, 3)), features.std(dim=(0, 2, 3), correction=0)]
    np.testing.assert_allclose(network_numbers(network, image), torch.cat(wanted).numpy(), rtol=1e-3, atol=1e-4)


def test_shares_are_counted_pixel_by_pixel():
    generator = np.random.default_rng(0)
    values, weights = generator.random((7, 9)), generator.random((7, 9))
    values[0, 0] = 1.0
    counted = np.zeros(5)
    for value, weight in zip(values.ravel(), weights.ravel(), strict=True):
        counted[min(int(value * 5), 4)] += weight
    np.testing.assert_allclose(shares(values, weights, 5), np.sqrt(counted / weights.sum()))
    np.testing.assert_array_equal(shares(values, np.zeros_like(values), 5), np.zeros(5))


def test_colours_say_how_light_and_how_red_a_picture_is():
    red = torch.zeros(1, 3, 32, 32)
    red[:, 0] = 0.5
    grey = torch.full((1, 3, 32, 32), 0.6)
    luma, saturation, hue, bands, opponents = np.split(colour_numbers(red), [12, 18, 24, 28])
    assert luma[int((65.481 * 0.5 + 16) / 255 * 12)] == pytest.approx(1)
    assert saturation[3] == pytest.approx(1)
    assert hue.max() == pytest.approx(1)
    np.testing.assert_allclose(bands, (65.481 * 0.5 + 16) / 255, atol=1e-6)
    np.testing.assert_allclose(opponents, [0.5, 0, 0.25, 0], atol=1e-6)
    grey_numbers = colour_numbers(grey)
    assert grey_numbers[int((219 * 0.6 + 16) / 255 * 12)] == pytest.approx(1)
    np.testing.assert_allclose(grey_numbers[18:24], 0)
    assert colour_numbers(torch.cat([grey[:, :, :16], red[:, :, :16]], dim=2))[24] == pytest.approx(
        (219 * 0.6 + 16) / 255
    )


def test_gradients_say_which_way_a_picture_is_striped():
    wave = 0.5 + 0.4 * torch.sin(torch.arange(64) * 0.5)
    upright = wave.expand(1, 3, 64, 64)  # stripes run down: gradients run across, at angle 0
    level = upright.transpose(2, 3)
    across, down = gradient_numbers(upright), gradient_numbers(level)
    assert across[[0, 11]].max() == pytest.approx(1, abs=1e-3)
    assert down[6] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(across[12:16], down[12:16], atol=1e-6)
    flat = gradient_numbers(torch.full((1, 3, 64, 64), 0.3))
    np.testing.assert_allclose(flat[12:16], np.log(1e-3))


def test_each_kind_has_its_share_whatever_its_length():
    vector = balanced(np.full(512, 3.0), np.ones(512), np.ones(512))
    for kind, share in ((NETWORK, 4 / 6), (COLOURS, 1 / 6), (GRADIENTS, 1 / 6)):
        assert np.linalg.norm(vector[kind]) ** 2 == pytest.approx(share)
    strange = np.zeros(512)
    strange[0], strange[450] = 1e6, 4.0
    clipped = balanced(strange, np.zeros(512), np.ones(512))
    assert clipped[0] / clipped[450] == pytest.approx(np.sqrt(4 * 32 / 448))
    assert np.linalg.norm(balanced(np.ones(512), np.ones(512), np.ones(512))) == 1


def test_the_identity_names_the_shipped_weights(encoder):
    assert file_digest(shipped_weights()["tiny"])[:16] in encoder.identity.revision


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"version": 0, "means": [], "deviations": []}', "fit_builtin_visual"),
        ('{"version": 1, "means": [0], "deviations": [1]}', "fit_builtin_visual"),
    ],
)
def test_constants_of_other_measurements_are_refused(tmp_path, content, message):
    path = tmp_path / "constants.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=message):
        read_constants(path)
