"""Learning rate, parameter groups, EMA of the weights."""

import math

import pytest
import torch
from torch import nn

from derain.models.zoo import build
from derain.train.ema import ModelEma
from derain.train.schedule import build_optimizer, learning_rate, set_learning_rate
from derain.train.settings import OptimizerSettings


def test_learning_rate_is_half_a_cosine_after_the_warm_up() -> None:
    settings = OptimizerSettings(lr=2e-4, lr_min=1e-6, warmup_steps=10)
    assert learning_rate(0, 0.0, settings) == pytest.approx(2e-5)
    assert learning_rate(9, 0.0, settings) == pytest.approx(2e-4)
    assert learning_rate(500, 0.5, settings) == pytest.approx((2e-4 + 1e-6) / 2)
    assert learning_rate(900, 1 / 3, settings) == pytest.approx(1e-6 + 199e-6 * 0.75)
    assert learning_rate(1000, 1.0, settings) == learning_rate(1000, 1.5, settings) == pytest.approx(1e-6)
    falling = [learning_rate(10 + step, step / 100, settings) for step in range(101)]
    assert falling == sorted(falling, reverse=True)


def test_only_matrices_decay_and_no_parameter_is_forgotten() -> None:
    module = build("small")
    groups = build_optimizer(module, OptimizerSettings(weight_decay=0.03)).param_groups
    decayed, others = ({id(p) for p in group["params"]} for group in groups)
    assert [group["weight_decay"] for group in groups] == [0.03, 0.0]
    assert not decayed & others
    assert decayed | others == {id(p) for p in module.parameters()}
    for name, parameter in module.named_parameters():
        is_matrix = sum(length > 1 for length in parameter.shape) >= 2
        assert (id(parameter) in decayed) == is_matrix, name
        if "temperature" in name or name.endswith("bias"):
            assert id(parameter) in others, name


def test_ema_is_its_recurrence_and_forgets_the_start() -> None:
    module = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        module[0].weight.fill_(100.0)
    average = ModelEma(module, decay=0.9)
    expected = 100.0
    for update in range(60):
        with torch.no_grad():
            module[0].weight.fill_(math.sin(update))
            module[1].running_mean.fill_(update)
        average.update(module)
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * math.sin(update)
    assert float(average.module[0].weight) == pytest.approx(expected, rel=1e-5)
    assert float(average.module[1].running_mean) == 59
    assert abs(expected) < 1
    assert not average.module.training
    assert not any(parameter.requires_grad for parameter in average.module.parameters())


def test_every_group_of_every_optimizer_has_the_learning_rate_of_the_run_times_its_own_scale() -> None:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    first = torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:2], "lr_scale": 0.5}], lr=1.0)
    second = torch.optim.SGD(parameters[2:], lr=1.0)
    for lr in (2e-4, 1e-4):  # no scale is applied twice
        set_learning_rate([first, second], lr)
        assert [group["lr"] for group in (*first.param_groups, *second.param_groups)] == [lr, 0.5 * lr, lr]
