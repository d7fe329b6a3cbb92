import numpy as np
import skimage.data

from derain.imaging.io import Picture
from derain.infer.compare import LARGEST_SIDE, side_by_side


def picture(pixels):
    return Picture(pixels=np.ascontiguousarray(pixels))


def test_both_halves_are_shown_under_their_labels():
    cat = skimage.data.chelsea()
    height, width = cat.shape[:2]
    sheet = side_by_side(picture(cat), picture(255 - cat)).pixels
    strip = sheet.shape[0] - height
    np.testing.assert_array_equal(sheet[strip:, :width], cat)
    np.testing.assert_array_equal(sheet[strip:, -width:], 255 - cat)
    for label in (sheet[:strip, :width], sheet[:strip, -width:]):
        assert label.min() < 100, "a label is written there"
        assert label.max() == 255


def test_sixteen_bits_are_shown_as_eight():
    cat = skimage.data.chelsea()
    deep = side_by_side(picture(cat.astype(np.uint16) * 257), picture(cat.astype(np.uint16) * 257)).pixels
    np.testing.assert_array_equal(deep, side_by_side(picture(cat), picture(cat)).pixels)


def test_large_pictures_are_reduced():
    sheet = side_by_side(picture(np.zeros((40, 5000, 3), np.uint8)), picture(np.zeros((40, 5000, 3), np.uint8))).pixels
    assert sheet.shape[1] <= 2 * LARGEST_SIDE + LARGEST_SIDE // 50


def test_one_pixel_can_be_shown():
    assert side_by_side(picture(np.zeros((1, 1, 3), np.uint8)), picture(np.zeros((1, 1, 3), np.uint8))).pixels.size
