"""The direction in which streaks run, measured from their picture."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dominant_angle_deg(field: Tensor) -> float:
    """Peak of the histogram of streak directions in a field (H, W), weighted by the squared gradient, +-2 degrees.

    0 is straight down, positive drifts to the right on the way down: the gradient stands across the streaks.
    """
    smooth = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    slope = torch.tensor([1.0, 2.0, 0.0, -2.0, -1.0]).flip(0)
    gx = F.conv2d(field[None, None], (smooth[:, None] * slope)[None, None])
    gy = F.conv2d(field[None, None], (slope[:, None] * smooth)[None, None])
    angle = -torch.rad2deg(torch.atan2(gy, gx))
    bins = (((angle + 92) % 180) / 4).long().clamp(0, 44)
    histogram = torch.zeros(45).index_add_(0, bins.flatten(), (gx**2 + gy**2).flatten())
    return float(histogram.argmax()) * 4 - 90
