"""Make the README's picture: an example of every rain type above its restoration, with the shipped weights.

python examples/readme_picture.py
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import derain
from derain.imaging.io import Picture, read_picture, write_picture
from derain.types import RainType

HERE = Path(__file__).parent
PICTURE = HERE.parent / "docs" / "images" / "before_after.jpg"
TILE = 380
GAP = 6
LABEL = 30
SHOWN = {RainType.DRS: "chelsea", RainType.DRD: "coffee", RainType.NRS: "astronaut", RainType.NRD: "rocket"}


def square(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Image.Image:
    """The middle of a picture as a square of TILE pixels."""
    image = Image.fromarray(pixels)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((TILE, TILE), Image.Resampling.LANCZOS)


def main() -> None:
    restorer = derain.load("tiny")
    width = len(SHOWN) * (TILE + GAP) - GAP
    sheet = Image.new("RGB", (width, LABEL + 2 * TILE + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(18)
    for column, (rain_type, name) in enumerate(SHOWN.items()):
        left = column * (TILE + GAP)
        rainy = read_picture(HERE / "rainy" / rain_type / f"{name}.jpg").pixels
        draw.text((left + TILE / 2, LABEL / 2), rain_type.label, fill="black", font=font, anchor="mm")
        sheet.paste(square(rainy), (left, LABEL))
        sheet.paste(square(restorer(rainy)), (left, LABEL + TILE + GAP))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    write_picture(PICTURE, Picture(pixels=np.asarray(sheet)), quality=88)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
