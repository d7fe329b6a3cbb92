"""Weather simulated where the network learns, on clean squares that the workers prepared."""

from collections.abc import Sequence

import torch

from derain.data.scene import DryScene
from derain.data.sources import RainyPicture
from derain.rain.settings import RainSettings
from derain.rain.simulate import simulate
from derain.rain.weather import simulated_type


def simulate_on_device(scenes: Sequence[DryScene], settings: RainSettings, device: torch.device) -> list[RainyPicture]:
    """The pictures of the scenes, on `device`; scene by scene, for they differ in size and each has its own seed.

    Random numbers come from the CPU, so that a seed means the same weather on every device, to rounding; on the CPU it
    is the same to the bit as what a worker simulates.

    Raises:
        ImageError: a type is none that can be simulated.
    """
    pictures = []
    for scene in scenes:
        generator = torch.Generator().manual_seed(scene.seed)
        clean = scene.clean.to(device, non_blocking=True).unsqueeze(0).float() / 255
        pair = simulate(clean, simulated_type(scene.type_name), generator, settings, is_night=scene.is_night)
        pictures.append(RainyPicture(pair.rainy[0], pair.target[0]))
    return pictures
