"""The losses of baseline JPEG, without the file: what it does to pixels, in torch and in batches.

Colour conversion, halved chroma, discrete cosine transform of 8 x 8 blocks, quantisation (ITU-T T.81, with the tables
of its annex K scaled by quality as the Independent JPEG Group does), and back.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# fmt: off
_LUMA_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)
_CHROMA_TABLE = (
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
)
# fmt: on
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def compress(image: Tensor, quality: Tensor) -> Tensor:
    """What remains of each picture after JPEG.

    Args:
        image: (B, 3, H, W) sRGB-encoded, [0, 1].
        quality: (B,) 1 to 100; 0 leaves that picture as it is.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    chosen = (quality > 0).nonzero()[:, 0].to(image.device)
    if not len(chosen):
        return image
    height, width = image.shape[-2:]
    quality = quality.to(image.device)[chosen]
    padded = F.pad(image[chosen], (0, -width % 16, 0, -height % 16), mode="replicate")
    to_ycc, to_rgb = (torch.tensor(m, device=image.device) for m in (_TO_YCC, _TO_RGB))
    ycc = torch.einsum("dc,bchw->bdhw", to_ycc, padded * 255)
    luma = _quantise_blocks(ycc[:, :1] - 128, quantisation_table(_LUMA_TABLE, quality))
    chroma = _quantise_blocks(F.avg_pool2d(ycc[:, 1:], 2), quantisation_table(_CHROMA_TABLE, quality))
    chroma = F.interpolate(chroma, padded.shape[-2:], mode="bilinear", align_corners=False)
    rgb = torch.einsum("dc,bchw->bdhw", to_rgb, torch.cat([luma + 128, chroma], dim=1)) / 255
    result = image.clone()
    result[chosen] = rgb[..., :height, :width].clamp(0, 1)
    return result


def quantisation_table(base: tuple[int, ...], quality: Tensor) -> Tensor:
    """(B, 8, 8) steps: base * s, with s = 50 / q below quality 50 and 2 - q / 50 from there on, 1 to 255."""
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).view(-1, 1, 1)
    table = torch.tensor(base, dtype=torch.float32, device=quality.device).view(1, 8, 8)
    return ((table * scale + 50) / 100).floor().clamp(1, 255)


def cosine_basis(device: torch.device | str = "cpu") -> Tensor:
    """(8, 8) orthonormal rows: D[k, n] = c_k cos(pi (2 n + 1) k / 16), c_0 = sqrt(1/8), else 1/2."""
    n = torch.arange(8, dtype=torch.float32, device=device)
    basis = 0.5 * torch.cos(math.pi * (2 * n[None] + 1) * n[:, None] / 16)
    basis[0] = math.sqrt(1 / 8)
    return basis


def _quantise_blocks(planes: Tensor, table: Tensor) -> Tensor:
    """Round the cosine transform of each 8 x 8 block of (B, C, H, W) to multiples of the table (B, 8, 8)."""
    batch, channels, height, width = planes.shape
    basis = cosine_basis(planes.device)
    blocks = planes.reshape(batch, channels * height // 8, 8, width // 8, 8).transpose(2, 3)
    steps = table[:, None, None]
    rounded = (basis @ blocks @ basis.T / steps).round() * steps
    return (basis.T @ rounded @ basis).transpose(2, 3).reshape(batch, channels, height, width)
