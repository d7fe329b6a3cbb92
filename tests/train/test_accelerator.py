"""Steps of several optimizers in float16: what one meets does not disturb the gradients of another."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from derain.train.accelerator import Accelerator, NotFiniteError
from derain.train.devices import build_fabric
from derain.train.settings import TrainSettings

MakeSettings = Callable[..., TrainSettings]
BEYOND = 1e38
"""A gradient that overflows once it is scaled."""


@pytest.fixture
def half(make_settings: MakeSettings) -> Accelerator:
    return Accelerator(build_fabric(make_settings(precision="16-mixed", device="cpu")))


def parameter() -> tuple[Tensor, torch.optim.Optimizer]:
    weight = nn.Parameter(torch.zeros(1))
    return weight, torch.optim.SGD([weight], lr=1.0)


def test_an_overflow_of_one_optimizer_leaves_the_gradients_of_another_that_shares_the_loss(half: Accelerator) -> None:
    (one, of_one), (other, of_other) = parameter(), parameter()
    before = half.state_dict()["scale"]
    half.backward((BEYOND * one + 3 * other).sum())
    assert not math.isfinite(half.step(of_one, 1.0, 100.0))
    assert half.step(of_other, 1.0, 100.0) == pytest.approx(3.0)
    assert (one.item(), other.item()) == (0.0, -3.0)
    assert half.state_dict()["scale"] == before / 2


def test_an_optimizer_may_step_several_times_in_a_step_of_the_method(half: Accelerator) -> None:
    (network, of_network), (critic, of_critic) = parameter(), parameter()
    for _ in range(5):
        half.backward(2 * critic.sum())
        assert half.step(of_critic, 1.0, 100.0) == pytest.approx(2.0)
    half.backward((network + critic).sum())
    assert half.step(of_network, 1.0, 100.0) == pytest.approx(1.0)
    assert (network.item(), critic.item()) == (-1.0, -10.0)


def test_the_scale_is_kept_and_a_run_that_overflows_again_and_again_ends(half: Accelerator) -> None:
    weight, optimizer = parameter()

    def step() -> float:
        half.backward((BEYOND * 1e38 * weight).sum())
        return half.step(optimizer, 1.0, 1.0)

    assert not any(math.isfinite(step()) for _ in range(20))
    with pytest.raises(NotFiniteError, match="norm of its gradient inf"):
        step()
    half.load_state_dict({**half.state_dict(), "scale": 8.0})
    assert half.state_dict()["scale"] == 8.0
    assert weight.item() == 0.0
