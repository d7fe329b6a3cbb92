"""A picture that shows a photograph before and after restoration, each under its name, beside or above the other."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from derain.imaging.io import Picture
from derain.infer.inputs import Pixels

LONGER_SIDE = 1600
"""Each half is reduced to this many pixels on its longer side,"""

SHORTER_SIDE = 400
"""but not below this many on its shorter side, so that a panorama can be seen,"""

LONGEST_SIDE = 30_000
"""and in any case to this many."""

STACKED_FROM = 2.5
"""From this ratio of width to height on, the halves stand one above the other."""


def before_after(before: Picture, after: Picture, labels: tuple[str, str] = ("before", "after")) -> Picture:
    """Both pictures in 8 bits, each under its label, larger ones reduced; wide ones one above the other."""
    halves = [_half(before, labels[0]), _half(after, labels[1])]
    first = halves[0]
    if before.width >= STACKED_FROM * before.height:
        places = [(0, 0), (0, first.height)]
        size = (first.width, 2 * first.height)
    else:
        gap = max(4, first.width // 100)
        places = [(0, 0), (first.width + gap, 0)]
        size = (2 * first.width + gap, first.height)
    sheet = Image.new("RGB", size, "white")
    for half, place in zip(halves, places, strict=True):
        sheet.paste(half, place)
    return Picture(pixels=np.asarray(sheet), icc=before.icc)


def _half(picture: Picture, label: str) -> Image.Image:
    image = _reduced(Image.fromarray(_eight_bits(picture.pixels)))
    size = max(12, min(28, image.height // 16))
    strip = round(1.8 * size)
    half = Image.new("RGB", (image.width, image.height + strip), "white")
    half.paste(image, (0, strip))
    font = ImageFont.load_default(size)
    centre = min(image.width, LONGER_SIDE) / 2  # of what fits on a screen
    ImageDraw.Draw(half).text((centre, strip / 2), label, fill="black", font=font, anchor="mm")
    return half


def _reduced(image: Image.Image) -> Image.Image:
    longer, shorter = max(image.size), min(image.size)
    scale = min(1, max(LONGER_SIDE / longer, SHORTER_SIDE / shorter), LONGEST_SIDE / longer)
    if scale == 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _eight_bits(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
