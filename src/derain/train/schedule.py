"""Learning rate and parameter groups."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from derain.train.settings import OptimizerSettings


def learning_rate(step: int, progress: float, settings: OptimizerSettings) -> float:
    """lr = w(step) (lr_min + (lr_max - lr_min) (1 + cos(pi progress)) / 2), w = min(1, (step + 1) / warmup_steps).

    Half a cosine (Loshchilov and Hutter 2017, without restarts) over the run's `progress` in [0, 1].
    """
    cosine = (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    return warm * (settings.lr_min + (settings.lr - settings.lr_min) * cosine)


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], lr: float) -> None:
    """Give every parameter group `lr` times its own `lr_scale`, which is 1 unless the group has one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)


def build_optimizer(module: nn.Module, settings: OptimizerSettings, fused: bool = True) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) that decays matrices and kernels only.

    A parameter counts as matrix when at least two of its dimensions are longer than one; biases, norm scales and the
    temperatures of attention (heads, 1, 1) are not. `fused` is the faster form, with which gradients that are scaled
    for float16 cannot be clipped.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [p for p in parameters if sum(length > 1 for length in p.shape) >= 2]
    known = {id(p) for p in matrices}
    others = [p for p in parameters if id(p) not in known]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        fused=fused,
    )
