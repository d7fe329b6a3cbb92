"""Render the example photographs: the project's own rain on sample photographs that ship with scikit-image.

    python examples/render.py

writes examples/rainy/TYPE/NAME.jpg and examples/clean/TYPE/NAME.jpg. The photographs are free of copyright
restrictions, as scikit-image's documentation states: the astronaut (NASA) and the rocket (SpaceX) are in the public
domain, the cat (Stefan van der Walt) and the coffee (Rachel Michetti) are CC0.
"""

from dataclasses import dataclass
from pathlib import Path

import skimage.data
import torch

from derain.imaging.io import to_tensor, write_image
from derain.rain.simulate import simulate
from derain.types import RainType

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Example:
    """One photograph under one rain."""

    photo: str
    """Name of a function of `skimage.data`."""
    rain_type: RainType
    seed: int


EXAMPLES = (
    Example("chelsea", RainType.DRS, seed=7),
    Example("rocket", RainType.DRS, seed=5),
    Example("coffee", RainType.DRD, seed=2),
    Example("astronaut", RainType.DRD, seed=7),
    Example("astronaut", RainType.NRS, seed=11),
    Example("coffee", RainType.NRS, seed=4),
    Example("rocket", RainType.NRD, seed=12),
    Example("chelsea", RainType.NRD, seed=4),
)


def render(example: Example, folder: Path) -> None:
    """Write one rainy picture and its target below `folder`."""
    clean = to_tensor(getattr(skimage.data, example.photo)())
    pair = simulate(clean, example.rain_type, torch.Generator().manual_seed(example.seed))
    for name, image in (("rainy", pair.rainy), ("clean", pair.target)):
        path = folder / name / example.rain_type / f"{example.photo}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, image)


def main() -> None:
    for example in EXAMPLES:
        render(example, HERE)
    files = sorted(HERE.glob("*/*/*.jpg"))
    print(f"{len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB, below {HERE}")


if __name__ == "__main__":
    main()
