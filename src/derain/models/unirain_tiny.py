"""UniRain at half resolution for CPUs: the same asymmetric mixtures and routers on cheaper blocks.

Pixel-unshuffle turns each 2x2 pixels into twelve channels; a U-Net of gated convolution blocks works at half
resolution; every level ends with one mixture of nested convolutional experts, soft in the encoder and hard (top 1) in
the decoder; pixel-shuffle brings the prediction back, which is added to the input. Nothing but the routers looks
further than the receptive field, so tiles that share the routers' gates agree. docs/network.md has what was tried.

Input and output are (B, 3, H, W), sRGB in [0, 1], H and W multiples of 16.
"""

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from derain.models.blocks import GatedConvBlock, LayerNorm, add, conv1x1, conv3x3, nested_ranks
from derain.models.moe import ConvExperts, Form, Gates, NestedMixture
from derain.models.routed import MixtureSettings, RoutedNetwork


class UniRainTinySettings(MixtureSettings):
    """Sizes and mixtures of the half-resolution network."""

    widths: tuple[int, int, int, int] = (32, 64, 128, 192)
    """Channels by level, finest (half resolution) first; the fourth is the bottleneck."""
    encoder_blocks: tuple[int, int, int, int] = (2, 2, 3, 4)
    """Blocks of the encoder levels, finest first; the fourth is the bottleneck."""
    decoder_blocks: tuple[int, int, int] = (2, 2, 3)
    """Blocks of the decoder levels, finest first."""
    experts: tuple[int, int, int, int] = (3, 3, 2, 2)
    """Nested experts of the mixture at the end of each level, finest first."""
    top_k: int = Field(default=1, ge=1)
    """Experts that a hard mixture keeps."""
    form: Form = "folded"
    """How mixtures are computed in training; all forms give the same result, folded is the fastest here."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> "UniRainTinySettings":
        for channels, experts in zip(self.widths, self.experts, strict=True):
            nested_ranks(channels, experts)
        return self


class Level(nn.Module):
    """Gated convolution blocks, then x + mixture(LN(x))."""

    def __init__(self, channels: int, blocks: int, mixture: NestedMixture | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(GatedConvBlock(channels) for _ in range(blocks)))
        self.norm = LayerNorm(channels) if mixture is not None else nn.Identity()
        self.mixture = mixture

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        x = self.blocks(x)
        return x if self.mixture is None else add(self.mixture(self.norm(x), gates), x)


class UniRainTiny(RoutedNetwork):
    """The half-resolution network; `forward` adds its prediction to the input."""

    size_multiple = 16
    experts_kind = ConvExperts
    settings: UniRainTinySettings

    def __init__(self, settings: UniRainTinySettings | None = None) -> None:
        super().__init__(settings or UniRainTinySettings())
        s, w = self.settings, self.settings.widths
        self.stem = conv3x3(12, w[0])
        self.encoder = nn.ModuleList(
            Level(w[i], s.encoder_blocks[i], self._mixture(w[i], s.experts[i], s.encoder_routing)) for i in range(4)
        )
        self.down = nn.ModuleList(nn.Conv2d(w[i], w[i + 1], 2, stride=2, bias=False) for i in range(3))
        self.up = nn.ModuleList(conv1x1(w[i + 1], 4 * w[i]) for i in range(3))
        self.decoder = nn.ModuleList(
            Level(w[i], s.decoder_blocks[i], self._mixture(w[i], s.experts[i], s.decoder_routing)) for i in range(3)
        )
        self.head = conv3x3(w[0], 12)
        nn.init.normal_(self.head.weight, std=0.01)  # training starts at the identity

    def _run(self, image: Tensor, gates: Gates) -> Tensor:
        x = self.stem(F.pixel_unshuffle(image, 2))
        skips = []
        for index, level in enumerate(self.encoder):
            x = level(x, gates)
            if index < 3:
                skips.append(x)
                x = self.down[index](x)
        for index in (2, 1, 0):
            x = self.decoder[index](add(F.pixel_shuffle(self.up[index](x), 2), skips[index]), gates)
        return image + F.pixel_shuffle(self.head(x), 2).to(image.dtype)
