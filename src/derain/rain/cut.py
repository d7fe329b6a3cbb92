"""Which part of a photograph rain is simulated on, where not on the whole."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def cut_scene(image: Tensor, side_min: int, side_max: int, generator: torch.Generator) -> Tensor:
    """A random square of a picture at a random scale: (1, 3, H, W) to (1, 3, S, S), S in [side_min, side_max].

    The picture is made smaller (never larger) by a factor drawn evenly in its logarithm, at most until its short side
    is S. Where the picture is smaller than S, S is its short side.
    """
    short = min(image.shape[-2:])
    drawn = float(torch.rand(1, generator=generator))
    side = min(short, side_min + int(drawn * (side_max - side_min + 1)))
    scale = math.exp(float(torch.rand(1, generator=generator)) * math.log(side / short))
    if scale < 1:
        size = [max(side, round(length * scale)) for length in image.shape[-2:]]
        image = F.interpolate(image, size=size, mode="bilinear", antialias=True)
    height, width = image.shape[-2:]
    top = int(torch.randint(height - side + 1, (1,), generator=generator))
    left = int(torch.randint(width - side + 1, (1,), generator=generator))
    return image[..., top : top + side, left : left + side].clamp(0, 1).contiguous()
