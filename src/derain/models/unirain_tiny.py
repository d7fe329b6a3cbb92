"""UniRain at half resolution for CPUs: the same asymmetric mixtures and routers on cheaper blocks.

Pixel-unshuffle turns each 2x2 pixels into twelve channels; a U-Net of gated convolution blocks works at half
resolution; every level ends with one mixture of nested convolutional experts, soft in the encoder and hard (top 1) in
the decoder; pixel-shuffle brings the prediction back, which is added to the input. Nothing but the routers looks
further than the receptive field, so tiles that share the routers' gates agree. docs/network.md tells what was tried.

Input and output are (B, 3, H, W), sRGB in [0, 1], H and W multiples of 16.
"""

import copy
from collections.abc import Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from derain.models.blocks import GatedConvBlock, LayerNorm, add, conv1x1, conv3x3, nested_ranks
from derain.models.moe import ConvExperts, Form, Gates, NestedMixture, fold_mixtures
from derain.models.unirain import RoutingSetting, mixture_names
from derain.settings import Settings


class UniRainTinySettings(Settings):
    """Sizes and mixtures of the half-resolution network."""

    widths: tuple[int, int, int, int] = (32, 64, 128, 192)
    """Channels by level, finest (half resolution) first; the fourth is the bottleneck."""
    encoder_blocks: tuple[int, int, int, int] = (2, 2, 3, 4)
    """Blocks of the encoder levels, finest first; the fourth is the bottleneck."""
    decoder_blocks: tuple[int, int, int] = (2, 2, 3)
    """Blocks of the decoder levels, finest first."""
    experts: tuple[int, int, int, int] = (3, 3, 2, 2)
    """Nested experts of the mixture at the end of each level, finest first."""
    encoder_routing: RoutingSetting = "soft"
    """How encoder mixtures weigh their experts; none leaves the mixtures out."""
    decoder_routing: RoutingSetting = "hard"
    """How decoder mixtures weigh their experts; none leaves the mixtures out."""
    top_k: int = Field(default=1, ge=1)
    """Experts that a hard mixture keeps."""
    router_noise: float = 0.01
    """Standard deviation of the Gaussian noise on the routers' pooled features, in training only."""
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


class UniRainTiny(nn.Module):
    """The half-resolution network; `forward` adds its prediction to the input."""

    size_multiple = 16

    def __init__(self, settings: UniRainTinySettings | None = None) -> None:
        super().__init__()
        self.settings = s = settings or UniRainTinySettings()
        w = s.widths
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

    def _mixture(self, channels: int, experts: int, routing: RoutingSetting) -> NestedMixture | None:
        if routing == "none":
            return None
        s = self.settings
        return NestedMixture(channels, experts, routing, s.top_k, s.router_noise, s.form, ConvExperts)

    def forward(self, image: Tensor, gates: Sequence[Tensor] | None = None) -> Tensor:
        """Restore `image`; with `gates` (as returned by `gates()`) the routers are not asked.

        Args:
            image: (B, 3, H, W), H and W multiples of `size_multiple`.
            gates: one (B, n) or (1, n) tensor per mixture, in the order of computation.
        """
        return self._run(image, Gates(gates))

    @torch.no_grad()
    def gates(self, image: Tensor) -> list[Tensor]:
        """The gates of every mixture for `image`, one (B, n) tensor each, in the order of `mixture_names()`."""
        gates = Gates()
        self._run(image, gates)
        return gates.used

    def mixture_names(self) -> list[str]:
        """The mixtures' names in the order of computation, such as encoder.1."""
        return mixture_names(self)

    def fold(self) -> "UniRainTiny":
        """A copy for inference whose mixtures are merged into single convolutions; the original is kept as it is."""
        folded = copy.deepcopy(self).eval()
        fold_mixtures(folded)
        return folded

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
