"""Text and frames drawn on photographs are found; photographs as they are have none."""

import io

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import label, regionprops

from derain.backends.view import View
from derain.distill.measure.overlay import find_frame, find_overlays, find_text
from derain.distill.measure.planes import connected_components, window_extreme

SAMPLES = ("astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry", "colorwheel")


def view_of(image):
    return View("", np.ascontiguousarray(np.asarray(image)))


def captioned(name, size, colour, outline, place, quality):
    image = Image.fromarray(getattr(skimage.data, name)())
    draw = ImageDraw.Draw(image)
    y = {"top": 6, "middle": 0.5 * (image.height - size), "bottom": image.height - 1.5 * size - 4}[place]
    width = max(1, size // 12) if outline else 0
    draw.text(
        (12, y),
        "Rainy evening 2019",
        fill=colour,
        font=ImageFont.load_default(size),
        stroke_width=width,
        stroke_fill=(0, 0, 0) if sum(colour) > 300 else (255, 255, 255),
    )
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return view_of(Image.open(buffer)), y / image.height, (y + 1.5 * size) / image.height


@pytest.mark.parametrize("name", SAMPLES[:4])
def test_photographs_as_they_are_have_nothing_over_them(name):
    found = find_overlays(view_of(getattr(skimage.data, name)()))
    assert found.text == ()
    assert found.frame is None
    assert found.share == 0


def test_most_captions_are_found_where_they_stand():
    found = dict.fromkeys(("top", "middle", "bottom"), 0)
    for name in SAMPLES[:4]:
        for size, colour, outline in [
            (14, (255, 255, 255), True),
            (18, (255, 230, 0), True),
            (24, (255, 255, 255), True),
            (28, (0, 0, 0), True),
        ]:
            for place in found:
                view, top, bottom = captioned(name, size, colour, outline, place, 90)
                lines = find_text(view)
                found[place] += bool(lines)
                for line in lines:
                    assert top - 0.03 <= line.top < line.bottom <= bottom + 0.03
                    assert line.is_near_edge == (place != "middle")
                    assert 0 < line.share < 0.2
    # Of 16 captions at each place.
    assert found["top"] + found["bottom"] >= 20
    assert found["middle"] >= 10


@pytest.mark.parametrize(("place", "lines"), [(0.1, 1), (0.5, 0), (0.9, 1)])
def test_a_short_line_counts_only_where_captions_stand(place, lines):
    image = Image.new("RGB", (400, 300), (60, 60, 60))
    draw = ImageDraw.Draw(image)
    draw.text((40, place * 300 - 10), "BAKERY SHOP", fill=(255, 255, 255), font=ImageFont.load_default(20))
    assert len(find_text(view_of(image))) == lines


def test_a_caption_on_a_plain_bar_is_found_at_its_place():
    pixels = skimage.data.coffee().copy()
    pixels[-40:] = 20
    image = Image.fromarray(pixels)
    font = ImageFont.load_default(20)
    ImageDraw.Draw(image).text((30, image.height - 34), "Photograph by a traveller", fill=(255, 255, 255), font=font)
    (line,) = find_text(view_of(image))
    length = font.getlength("Photograph by a traveller")
    assert line.left * image.width == pytest.approx(30, abs=4)
    assert line.right * image.width == pytest.approx(30 + length, abs=8)
    assert line.top * image.height > image.height - 36


def test_windows_in_rows_are_no_text():
    pixels = np.full((300, 400, 3), 180, np.uint8)
    for row in range(10, 60, 24):
        for column in range(10, 390, 16):
            pixels[row : row + 14, column : column + 9] = 40
    assert find_text(view_of(pixels)) == ()


@pytest.mark.parametrize(("upright", "across"), [(20, 0), (0, 33), (12, 15)])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (180, 20, 40)])
def test_frames_are_measured(upright, across, colour):
    inner = skimage.data.chelsea()
    framed = np.empty((inner.shape[0] + 2 * upright, inner.shape[1] + 2 * across, 3), np.uint8)
    framed[:] = colour
    framed[upright : upright + inner.shape[0], across : across + inner.shape[1]] = inner
    frame = find_frame(framed)
    assert frame is not None
    assert (frame.top * framed.shape[0], frame.left * framed.shape[1]) == pytest.approx((upright, across))
    assert frame.share == pytest.approx(1 - inner[..., 0].size / framed[..., 0].size)


def test_a_dark_sky_over_dark_ground_is_no_frame():
    ramp = np.linspace(0, 255, 200).astype(np.uint8)
    hill = np.minimum(ramp, ramp[::-1])[:, None, None].repeat(300, axis=1).repeat(3, axis=2)
    assert find_frame(np.ascontiguousarray(hill)) is None
    assert find_frame(np.zeros((100, 100, 3), np.uint8)) is None


def test_small_pictures_are_looked_at():
    for size in [(1, 1), (3, 40), (32, 32), (33, 35)]:
        assert find_overlays(view_of(np.zeros((*size, 3), np.uint8))).share == 0


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=80, deadline=None)
def test_components_are_those_of_a_flood_fill(mask):
    plane = (np.arange(mask.size) % 251).astype(np.uint8).reshape(mask.shape)
    regions = regionprops(label(mask, connectivity=2), intensity_image=plane)
    found = connected_components(mask, plane)
    ours = zip(found.top, found.left, found.bottom, found.right, found.area, found.peak, strict=True)
    assert sorted(tuple(map(int, row)) for row in ours) == sorted(
        (*region.bbox, int(region.area), int(region.intensity_max)) for region in regions
    )
    runs = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(int), axis=1) == 1
    assert int(found.runs.sum()) == int(runs.sum())


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.integers(1, 8), st.booleans())
@settings(max_examples=60, deadline=None)
def test_window_extremes_are_those_of_each_window(plane, size, largest):
    height, width = plane.shape
    before, after = size // 2, (size - 1) // 2
    plain = np.empty_like(plane)
    for y in range(height):
        for x in range(width):
            window = plane[max(0, y - before) : y + after + 1, max(0, x - before) : x + after + 1]
            plain[y, x] = window.max() if largest else window.min()
    assert np.array_equal(window_extreme(plane, size, largest), plain)
