"""Weather on the fly: a source that draws a clean photograph and simulates rain, snow or haze on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator

from derain.data.check import require_pictures
from derain.data.pairs import Photo
from derain.data.pending import PendingSimulation
from derain.data.sources import RainyPicture
from derain.errors import DatasetError
from derain.imaging.io import read_image
from derain.rain.cut import cut_scene
from derain.rain.settings import RainSettings
from derain.rain.simulate import simulate
from derain.rain.weather import SIMULATED, SimulatedType, is_suited, simulated_type
from derain.settings import Settings
from derain.types import Weather

_CPU = torch.device("cpu")


class SimulationSettings(Settings):
    """How photographs are prepared, which show night, and where and when weather is simulated on them."""

    side_min: int = Field(default=256, ge=16)
    """Smallest side in pixels of the square that rain is rendered on; a smaller photograph is taken whole."""
    side_max: int = Field(default=384, ge=16)
    """Largest side of it. The size of rain follows the side, and the time it takes its square."""
    night_photo_share: float = Field(default=0.4, ge=0, le=1)
    """Share of night rain made from night photographs; the other is on day photographs turned into night."""
    night_weather_share: float = Field(default=0.25, ge=0, le=1)
    """Share of snow and haze on night photographs; the other is by day."""
    rain: RainSettings = RainSettings()
    """Settings of the simulator."""
    device: Literal["auto", "worker", "trainer"] = "auto"
    """Where training simulates: in the workers on the CPU, or in the training process on the network's device; auto
    takes the latter where that is a GPU and there is no cache."""
    cache: Path | None = None
    """Folder of rendered pairs: training renders what is missing there before it starts, then draws from it."""
    variations: int = Field(default=4, ge=1)
    """Pairs rendered of each photograph and type, with a cache."""

    @model_validator(mode="after")
    def _fit_together(self) -> "SimulationSettings":
        if self.side_min > self.side_max:
            raise ValueError("side_min must not be larger than side_max")
        if self.cache is not None and self.device == "trainer":
            raise ValueError("a cache leaves nothing to simulate in the trainer; set device to worker or cache to null")
        return self

    def is_in_trainer(self, device: torch.device) -> bool:
        """Whether the training process simulates, where the network learns on `device`."""
        if self.device == "auto":
            return device.type == "cuda" and self.cache is None
        return self.device == "trainer"


class PhotoChoice:
    """Which photograph a sample takes: evenly among those of day and dusk, or among those of night.

    Day rain takes photographs of day and dusk. Night rain takes night photographs by `night_photo_share`, snow and haze
    by `night_weather_share`. Where only one kind is at hand it is taken.
    """

    def __init__(self, photos: Sequence[Photo], settings: SimulationSettings) -> None:
        self.settings = settings
        self._day = [photo for photo in photos if photo.light != "night"]
        self._night = [photo for photo in photos if photo.light == "night"]

    @property
    def types(self) -> frozenset[str]:
        """All that the simulator knows, less day rain where there is no day photograph."""
        lit = {kind for kind in SIMULATED if self._day or (self._night and is_suited(kind, shows_night=True))}
        return frozenset(kind.value for kind in lit)

    def choose(self, kind: SimulatedType, generator: torch.Generator) -> Photo:
        """A photograph for a type of `types`."""
        photos = self._night if self._takes_night(kind, generator) else self._day
        return photos[int(torch.randint(len(photos), (1,), generator=generator))]

    def photos_of(self, kind: SimulatedType) -> list[Photo]:
        """The photographs that `choose` can give for a type; none of night where their share is 0, unless all are."""
        if not is_suited(kind, shows_night=True) or not self._night:
            return self._day
        share = self._night_share(kind)
        return [*(self._day if share < 1 else []), *(self._night if share > 0 or not self._day else [])]

    def _takes_night(self, kind: SimulatedType, generator: torch.Generator) -> bool:
        if not is_suited(kind, shows_night=True):
            return False
        drawn = float(torch.rand(1, generator=generator)) < self._night_share(kind)
        return bool(self._night) and (drawn or not self._day)

    def _night_share(self, kind: SimulatedType) -> float:
        return self.settings.night_weather_share if isinstance(kind, Weather) else self.settings.night_photo_share


class SimulatedSource:
    """Simulated weather on clean photographs, drawn with replacement as `PhotoChoice` says.

    Raises:
        DatasetError: a photograph is missing, unreadable, or smaller than `minimum_side`.
    """

    def __init__(self, photos: Sequence[Photo], settings: SimulationSettings, minimum_side: int) -> None:
        check_sides(photos, settings, minimum_side)
        self.settings = settings
        self._choice = PhotoChoice(photos, settings)

    @property
    def types(self) -> frozenset[str]:
        """All that can be simulated on these photographs."""
        return self._choice.types

    def prepare(self, type_name: str, generator: torch.Generator) -> PendingSimulation:
        """All of a sample but its simulation, which needs `generator` no more.

        Raises:
            ImageError: the photograph cannot be read.
        """
        photo = self._choice.choose(simulated_type(type_name), generator)
        clean = cut_scene(read_image(photo.path), self.settings.side_min, self.settings.side_max, generator)
        seed = int(torch.randint(2**62, (1,), generator=generator))
        return PendingSimulation((clean[0] * 255).round().to(torch.uint8), type_name, photo.light == "night", seed)

    def draw(self, type_name: str, generator: torch.Generator) -> RainyPicture:
        """Simulate one of the types on a photograph.

        Raises:
            ImageError: the photograph cannot be read.
        """
        return simulate_pending(self.prepare(type_name, generator), self.settings.rain, _CPU)


def simulate_pending(scene: PendingSimulation, settings: RainSettings, device: torch.device) -> RainyPicture:
    """The pair of a scene, simulated on `device`; one by one, for scenes differ in size and each has its own seed.

    Random numbers come from the CPU, so that a seed means the same weather on every device, to rounding; on the CPU it
    is the same to the bit as what a worker simulates.

    Raises:
        ImageError: its type is none that can be simulated.
    """
    generator = torch.Generator().manual_seed(scene.seed)
    clean = scene.clean.to(device, non_blocking=True).unsqueeze(0).float() / 255
    pair = simulate(clean, simulated_type(scene.type_name), generator, settings, is_night=scene.is_night)
    return RainyPicture(pair.rainy[0], pair.target[0])


def check_sides(photos: Sequence[Photo], settings: SimulationSettings, minimum_side: int) -> None:
    """Refuse what would give squares smaller than `minimum_side`.

    Raises:
        DatasetError: settings or photographs do; or a photograph is missing or unreadable.
    """
    if settings.side_min < minimum_side:
        raise DatasetError(
            f"wanted pictures of at least {minimum_side} pixels, but rain is rendered on squares from "
            f"{settings.side_min} pixels on; raise data.simulation.side_min or lower data.crop"
        )
    require_pictures([photo.path for photo in photos], minimum_side)
