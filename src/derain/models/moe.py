"""Mixtures of nested experts (UniRain, equations 11 to 14): soft in the encoder, hard top-k in the decoder.

A mixture is M(x) = P sum_i g_i(x) T_i(f_i(x)): each expert i turns C channels into features f_i of its own rank
R_i = C / 2^i, a linear tail T_i brings them back to C channels, gates g_i weigh the experts, and P is a shared
pointwise projection. The gate is one number per picture and expert, hence it commutes with the linear layers behind
it, and three forms compute the same thing:

* sparse: only the experts that a picture selected are run on it (data-dependent; not for export or DDP);
* dense:  every expert is run, the gates of the others are zero;
* folded: P T_1 .. P T_n are merged into ONE pointwise convolution over the gated, concatenated features. This needs
  fewer operations than running the top two experts unfolded, and is what inference uses.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from derain.models.blocks import TransposedAttention, conv1x1, conv3x3, multiply, nested_ranks

Routing = Literal["soft", "hard"]
Form = Literal["sparse", "dense", "folded"]


def soft_gates(logits: Tensor) -> Tensor:
    """All experts by their softmax weight (equations 11 and 12); (B, n) -> (B, n), rows sum to one."""
    return logits.softmax(dim=-1)


def hard_gates(logits: Tensor, top_k: int) -> Tensor:
    """The k largest softmax weights, the others zero, not renormalised (equations 13 and 14); (B, n) -> (B, n)."""
    weights = soft_gates(logits)
    values, chosen = weights.topk(min(top_k, weights.shape[-1]), dim=-1)
    return torch.zeros_like(weights).scatter(-1, chosen, values)


class Gates:
    """The gates of one forward pass: decided by the routers and recorded, or given from outside and replayed.

    Tiles of one picture are given the gates of the whole picture, so that they agree on their experts.
    """

    def __init__(self, given: Sequence[Tensor] | None = None) -> None:
        self.given = given
        self.used: list[Tensor] = []

    def of(self, router: "Router", x: Tensor) -> Tensor:
        """The gates of the next mixture, (B, n) or (1, n)."""
        gates = router(x) if self.given is None else self.given[len(self.used)]
        self.used.append(gates)
        return gates


class Router(nn.Module):
    """Global average pooling -> linear -> softmax -> (all | top k); noise on the pooled features in training only."""

    def __init__(self, channels: int, experts: int, routing: Routing, top_k: int, noise: float) -> None:
        super().__init__()
        self.routing = routing
        self.top_k = top_k
        self.noise = noise
        self.linear = nn.Linear(channels, experts)

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)  # routing is decided in float32 or better
        pooled = x.mean(dim=(2, 3)).to(wide)  # the kernel accumulates in float32 whatever the storage
        if self.training and self.noise > 0:
            pooled = pooled + self.noise * torch.randn_like(pooled)
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(pooled, self.linear.weight.to(wide), self.linear.bias.to(wide))
        return soft_gates(logits) if self.routing == "soft" else hard_gates(logits, self.top_k)


class AttentionExperts(nn.Module):
    """The paper's experts: expert i is a channel attention at width R_i between two pointwise convolutions."""

    def __init__(self, channels: int, ranks: Sequence[int]) -> None:
        super().__init__()
        self.ranks = tuple(ranks)
        self.down = nn.ModuleList(conv1x1(channels, rank) for rank in ranks)
        self.attention = nn.ModuleList(TransposedAttention(rank, heads=1) for rank in ranks)
        self.out: nn.ModuleList | None = nn.ModuleList(conv1x1(rank, rank) for rank in ranks)
        self.up: nn.ModuleList | None = nn.ModuleList(conv1x1(rank, channels) for rank in ranks)

    def features(self, index: int, x: Tensor) -> Tensor:
        """f_i(x), (B, R_i, H, W)."""
        return self.attention[index](self.down[index](x))  # type: ignore[no-any-return]

    def tail(self, index: int, features: Tensor) -> Tensor:
        """T_i of the features of expert i, (B, R_i, H, W) -> (B, C, H, W)."""
        assert self.up is not None, "folded experts have no tails"
        assert self.out is not None, "folded experts have no tails"
        return self.up[index](self.out[index](features))  # type: ignore[no-any-return]

    def all_features(self, x: Tensor) -> Tensor:
        """Features of every expert, concatenated, (B, sum R, H, W)."""
        return torch.cat([self.features(index, x) for index in range(len(self.ranks))], dim=1)

    def tails(self) -> list[Tensor]:
        """The linear tails T_i = up_i out_i as matrices (C, R_i)."""
        assert self.up is not None, "folded experts have no tails"
        assert self.out is not None, "folded experts have no tails"
        return [_matrix(up) @ _matrix(out) for up, out in zip(self.up, self.out, strict=True)]

    def drop_tails(self) -> None:
        """Forget the tails after they were folded."""
        self.out = self.up = None


