import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import derain
from derain.errors import ImageError


@pytest.fixture(scope="module")
def restorer(checkpoint):
    return derain.load(checkpoint, device="cpu", precision="fp32")


CAT = np.ascontiguousarray(skimage.data.chelsea()[60:133, 100:199])
CAT16 = CAT.astype(np.uint16) * 257
CAT_FLOAT = CAT.astype(np.float32) / 255
GREY = np.ascontiguousarray(skimage.data.camera()[60:133, 100:199])


@pytest.mark.parametrize("array", [CAT, CAT16, CAT_FLOAT, CAT_FLOAT.astype(np.float64), CAT_FLOAT.astype(np.float16)])
def test_colour_arrays_come_back_in_kind(restorer, array):
    restored = restorer(array)
    assert (restored.dtype, restored.shape) == (array.dtype, array.shape)
    scale = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1.0
    expected = restorer(torch.from_numpy(CAT_FLOAT).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    # Half a step of 8 bits, or what half precision leaves of an input.
    np.testing.assert_allclose(restored / scale, expected, atol=0.004)
    assert np.abs(restored / scale - CAT_FLOAT).max() > 0.02, "the network should have changed something"


@pytest.mark.parametrize("array", [GREY, GREY.astype(np.uint16) * 257, (GREY / 255).astype(np.float32)])
def test_grey_arrays_stay_grey(restorer, array):
    restored = restorer(array)
    assert (restored.dtype, restored.shape) == (array.dtype, array.shape)
    colour = restorer(np.repeat(array[..., None], 3, axis=2)).astype(np.float64)
    luma = colour @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(restored, luma, atol=1e-6 if array.dtype.kind == "f" else 0.51)


def test_a_view_that_is_not_contiguous_gives_the_same_as_its_copy(restorer):
    flipped = CAT[::-1, ::-1]
    np.testing.assert_array_equal(restorer(flipped), restorer(flipped.copy()))


def test_the_input_is_left_as_it_was(restorer):
    array, tensor = CAT.copy(), torch.from_numpy(CAT_FLOAT.copy()).permute(2, 0, 1)
    restorer(array)
    restorer(tensor)
    np.testing.assert_array_equal(array, CAT)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), CAT_FLOAT)


def test_a_batch_of_tensors_is_restored_picture_by_picture(restorer):
    cat = torch.from_numpy(CAT_FLOAT).permute(2, 0, 1)
    batch = torch.stack([cat, cat.flip(1), cat * 0.3])
    restored = restorer(batch)
    assert restored.shape == batch.shape
    for one, alone in zip(restored, batch, strict=True):
        torch.testing.assert_close(one, restorer(alone), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_keep_their_dtype(restorer, dtype):
    tensor = torch.from_numpy(CAT_FLOAT).permute(2, 0, 1).to(dtype)
    restored = restorer(tensor)
    assert (restored.dtype, restored.shape) == (dtype, tensor.shape)
    assert restored.min() >= 0
    assert restored.max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_pil_images_keep_mode_size_alpha_and_info(restorer, mode):
    image = Image.fromarray(CAT).convert(mode)
    if "A" in mode:
        image.putalpha(Image.fromarray(GREY))
    image.info["icc_profile"] = b"profile"
    restored = restorer(image)
    assert (restored.mode, restored.size) == (mode, image.size)
    assert restored.info["icc_profile"] == b"profile"
    assert restored.tobytes() != image.tobytes()
    if "A" in mode:
        np.testing.assert_array_equal(np.asarray(restored.getchannel("A")), GREY)


def test_a_pil_image_gives_what_its_array_gives(restorer):
    np.testing.assert_array_equal(np.asarray(restorer(Image.fromarray(CAT))), restorer(CAT))


def test_sixteen_bit_pil_greys_stay_so(restorer):
    restored = restorer(Image.fromarray(GREY.astype(np.uint16) * 257))
    assert restored.mode == "I;16"


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr"])
def test_palette_and_cmyk_images_come_back_as_rgb(restorer, mode):
    restored = restorer(Image.fromarray(CAT).convert(mode))
    assert (restored.mode, restored.size) == ("RGB", (CAT.shape[1], CAT.shape[0]))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (16, 16), (17, 31), (101, 13)])
def test_any_size_from_one_pixel_up(restorer, size):
    restored = restorer(CAT_FLOAT[: size[0], : size[1]])
    assert restored.shape == (min(size[0], CAT.shape[0]), size[1], 3)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4, 4), np.uint8), "alpha"),
        (np.zeros((3, 8, 8), np.uint8), "last"),
        (np.zeros((4, 4, 3), np.int32), "int32"),
        (np.zeros((4, 4, 3), bool), "bool"),
        (np.full((4, 4, 3), np.nan, np.float32), "NaN"),
        (np.full((4, 4, 3), np.inf, np.float32), "infinite"),
        (np.full((4, 4, 3), 255.0, np.float32), "255"),
        (np.full((4, 4, 3), -1.0, np.float32), "-1"),
        (torch.zeros(3, 0, 4), "shape"),
        (torch.zeros(1, 8, 8), "grey"),
        (torch.zeros(8, 8, 3), "before"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.full((3, 8, 8), float("nan")), "NaN"),
        (torch.full((3, 8, 8), 2.0), "2"),
        (Image.new("F", (4, 4)), "mode"),
        (Image.new("RGB", (0, 4)), "0 x 4"),
        ("photo.jpg", "read_picture"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(restorer, picture, said):
    with pytest.raises(ImageError, match=said):
        restorer(picture)


def test_overshoot_of_resampling_is_taken_and_clipped(restorer):
    over = CAT_FLOAT.copy()
    over[0, 0] = [1.0005, -0.0005, 0.5]
    restored = restorer(over)
    assert restored.min() >= 0
    assert restored.max() <= 1


def test_black_and_white_images_come_back_as_grey(restorer):
    assert restorer(Image.fromarray(CAT).convert("1")).mode == "L"
    with pytest.raises(ImageError, match="YCbCr"):
        restorer(Image.new("F", (4, 4)))
