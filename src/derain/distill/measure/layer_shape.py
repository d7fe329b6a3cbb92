"""Shape of a rain layer: direction, size of its marks, scales, and whether it repeats itself.

Directions are in degrees from vertical, positive drifting to the right on the way down, -90 to 90.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from derain.rain.blur import gaussian_blur

_LONGEST_EXTENT = 64  # pixels on either side along which the autocorrelation is followed
_NEAREST_REPEAT = 14.0  # pixels: nearer, marks of the rain themselves correlate
_OFF_AXIS = 5.0  # pixels beside the line along which streaks correlate with themselves


def structure_tensor(plane: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """gx^2, gx gy and gy^2 of a plane (H, W) blurred by one pixel; each (H - 2, W - 2)."""
    smooth = gaussian_blur(plane[None, None], 1.0)[0, 0]
    gx = (smooth[1:-1, 2:] - smooth[1:-1, :-2]) / 2
    gy = (smooth[2:, 1:-1] - smooth[:-2, 1:-1]) / 2
    return gx * gx, gx * gy, gy * gy


def direction(plane: Tensor) -> tuple[float, float]:
    """Dominating direction of lines in a plane and the circular standard deviation around it, both in degrees.

    With gradient angles doubled, m = sum of w exp(2 i angle) / sum of w with weights w = squared gradient; the
    deviation is sqrt(-2 ln |m|) / 2 (Mardia & Jupp, "Directional Statistics", 1999, eq. 2.3.14 for doubled angles).
    """
    xx, xy, yy = (float(part.double().sum()) for part in structure_tensor(plane))
    total = max(xx + yy, 1e-20)
    cosine, sine = (xx - yy) / total, 2 * xy / total
    # The gradient stands across a line: a vertical line has angle 0, and one that leans right a gradient that rises.
    angle_deg = -math.degrees(math.atan2(sine, cosine)) / 2
    strength = min(max(math.hypot(cosine, sine), 1e-6), 1.0)
    return angle_deg, math.degrees(math.sqrt(-2 * math.log(strength)) / 2)


def coherence(plane: Tensor, sigma: float) -> float:
    """Mean local anisotropy of a plane (H, W), 0 to 1, weighted by gradient energy, in windows of `sigma` pixels.

    sqrt((Jxx - Jyy)^2 + 4 Jxy^2) / (Jxx + Jyy) with the structure tensor J averaged by a Gaussian (Weickert 1999).
    """
    xx, xy, yy = (gaussian_blur(part[None, None], sigma)[0, 0] for part in structure_tensor(plane))
    return float(torch.sqrt((xx - yy).square() + 4 * xy.square()).sum() / (xx + yy).sum().clamp(min=1e-20))


def autocorrelation(plane: Tensor) -> Tensor:
    """Autocorrelation of a plane (H, W) at lags up to half its size, (2 (H // 2) + 1, 2 (W // 2) + 1), 1 in the middle.

    Each lag is divided by the number of pixels that overlap there, so that it does not fall with distance.
    """
    height, width = plane.shape
    centred = (plane - plane.mean()).double()
    size = (2 * height, 2 * width)
    spectrum = torch.fft.rfft2(centred, s=size)
    sums = torch.fft.irfft2(spectrum.abs().square(), s=size)
    dy, dx = height // 2, width // 2
    sums = torch.roll(sums, (dy, dx), dims=(0, 1))[: 2 * dy + 1, : 2 * dx + 1]
    overlap_y = height - torch.arange(-dy, dy + 1).abs()
    overlap_x = width - torch.arange(-dx, dx + 1).abs()
    means = sums / (overlap_y[:, None] * overlap_x)
    return (means / means[dy, dx].clamp(min=1e-20)).float()


def extent(correlation: Tensor, angle_deg: float) -> float:
    """Full width in pixels over which an autocorrelation stays above a half, along a direction through its middle."""
    dy, dx = correlation.shape[0] // 2, correlation.shape[1] // 2
    angle = math.radians(angle_deg)
    reach = min(_LONGEST_EXTENT, dy - 1, dx - 1)
    steps = torch.arange(0, reach, 0.5)
    y, x = dy + steps * math.cos(angle), dx + steps * math.sin(angle)
    top, left = y.floor().long(), x.floor().long()
    fy, fx = y - top, x - left
    profile = (
        correlation[top, left] * (1 - fy) * (1 - fx)
        + correlation[top, left + 1] * (1 - fy) * fx
        + correlation[top + 1, left] * fy * (1 - fx)
        + correlation[top + 1, left + 1] * fy * fx
    )
    below = (profile < 0.5).nonzero()
    if not len(below):
        return 2.0 * reach
    first = int(below[0])
    before, after = float(profile[first - 1]), float(profile[first])
    return 2 * 0.5 * (first - 1 + (before - 0.5) / (before - after))


def repetition(correlation: Tensor, angle_deg: float) -> tuple[float, float]:
    """Highest autocorrelation far from zero, and the same over the standard deviation there.

    Left out are lags shorter than a mark and those along the streaks' own direction, where long streaks correlate.
    """
    dy, dx = correlation.shape[0] // 2, correlation.shape[1] // 2
    rows = torch.arange(-dy, dy + 1).float()[:, None]
    columns = torch.arange(-dx, dx + 1).float()
    angle = math.radians(angle_deg)
    across = (columns * math.cos(angle) - rows * math.sin(angle)).abs()
    far = (torch.hypot(rows, columns) > _NEAREST_REPEAT) & (across > _OFF_AXIS)
    values = correlation[far]
    if len(values) < 100:
        return 0.0, 1.0
    peak = float(values.max())
    return peak, peak / max(float(values.std()), 1e-6)


def band_energies(layer: Tensor) -> list[float]:
    """ln of the parts of a layer's energy around 1, 2, 4, 8 and 16 pixels: differences of Gaussians, sum of parts 1."""
    sigmas = (0.7, 1.4, 2.8, 5.6, 11.2, 22.4)
    smooth = [gaussian_blur(layer[None, None], sigma)[0, 0] for sigma in sigmas]
    energies = [float((a - b).square().mean()) for a, b in pairwise(smooth)]
    total = max(sum(energies), 1e-20)
    return [math.log(max(energy / total, 1e-4)) for energy in energies]
