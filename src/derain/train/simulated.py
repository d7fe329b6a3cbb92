"""Rain on the fly: a source that draws a clean photograph and simulates rain of the wanted type on it."""

import math
from collections.abc import Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from derain.data.pairs import Photo
from derain.data.sources import RainyPicture, require_sides
from derain.errors import DatasetError
from derain.imaging.io import read_image
from derain.rain.simulate import RainSettings, simulate
from derain.settings import Settings
from derain.types import RainType


class SimulationSettings(Settings):
    """How photographs are prepared and which become night."""

    side_min: int = Field(default=256, ge=16)
    """Smallest side in pixels of the square that rain is rendered on; a smaller photograph is taken whole."""
    side_max: int = Field(default=384, ge=16)
    """Largest side of it. The size of rain follows the side, and the time it takes its square."""
    night_photo_share: float = Field(default=0.4, ge=0, le=1)
    """Share of night samples made from night photographs; the others are day photographs turned into night."""
    rain: RainSettings = RainSettings()
    """Settings of the rain simulator."""

    @model_validator(mode="after")
    def _sides_in_order(self) -> "SimulationSettings":
        if self.side_min > self.side_max:
            raise ValueError("side_min must not be larger than side_max")
        return self


class SimulatedSource:
    """Simulated rain on clean photographs, drawn evenly with replacement.

    Day types take photographs of day and dusk. Night types take night photographs by `night_photo_share`, else those
    of day and dusk, which the simulator turns into night; where only one kind is at hand it takes that.

    Raises:
        DatasetError: a photograph is missing, unreadable, or smaller than `minimum_side`.
    """

    def __init__(self, photos: Sequence[Photo], settings: SimulationSettings, minimum_side: int) -> None:
        if settings.side_min < minimum_side:
            raise DatasetError(
                f"wanted pictures of at least {minimum_side} pixels, but rain is rendered on squares from "
                f"{settings.side_min} pixels on; raise data.simulation.side_min or lower data.crop"
            )
        self.settings = settings
        self._day = [photo for photo in photos if photo.light != "night"]
        self._night = [photo for photo in photos if photo.light == "night"]
        require_sides([photo.path for photo in photos], minimum_side)

    @property
    def types(self) -> frozenset[str]:
        """The four types that the simulator knows, less the day ones where there is no day photograph."""
        lit = {rain_type for rain_type in RainType if rain_type.is_night or self._day}
        return frozenset(rain_type.value for rain_type in lit) if self._day or self._night else frozenset()

    def draw(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        """Simulate rain of one of the four types on a photograph.

        Raises:
            ImageError: the photograph cannot be read.
        """
        rain_type = RainType(type_name)
        is_night = rain_type.is_night and self._takes_night_photo(generator)
        photos = self._night if is_night else self._day
        photo = photos[int(torch.randint(len(photos), (1,), generator=generator))]
        clean = cut_scene(read_image(photo.path), self.settings.side_min, self.settings.side_max, generator)
        pair = simulate(clean, rain_type, generator, self.settings.rain, is_night=is_night)
        return RainyPicture(pair.rainy[0], pair.target[0])

    def _takes_night_photo(self, generator: torch.Generator) -> bool:
        drawn = float(torch.rand(1, generator=generator)) < self.settings.night_photo_share
        return bool(self._night) and (drawn or not self._day)


def cut_scene(image: Tensor, side_min: int, side_max: int, generator: torch.Generator) -> Tensor:
    """A random square of a picture at a random scale: (1, 3, H, W) to (1, 3, S, S), S in [side_min, side_max].

    The picture is made smaller (never larger) by a factor drawn evenly in its logarithm, at most until its short side
    is S. Where the picture is smaller than S, S is its short side.
    """
    short = min(image.shape[-2:])
    drawn = float(torch.rand(1, generator=generator))
    side = min(short, side_min + int(drawn * (side_max - side_min + 1)))
    scale = math.exp(float(torch.rand(1, generator=generator)) * math.log(side / short))
    if scale < 1:
        size = [max(side, round(length * scale)) for length in image.shape[-2:]]
        image = F.interpolate(image, size=size, mode="bilinear", antialias=True)
    height, width = image.shape[-2:]
    top = int(torch.randint(height - side + 1, (1,), generator=generator))
    left = int(torch.randint(width - side + 1, (1,), generator=generator))
    return image[..., top : top + side, left : left + side].clamp(0, 1).contiguous()
