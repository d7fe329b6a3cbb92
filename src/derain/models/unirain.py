"""UniRain (CVPR 2026): one network for all four rain types, asymmetric mixtures of nested experts in a U-Net.

The paper does not publish the network's code; this is the reading whose counts land on its Table 3 (see
docs/network.md): Restormer's blocks, a mixture beside the channel attention of every block, soft routing in the
encoder, hard top-k routing in the decoder and the refinement, ranks R_i = C / 2^i.

Input and output are (B, 3, H, W), sRGB in [0, 1], H and W multiples of 8.
"""

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from derain.models.blocks import GatedFeedForward, LayerNorm, TransposedAttention, conv1x1, conv3x3, nested_ranks
from derain.models.moe import AttentionExperts, Gates, NestedMixture
from derain.models.routed import MixtureSettings, RoutedNetwork, RoutingSetting


class UniRainSettings(MixtureSettings):
    """Sizes and mixtures of UniRain; the defaults are the paper's network (24.4 M parameters)."""

    width: int = Field(default=48, ge=2)
    """Channels of the first level; each deeper level has twice as many."""
    encoder_blocks: tuple[int, int, int, int] = (2, 4, 4, 6)
    """Blocks of the encoder levels, finest first; the fourth is the bottleneck."""
    decoder_blocks: tuple[int, int, int] = (2, 4, 4)
    """Blocks of the decoder levels, finest first."""
    refinement_blocks: int = 4
    """Blocks after the last decoder level."""
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)
    """Attention heads by level, finest first."""
    experts: tuple[int, int, int, int] = (4, 3, 2, 1)
    """Nested experts of each mixture by level, finest first."""
    expansion: float = Field(default=2.66, gt=0)
    """Hidden width of the feed-forward network, as a multiple of the channels."""
    wide_last_level: bool = True
    """Whether the finest decoder level and the refinement keep twice the first level's channels, as Restormer does."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> "UniRainSettings":
        for level, (heads, experts) in enumerate(zip(self.heads, self.experts, strict=True)):
            channels = self.width * 2**level
            nested_ranks(channels, experts)
            if heads < 1 or channels % heads:
                raise ValueError(f"{heads} heads do not divide the {channels} channels of level {level}")
        if self.width % 2:
            raise ValueError(f"width must be even, got {self.width}")
        return self


class UniRainBlock(nn.Module):
    """n = LN(x); x = x + attention(n) + mixture(n); x = x + feed_forward(LN(x))."""

    def __init__(self, channels: int, heads: int, expansion: float, mixture: NestedMixture | None) -> None:
        super().__init__()
        self.norm = LayerNorm(channels)
        self.attention = TransposedAttention(channels, heads)
        self.attention_out = conv1x1(channels, channels)
        self.mixture = mixture
        self.feed_forward_norm = LayerNorm(channels)
        self.feed_forward = GatedFeedForward(channels, expansion)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        n = self.norm(x)
        mixed = x + self.attention_out(self.attention(n))
        if self.mixture is not None:
            mixed = mixed + self.mixture(n, gates)
        return mixed + self.feed_forward(self.feed_forward_norm(mixed))  # type: ignore[no-any-return]


class UniRain(RoutedNetwork):
    """The network; `forward` adds its prediction to the input."""

    size_multiple = 8
    experts_kind = AttentionExperts
    settings: UniRainSettings

    def __init__(self, settings: UniRainSettings | None = None) -> None:
        super().__init__(settings or UniRainSettings())
        s = self.settings
        widths = [s.width * 2**level for level in range(4)]
        last = widths[1] if s.wide_last_level else widths[0]

        def level(channels: int, index: int, blocks: int, routing: RoutingSetting) -> nn.ModuleList:
            return nn.ModuleList(
                UniRainBlock(channels, s.heads[index], s.expansion, self._mixture(channels, s.experts[index], routing))
                for _ in range(blocks)
            )

        self.stem = conv3x3(3, widths[0])
        self.encoder = nn.ModuleList(level(widths[i], i, s.encoder_blocks[i], s.encoder_routing) for i in range(4))
        self.down = nn.ModuleList(conv3x3(widths[i], widths[i] // 2) for i in range(3))
        self.up = nn.ModuleList(conv3x3(widths[i + 1], widths[i + 1] * 2) for i in range(3))
        self.join = nn.ModuleList(
            nn.Identity() if i == 0 and s.wide_last_level else conv1x1(2 * widths[i], widths[i]) for i in range(3)
        )
        decoder_widths = [last, widths[1], widths[2]]
        self.decoder = nn.ModuleList(
            level(decoder_widths[i], i, s.decoder_blocks[i], s.decoder_routing) for i in range(3)
        )
        self.refinement = level(last, 0, s.refinement_blocks, s.decoder_routing)
        self.head = conv3x3(last, 3)

    def _run(self, image: Tensor, gates: Gates) -> Tensor:
        x = self.stem(image)
        skips = []
        for index, blocks in enumerate(self.encoder):
            x = _through(blocks, x, gates)
            if index < 3:
                skips.append(x)
                x = F.pixel_unshuffle(self.down[index](x), 2)
        for index in (2, 1, 0):
            x = F.pixel_shuffle(self.up[index](x), 2)
            x = self.join[index](torch.cat([x, skips[index]], dim=1))
            x = _through(self.decoder[index], x, gates)
        x = _through(self.refinement, x, gates)
        return image + self.head(x).to(image.dtype)  # type: ignore[no-any-return]


def _through(blocks: nn.Module, x: Tensor, gates: Gates) -> Tensor:
    assert isinstance(blocks, nn.ModuleList)
    for block in blocks:
        x = block(x, gates)
    return x
