"""Weather simulated where the network learns, on clean squares that the workers prepared."""

import torch

from derain.data.scene import DryScene
from derain.data.sources import RainyPicture
from derain.rain.settings import RainSettings
from derain.rain.simulate import simulate
from derain.rain.weather import simulated_type


def simulate_scene(scene: DryScene, settings: RainSettings, device: torch.device) -> RainyPicture:
    """The picture of a scene, on `device`; one by one, for scenes differ in size and each has its own seed.

    Random numbers come from the CPU, so that a seed means the same weather on every device, to rounding; on the CPU it
    is the same to the bit as what a worker simulates.

    Raises:
        ImageError: its type is none that can be simulated.
    """
    generator = torch.Generator().manual_seed(scene.seed)
    clean = scene.clean.to(device, non_blocking=True).unsqueeze(0).float() / 255
    pair = simulate(clean, simulated_type(scene.type_name), generator, settings, is_night=scene.is_night)
    return RainyPicture(pair.rainy[0], pair.target[0])
