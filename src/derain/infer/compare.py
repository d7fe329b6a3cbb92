"""A picture that shows a photograph before and after restoration, side by side under their names."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from derain.imaging.io import Picture
from derain.infer.inputs import Pixels

LARGEST_SIDE = 1600
"""Each half is shown with at most this many pixels on its longer side."""


def side_by_side(before: Picture, after: Picture, left_label: str = "before", right_label: str = "after") -> Picture:
    """Both pictures in 8 bits, each under its label, the larger ones reduced."""
    halves = [_half(before, left_label), _half(after, right_label)]
    gap = max(4, halves[0].width // 100)
    width = halves[0].width + gap + halves[1].width
    sheet = Image.new("RGB", (width, max(half.height for half in halves)), "white")
    sheet.paste(halves[0], (0, 0))
    sheet.paste(halves[1], (halves[0].width + gap, 0))
    return Picture(pixels=np.asarray(sheet), alpha=None, is_grey=False, exif=None, icc=before.icc)


def _half(picture: Picture, label: str) -> Image.Image:
    image = Image.fromarray(_eight_bits(picture.pixels))
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    size = max(12, min(28, image.height // 16))
    strip = round(1.8 * size)
    half = Image.new("RGB", (image.width, image.height + strip), "white")
    half.paste(image, (0, strip))
    font = ImageFont.load_default(size)
    ImageDraw.Draw(half).text((image.width / 2, strip / 2), label, fill="black", font=font, anchor="mm")
    return half


def _eight_bits(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
