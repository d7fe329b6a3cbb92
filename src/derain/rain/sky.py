"""Where a picture shows the sky."""

import torch
from torch import Tensor
from torch.nn import functional

from derain.imaging.color import luminance
from derain.rain.blur import gaussian_blur


def sky_likelihood(day: Tensor) -> Tensor:
    """How much of a pixel is sky, (1, 1, H, W) in [0, 1], in one picture (1, 3, H, W) of linear light.

    Sky is bright or blue, smooth, and joined to the top of the picture.
    """
    height, width = day.shape[-2:]
    rows = min(height, 48)
    small = functional.interpolate(day, (rows, max(1, round(rows * width / height))), mode="area")
    light = luminance(small)
    bright = ((light - 0.25) / 0.2).clamp(0, 1)
    blue = ((small[:, 2:] - small[:, :1] - 0.06) / 0.1).clamp(0, 1) * ((light - 0.08) / 0.1).clamp(0, 1)
    rough = (light - gaussian_blur(light, 1.0)).abs()
    likely = torch.maximum(bright, blue) * (1 - (rough - 0.05) / 0.1).clamp(0, 1)
    reached = torch.zeros_like(likely)
    reached[..., 0, :] = likely[..., 0, :]
    for _ in range(rows):  # grow from the top through what looks like sky
        reached = torch.minimum(likely, functional.max_pool2d(reached, 3, stride=1, padding=1))
    typical = (reached * light).sum() / reached.sum().clamp(min=1e-3)
    near = functional.max_pool2d(reached, 5, stride=1, padding=2)
    near = functional.interpolate(near, (height, width), mode="bilinear", align_corners=False)
    alike = ((luminance(day) / typical.clamp(min=1e-3) - 0.3) / 0.3).clamp(0, 1)
    return near * alike * (reached.mean() / 0.03).clamp(max=1)
