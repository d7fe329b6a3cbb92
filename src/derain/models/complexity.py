"""Parameters and multiply-accumulates, by the convention of the deraining papers' tables (that of the thop counter).

Only convolutions and linear layers that are executed count; matrix products inside attention, norms, softmax and
functional pooling are free. Restormer at 256x256 has 140.990 GMACs by this convention and 154.882 with its matrix
products, so the two must never share a column.
"""

import copy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from derain.models.moe import FoldedMixture, Router, set_form


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a network."""

    parameters: int
    """All parameters, whether executed or not."""
    macs: int
    """Multiply-accumulates of the convolutions and linear layers that ran."""
    height: int
    width: int


class _CountMacs(TorchFunctionMode):
    """Adds up the multiply-accumulates of every convolution and linear call, functional or of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if func in (F.conv2d, torch.conv2d):
            weight: Tensor = args[1] if len(args) > 1 else kwargs["weight"]
            self.macs += result.shape[0] * result.shape[2] * result.shape[3] * weight.numel()
        elif func is F.linear:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            self.macs += result.numel() * weight.shape[1]
        return result


@torch.no_grad()
def active_macs(network: nn.Module, height: int = 256, width: int = 256) -> float:
    """Mean multiply-accumulates when every mixture runs only the experts it selects, all selections equally likely.

    A single run depends on the routers' draw. Here hard gates are given: in turn i a mixture of n experts keeps
    experts i, i + 1, .. (mod n), so that after lcm(1..4) = 12 turns each expert was kept equally often.

    Raises:
        AssertionError: the network is folded, where nothing can be skipped.
    """
    turns = 12
    network = copy.deepcopy(network).eval()
    set_form(network, "sparse")
    routers = [m for m in network.modules() if isinstance(m, Router)]
    assert not any(isinstance(m, FoldedMixture) for m in network.modules()), "a folded network runs every expert"
    device = next(network.parameters()).device
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device)
    total = 0
    for turn in range(turns):
        for router in routers:
            router.forward = partial(_turned_gates, router, turn)  # type: ignore[method-assign]
        with _CountMacs() as counter:
            network(image)
        total += counter.macs
    return total / turns


def _turned_gates(router: Router, turn: int, x: Tensor) -> Tensor:
    experts = router.linear.out_features
    if router.routing == "soft":
        return torch.full((1, experts), 1 / experts, device=x.device)
    gates = torch.zeros(1, experts, device=x.device)
    for kept in range(min(router.top_k, experts)):
        gates[0, (turn + kept) % experts] = 1 / experts
    return gates


@torch.no_grad()
def measure(network: nn.Module, height: int = 256, width: int = 256) -> Complexity:
    """Run `network` once on noise of (1, 3, height, width) and count."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device)
    with _CountMacs() as counter:
        network(image)
    network.train(was_training)
    return Complexity(sum(p.numel() for p in network.parameters()), counter.macs, height, width)
