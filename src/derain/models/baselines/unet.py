"""A plain U-Net (Ronneberger et al., MICCAI 2015) of residual blocks: the baseline without experts and without gating.

It has the frame of `unirain_tiny` (half resolution by pixel-unshuffle, four levels, added skips, prediction added to
the input) and its cost, so that a comparison of the two shows what gated blocks and mixtures of experts contribute.

Input and output are (B, 3, H, W), sRGB in [0, 1], H and W multiples of 16.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from derain.models.blocks import LayerNorm, add, conv1x1, conv3x3
from derain.models.network import RestorationNetwork
from derain.settings import Settings


class UNetSettings(Settings):
    """Sizes of the U-Net; the defaults cost as many multiply-accumulates as `tiny`."""

    widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    """Channels by level, finest (half resolution) first; the fourth is the bottleneck."""
    encoder_blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    """Blocks of the encoder levels, finest first; the fourth is the bottleneck."""
    decoder_blocks: tuple[int, int, int] = (1, 1, 1)
    """Blocks of the decoder levels, finest first."""


class ResidualBlock(nn.Module):
    """x + K2 relu(K1 LN(x)) with dense 3x3 convolutions K1 and K2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = LayerNorm(channels)
        self.first = conv3x3(channels, channels)
        self.second = conv3x3(channels, channels)
        nn.init.normal_(self.second.weight, std=0.2 / (9 * channels) ** 0.5)  # starts near the identity

    def forward(self, x: Tensor) -> Tensor:
        return add(self.second(F.relu(self.first(self.norm(x)))), x)


class UNet(RestorationNetwork):
    """The network; `forward` adds its prediction to the input."""

    size_multiple = 16
    settings: UNetSettings

    def __init__(self, settings: UNetSettings | None = None) -> None:
        super().__init__(settings or UNetSettings())
        s, w = self.settings, self.settings.widths

        def blocks(level: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(w[level]) for _ in range(count)))

        self.stem = conv3x3(12, w[0])
        self.encoder = nn.ModuleList(blocks(i, s.encoder_blocks[i]) for i in range(4))
        self.down = nn.ModuleList(nn.Conv2d(w[i], w[i + 1], 2, stride=2, bias=False) for i in range(3))
        self.up = nn.ModuleList(conv1x1(w[i + 1], 4 * w[i]) for i in range(3))
        self.decoder = nn.ModuleList(blocks(i, s.decoder_blocks[i]) for i in range(3))
        self.head = conv3x3(w[0], 12)
        nn.init.normal_(self.head.weight, std=0.01)  # training starts at the identity

    def forward(self, image: Tensor) -> Tensor:
        x = self.encoder[0](self.stem(F.pixel_unshuffle(image, 2)))
        skips = [x]
        for level in (1, 2, 3):
            x = self.encoder[level](self.down[level - 1](x))
            skips.append(x)
        for level in (2, 1, 0):
            x = self.decoder[level](add(F.pixel_shuffle(self.up[level](x), 2), skips[level]))
        return image + F.pixel_shuffle(self.head(x), 2).to(image.dtype)
