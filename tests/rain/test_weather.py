"""Names of what can be simulated, and that none of it minds where its pictures lie."""

from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from torch.overrides import TorchFunctionMode

from derain.errors import ImageError
from derain.imaging.pixels import to_tensor
from derain.rain.settings import RainSettings
from derain.rain.simulate import RECIPES, simulate
from derain.rain.weather import SIMULATED, SimulatedType, is_suited, simulated_type
from derain.types import RainType, Weather
from references.pretended_device import PretendedDevice

OFTEN = RainSettings(look_share=0.5, noise_share=0.5, jpeg_share=0.5, streaks_behind_drops=0.5)


class Draws(TorchFunctionMode):
    """Counts random tensors, which must be asked for where their generator is."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.rand, torch.randn, torch.randint):
            assert kwargs["device"] == kwargs["generator"].device
            self.count += 1
        return func(*args, **kwargs)


def test_names_are_the_four_of_rain_and_two_more() -> None:
    assert [kind.value for kind in SIMULATED] == ["drs", "drd", "nrs", "nrd", "snow", "haze"]
    assert set(RECIPES) == set(SIMULATED)
    assert simulated_type("snow") is Weather.SNOW
    assert simulated_type("nrd") is RainType.NRD
    with pytest.raises(ImageError, match=r"one of drs, drd, nrs, nrd, snow, haze; got 'hail'"):
        simulated_type("hail")


def test_photographs_of_night_serve_all_but_rain_by_day() -> None:
    assert [kind.value for kind in SIMULATED if is_suited(kind, shows_night=True)] == ["nrs", "nrd", "snow", "haze"]
    assert all(is_suited(kind, shows_night=False) for kind in SIMULATED)


def test_the_pretended_device_refuses_what_an_accelerator_would() -> None:
    with PretendedDevice() as device:
        here = torch.arange(3.0, device=device)
        assert (here + torch.tensor([1.0, 2.0, 3.0], device=device)).tolist() == [1, 3, 5]
        assert float(here.cpu().sum()) == 3
        with pytest.raises(RuntimeError, match="on the CPU"):
            here + torch.ones(3)
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, device=device, generator=torch.Generator())


@pytest.mark.parametrize("is_night", [False, True])
@pytest.mark.parametrize("kind", SIMULATED)
def test_weather_is_the_same_on_any_device_and_lies_there(kind: SimulatedType, is_night: bool) -> None:
    picture = to_tensor(np.ascontiguousarray(skimage.data.rocket()))
    clean = torch.nn.functional.interpolate(picture, (48, 56), mode="area").repeat(5, 1, 1, 1)
    wanted = simulate(clean, kind, torch.Generator().manual_seed(3), OFTEN, is_night)
    with PretendedDevice() as device:
        pair = simulate(clean.to(device), kind, torch.Generator().manual_seed(3), OFTEN, is_night)
        assert {value.device for value in vars(pair.layers).values()} == {device}
        rainy, target = pair.rainy.cpu(), pair.target.cpu()
    assert torch.equal(rainy, wanted.rainy)
    assert torch.equal(target, wanted.target)


@pytest.mark.parametrize("kind", SIMULATED)
def test_every_draw_is_made_on_the_device_of_its_generator(kind: SimulatedType) -> None:
    with Draws() as draws:
        simulate(torch.full((4, 3, 40, 40), 0.4), kind, torch.Generator().manual_seed(1), OFTEN)
    assert draws.count > 20
