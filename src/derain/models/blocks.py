"""Building blocks of the restoration networks.

`TransposedAttention` and `GatedFeedForward` follow Restormer (Zamir et al., CVPR 2022, equations 1 to 3), from which
UniRain takes its Transformer blocks. `GatedConvBlock` is our own CPU-friendly block for the tiny network.

All are size-preserving maps (B, C, H, W) -> (B, C, H, W), and all are fastest in the channels_last layout, where the
layer norm needs no copy and depthwise convolutions run about three times faster.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv1x1(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A pointwise convolution without bias: linear, so that it can be merged with its neighbours."""
    return nn.Conv2d(channels_in, channels_out, 1, bias=False)


def conv3x3(channels_in: int, channels_out: int, *, groups: int = 1) -> nn.Conv2d:
    """A size-preserving 3x3 convolution without bias."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, groups=groups, bias=False)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a * b; may reuse the memory of `a` where no gradient is recorded, which spares a pass over memory."""
    return a * b if torch.is_grad_enabled() else a.mul_(b)


def add(a: Tensor, b: Tensor) -> Tensor:
    """a + b; may reuse the memory of `a` where no gradient is recorded, which spares a pass over memory."""
    return a + b if torch.is_grad_enabled() else a.add_(b)


class LayerNorm(nn.Module):
    """Layer norm over the channels of each pixel.

    Runs in the precision of its input: statistics are accumulated in float32 by the kernel, so bfloat16 features
    need no round trip through float32 storage.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)  # no copy where they agree
            pixels_last = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), weight, bias)
        return pixels_last.permute(0, 3, 1, 2)


class TransposedAttention(nn.Module):
    """Attention between channels, cost linear in the number of pixels (Restormer's MDTA without its last projection).

    The projection that normally follows is left to the caller, who may merge it into the next linear layer.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = conv1x1(channels, 3 * channels)
        self.depthwise = conv3x3(3 * channels, 3 * channels, groups=3 * channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.depthwise(self.qkv(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.unbind(1)
        # The L2 norms of q and k are applied to the c x c scores: the same result as normalising q and k, without
        # writing two picture-sized tensors.
        wide = torch.promote_types(q.dtype, torch.float32)  # sums over all pixels overflow half precision
        q_norm = torch.linalg.vector_norm(q, dim=-1, dtype=wide).clamp_min(1e-12)
        k_norm = torch.linalg.vector_norm(k, dim=-1, dtype=wide).clamp_min(1e-12)
        scores = (q @ k.transpose(-2, -1)).to(wide) / (q_norm.unsqueeze(-1) * k_norm.unsqueeze(-2))
        attention = (scores * self.temperature).softmax(dim=-1).to(v.dtype)
        mixed: Tensor = (attention @ v).reshape(batch, channels, height, width)
        return mixed.contiguous(memory_format=torch.channels_last)


class GatedFeedForward(nn.Module):
    """Restormer's gated depthwise feed-forward network (GDFN)."""

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.expand = conv1x1(channels, 2 * hidden)
        self.depthwise = conv3x3(2 * hidden, 2 * hidden, groups=2 * hidden)
        self.reduce = conv1x1(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.depthwise(self.expand(x)).chunk(2, dim=1)
        return self.reduce(F.gelu(gate) * value)  # type: ignore[no-any-return]


class GatedConvBlock(nn.Module):
    """x + P(A n * K n) with n = LN(x): A and P pointwise, K a dense 3x3 convolution, no activation but the product.

    On CPUs with bfloat16 instructions a dense 3x3 convolution reaches ten times the arithmetic rate of a depthwise one,
    so that this block sees more and costs less than the usual pointwise-depthwise-pointwise design.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = LayerNorm(channels)
        self.gate = conv1x1(channels, channels)
        self.value = conv3x3(channels, channels)
        self.project = conv1x1(channels, channels)
        nn.init.normal_(self.project.weight, std=0.2 / channels**0.5)  # starts near the identity

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm(x)
        return add(self.project(multiply(self.gate(n), self.value(n))), x)


def nested_ranks(channels: int, experts: int) -> tuple[int, ...]:
    """R_i = C / 2^i for i = 1..n (UniRain, supplement 5); each rank is half of the one before it."""
    if experts < 1 or channels < 1 or channels % 2**experts:
        raise ValueError(f"{experts} nested experts need channels divisible by {2**experts}, got {channels}")
    return tuple(channels // 2**i for i in range(1, experts + 1))
