"""Weather simulated where the network learns: the same as in a worker, wherever that is."""

from pathlib import Path

import pytest
import torch

from derain.data.pairs import read_photos
from derain.errors import ImageError
from derain.rain.settings import RainSettings
from derain.rain.weather import SIMULATED
from derain.train.simulated import SimulatedSource, SimulationSettings, simulate_pending
from references.pretended_device import PretendedDevice

CPU = torch.device("cpu")


@pytest.fixture
def source(index: Path) -> SimulatedSource:
    settings = SimulationSettings(side_min=48, side_max=64, rain=RainSettings(noise_share=1, jpeg_share=0.5))
    return SimulatedSource(read_photos(index, "train"), settings, 32)


def test_on_the_cpu_it_is_what_the_source_draws_to_the_bit(source: SimulatedSource) -> None:
    names = [kind.value for kind in SIMULATED for _ in range(2)]
    drawing, preparing = torch.Generator().manual_seed(9), torch.Generator().manual_seed(9)
    drawn = [source.draw(name, drawing) for name in names]
    scenes = [source.prepare(name, preparing) for name in names]
    pictures = [simulate_pending(scene, source.settings.rain, CPU) for scene in scenes]
    for wanted, picture in zip(drawn, pictures, strict=True):
        assert torch.equal(picture.rainy, wanted.rainy)
        assert torch.equal(picture.clean, wanted.clean)
    # What is drawn next, such as the crops, does not depend on where the weather was simulated.
    assert torch.equal(torch.rand(3, generator=drawing), torch.rand(3, generator=preparing))


def test_pictures_lie_on_the_device_and_follow_from_the_seed_alone(source: SimulatedSource) -> None:
    generator = torch.Generator().manual_seed(4)
    scenes = [source.prepare(name, generator) for name in ("drs", "nrd", "snow", "haze")]
    together = [simulate_pending(scene, source.settings.rain, CPU) for scene in scenes]
    with PretendedDevice() as device:
        there = [simulate_pending(scene, source.settings.rain, device) for scene in reversed(scenes)]
        assert {picture.rainy.device for picture in there} == {device}
        back = [picture.rainy.cpu() for picture in reversed(there)]
    for one, other in zip(together, back, strict=True):
        assert torch.equal(one.rainy, other)


def test_a_scene_is_small_and_its_type_must_be_known(source: SimulatedSource) -> None:
    scene = source.prepare("snow", torch.Generator().manual_seed(0))
    assert scene.clean.dtype == torch.uint8
    assert scene.clean.shape[0] == 3
    assert 48 <= scene.clean.shape[1] == scene.clean.shape[2] <= 64
    hail = type(scene)(scene.clean, "hail", scene.is_night, scene.seed)
    with pytest.raises(ImageError, match="got 'hail'"):
        simulate_pending(hail, source.settings.rain, CPU)
