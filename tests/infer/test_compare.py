import numpy as np
import skimage.data

from derain.imaging.io import Picture
from derain.infer.compare import LONGER_SIDE, SHORTER_SIDE, before_after


def picture(pixels):
    return Picture(pixels=np.ascontiguousarray(pixels))


def test_both_halves_are_shown_under_their_labels():
    cat = skimage.data.chelsea()
    height, width = cat.shape[:2]
    sheet = before_after(picture(cat), picture(255 - cat)).pixels
    strip = sheet.shape[0] - height
    np.testing.assert_array_equal(sheet[strip:, :width], cat)
    np.testing.assert_array_equal(sheet[strip:, -width:], 255 - cat)
    for label in (sheet[:strip, :width], sheet[:strip, -width:]):
        assert label.min() < 100, "a label is written there"
        assert label.max() == 255


def test_sixteen_bits_are_shown_as_eight():
    cat = skimage.data.chelsea()
    deep = before_after(picture(cat.astype(np.uint16) * 257), picture(cat.astype(np.uint16) * 257)).pixels
    np.testing.assert_array_equal(deep, before_after(picture(cat), picture(cat)).pixels)


def test_large_pictures_are_reduced():
    black = picture(np.zeros((3000, 4000, 3), np.uint8))
    sheet = before_after(black, black).pixels
    assert sheet.shape[1] <= 2 * LONGER_SIDE + LONGER_SIDE // 50


def test_a_panorama_is_laid_above_its_restoration_and_stays_high_enough_to_be_seen():
    before, after = np.zeros((300, 20_000, 3), np.uint8), np.full((300, 20_000, 3), 255, np.uint8)
    sheet = before_after(picture(before), picture(after)).pixels
    height, width = sheet.shape[:2]
    assert width == 20_000, "300 pixels are not made fewer"
    assert (sheet[height // 2 - 300 : height // 2] == 0).all()
    assert (sheet[-300:] == 255).all()
    high = picture(np.zeros((1000, 20_000, 3), np.uint8))
    assert before_after(high, high).pixels.shape[1] == 20_000 * SHORTER_SIDE // 1000


def test_one_pixel_can_be_shown():
    assert before_after(picture(np.zeros((1, 1, 3), np.uint8)), picture(np.zeros((1, 1, 3), np.uint8))).pixels.size
