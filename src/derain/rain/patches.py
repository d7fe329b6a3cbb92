"""Many small things drawn into one batch of pictures: pixel patches around their centres, grouped by size."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_SIZES = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
_PIXELS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Patches:
    """The surroundings of n items, all patches P x P pixels."""

    item: Tensor
    """(n,) which items these are."""
    x: Tensor
    """(n, 1, P) pixels right of the item's centre."""
    y: Tensor
    """(n, P, 1) pixels below the item's centre."""
    pixel: Tensor
    """(n, P, P) place in a canvas of batch * height * width cells and one more, which collects what lies outside."""


def patches_around(
    picture: Tensor, x: Tensor, y: Tensor, reach: Tensor, batch: int, height: int, width: int
) -> Iterator[Patches]:
    """Patches that hold every pixel within `reach` of the centres (x, y); all four (N,), lengths in pixels.

    `picture` (N,) says which of the batch's pictures an item lies in. Pixel centres are at half-integers.
    """
    sizes = torch.tensor(_SIZES, device=x.device)
    bucket = torch.bucketize((2 * reach + 1).ceil(), sizes.to(reach.dtype)).clamp(max=len(_SIZES) - 1)
    for index in torch.unique(bucket).tolist():
        size = _SIZES[index]
        members = torch.nonzero(bucket == index).flatten()
        for item in torch.split(members, max(1, _PIXELS_AT_ONCE // size**2)):
            steps = torch.arange(size, device=x.device)
            column = (x[item] - size / 2 + 0.5).floor().long()[:, None] + steps
            row = (y[item] - size / 2 + 0.5).floor().long()[:, None] + steps
            outside_row, outside_column = (row < 0) | (row >= height), (column < 0) | (column >= width)
            pixel = (picture[item][:, None] * height + row)[:, :, None] * width + column[:, None, :]
            pixel.masked_fill_(outside_row[:, :, None] | outside_column[:, None, :], batch * height * width)
            yield Patches(
                item=item,
                x=(column + 0.5 - x[item][:, None])[:, None, :],
                y=(row + 0.5 - y[item][:, None])[:, :, None],
                pixel=pixel,
            )