class ConvExperts(nn.Module):
    """Convolutional experts, for speed: expert i is (A_i x) * (depthwise 3x3 B_i x) at width R_i.

    Every operation is per channel or pointwise, so all experts live in shared tensors as slices of sum R channels:
    running all costs three convolutions however many there are.
    """

    def __init__(self, channels: int, ranks: Sequence[int]) -> None:
        super().__init__()
        self.ranks = tuple(ranks)
        width = sum(ranks)
        self.gate = conv1x1(channels, width)
        self.value = conv1x1(channels, width)
        self.depthwise = conv3x3(width, width, groups=width)
        self.up: nn.Conv2d | None = conv1x1(width, channels)

    def features(self, index: int, x: Tensor) -> Tensor:
        """f_i(x), (B, R_i, H, W)."""
        rank, start = self.ranks[index], sum(self.ranks[:index])
        of_expert = slice(start, start + rank)
        value = F.conv2d(x, self.value.weight[of_expert])
        value = F.conv2d(value, self.depthwise.weight[of_expert], padding=1, groups=rank)
        return F.conv2d(x, self.gate.weight[of_expert]) * value

    def tail(self, index: int, features: Tensor) -> Tensor:
        """T_i of the features of expert i, (B, R_i, H, W) -> (B, C, H, W)."""
        return F.conv2d(features, self.tails()[index][..., None, None])

    def all_features(self, x: Tensor) -> Tensor:
        """Features of every expert, concatenated, (B, sum R, H, W)."""
        return multiply(self.gate(x), self.depthwise(self.value(x)))

    def tails(self) -> list[Tensor]:
        """The linear tails T_i as matrices (C, R_i)."""
        assert self.up is not None, "folded experts have no tails"
        return list(torch.split(_matrix(self.up), list(self.ranks), dim=1))

    def drop_tails(self) -> None:
        """Forget the tails after they were folded."""
        self.up = None


class NestedMixture(nn.Module):
    """M(x) as in the module's docstring; `form` chooses how it is computed, never what."""

    def __init__(
        self,
        channels: int,
        experts: int,
        routing: Routing,
        top_k: int,
        noise: float,
        form: Form,
        kind: type[AttentionExperts] | type[ConvExperts] = AttentionExperts,
    ) -> None:
        super().__init__()
        self.form = form
        self.router = Router(channels, experts, routing, top_k, noise)
        self.experts = kind(channels, nested_ranks(channels, experts))
        self.project = conv1x1(channels, channels)
        nn.init.normal_(self.project.weight, std=0.2 / channels**0.5)  # starts as a small correction

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        weights = gates.of(self.router, x)
        if self.form == "folded":
            return _gated_pointwise(self.experts.all_features(x), weights, self.experts.ranks, self.folded_weight())
        mixed = self._sparse(x, weights) if self.form == "sparse" else self._dense(x, weights)
        return self.project(mixed)  # type: ignore[no-any-return]

    def folded_weight(self) -> Tensor:
        """[P T_1 | .. | P T_n] as the weight of one pointwise convolution, (C, sum R, 1, 1)."""
        return (_matrix(self.project) @ torch.cat(self.experts.tails(), dim=1))[..., None, None]

    def _dense(self, x: Tensor, weights: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for index in range(len(self.experts.ranks)):
            answer = self.experts.tail(index, self.experts.features(index, x))
            total = total + answer * weights[:, index, None, None, None].to(answer.dtype)
        return total

    def _sparse(self, x: Tensor, weights: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        weights = weights.expand(x.shape[0], -1)
        for index in range(len(self.experts.ranks)):
            chosen = weights[:, index].nonzero().squeeze(1)
            if len(chosen) == 0:
                continue
            answer = self.experts.tail(index, self.experts.features(index, x[chosen]))
            answer = answer * weights[chosen, index, None, None, None].to(answer.dtype)
            total = total.index_add(0, chosen, answer.to(total.dtype))
        return total


class FoldedMixture(nn.Module):
    """A `NestedMixture` with its linear layers merged once and for all; for inference and export."""

    def __init__(self, mixture: NestedMixture) -> None:
        super().__init__()
        self.router = mixture.router
        self.experts = mixture.experts
        self.weight = nn.Parameter(mixture.folded_weight().detach().clone(), requires_grad=False)
        self.experts.drop_tails()

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        weights = gates.of(self.router, x)
        return _gated_pointwise(self.experts.all_features(x), weights, self.experts.ranks, self.weight)


def fold_mixtures(module: nn.Module) -> None:
    """Replace every `NestedMixture` below `module` by its folded form, in place."""
    for name, child in module.named_children():
        if isinstance(child, NestedMixture):
            setattr(module, name, FoldedMixture(child))
        else:
            fold_mixtures(child)


def set_form(module: nn.Module, form: Form) -> None:
    """Choose how the mixtures below `module` are computed."""
    for child in module.modules():
        if isinstance(child, NestedMixture):
            child.form = form


def _gated_pointwise(features: Tensor, weights: Tensor, ranks: Sequence[int], weight: Tensor) -> Tensor:
    """Scale each expert's channels by its gate, then one pointwise convolution."""
    per_channel = torch.cat([weights[:, i : i + 1].expand(-1, rank) for i, rank in enumerate(ranks)], dim=1)
    return F.conv2d(multiply(features, per_channel[..., None, None].to(features.dtype)), weight)


def _matrix(convolution: nn.Module) -> Tensor:
    assert isinstance(convolution, nn.Conv2d)
    return convolution.weight[:, :, 0, 0]
