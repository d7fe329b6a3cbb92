"""Render the contact sheet of docs/rain.md: every rain type on scikit-image's sample photographs.

    python examples/contact_sheet.py

One row a type, light to heavy from left to right; the PSNR of each rainy picture against its target is written on it.
"""

from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFont

from derain.imaging.io import Picture, to_pixels, to_tensor, write_picture
from derain.imaging.metrics import Protocol, psnr
from derain.rain.settings import RainSettings
from derain.rain.simulate import simulate
from derain.types import RainType

SHEET = Path(__file__).parent.parent / "docs" / "images" / "contact_sheet.jpg"
PHOTOS = ("rocket", "chelsea", "coffee", "astronaut", "rocket")
LIGHT = RainSettings(light_weight=1, medium_weight=0, heavy_weight=0)
MEDIUM = RainSettings(light_weight=0, medium_weight=1, heavy_weight=0)
HEAVY = RainSettings(light_weight=0, medium_weight=0, heavy_weight=1)
SEVERITIES = (("light", LIGHT), ("medium", MEDIUM), ("medium", MEDIUM), ("heavy", HEAVY), ("heavy", HEAVY))
TILE = 320
GAP = 4


def main() -> None:
    sheet = Image.new("RGB", (len(PHOTOS) * (TILE + GAP) - GAP, len(RainType) * (TILE + GAP) - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for row, rain_type in enumerate(RainType):
        for column, (photo, (name, settings)) in enumerate(zip(PHOTOS, SEVERITIES, strict=True)):
            clean = to_tensor(getattr(skimage.data, photo)())
            side = min(clean.shape[-2:])
            top, left = (clean.shape[-2] - side) // 2, (clean.shape[-1] - side) // 2
            clean = clean[..., top : top + side, left : left + side]
            pair = simulate(clean, rain_type, torch.Generator().manual_seed(10 * row + column), settings)
            decibels = float(psnr(pair.rainy, pair.target, Protocol.RGB))
            tile = Image.fromarray(to_pixels(pair.rainy)).resize((TILE, TILE), Image.Resampling.LANCZOS)
            corner = (column * (TILE + GAP), row * (TILE + GAP))
            sheet.paste(tile, corner)
            text = f"{rain_type.label}, {name}, {decibels:.1f} dB"
            draw.text((corner[0] + 6, corner[1] + 4), text, "white", font, stroke_width=2, stroke_fill="black")
    SHEET.parent.mkdir(parents=True, exist_ok=True)
    write_picture(SHEET, Picture(pixels=np.asarray(sheet)), quality=85)
    print(f"{SHEET}: {SHEET.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
