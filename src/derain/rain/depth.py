"""A made-up depth map from a single picture, for what grows thicker with distance.

Nothing here measures depth. Pictures mostly show ground that recedes upwards to a horizon, things that stand on it, and
sky; so the map is the perspective of a ground plane, plus smooth random structure for the things. Both are spread
within the picture's own regions by diffusion that its edges stop (Perona & Malik, 1990), sky is moved to the far end,
and a guided filter (He et al., ECCV 2010) carries the result to full size along the picture's edges. It is wrong about
most scenes and plausible for most; that is all that training on simulated haze needs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from derain.imaging.color import linear_to_srgb
from derain.rain.random_sampler import RandomSampler
from derain.rain.sky import sky_likelihood

_ROWS = 96
"""Height of the copy that the structure is made on."""
_ROUNDS = 60
"""Steps of the diffusion, which reaches about the root of twice their number of cells."""
_EDGE = 0.06
"""Difference of encoded values that stops half of the diffusion between two cells."""
_GUIDE_RADIUS = 3
_GUIDE_SMOOTHNESS = 0.004
"""Variance of the picture within a window below which the filter smoothes instead of following it."""


def scene_depth(linear: Tensor, sampler: RandomSampler) -> Tensor:
    """Distance in scenes (B, 3, H, W) of linear light: (B, 1, H, W), 0 nearest to 1 farthest."""
    return torch.cat([_depth_of(linear[index : index + 1], sampler) for index in range(len(linear))])


def ground_plane(rows: int, horizon: float, nearness: float, device: torch.device) -> Tensor:
    """(1, 1, rows, 1) distance n / (n + y - h) of flat ground below the horizon h, 1 above it; y and h from the top, in
    picture heights. `nearness` n is small where the camera stands low and far ground is most of the picture."""
    y = (torch.arange(rows, dtype=torch.float32, device=device) + 0.5) / rows
    return (nearness / (nearness + (y - horizon).clamp(min=0))).view(1, 1, -1, 1)


def diffuse(values: Tensor, guide: Tensor, rounds: int) -> Tensor:
    """Even out `values` (B, 1, h, w) within the regions of `guide` (B, C, h, w), encoded values in [0, 1].

    Each round, a cell takes from its four neighbours by u += 1/4 sum g (u_n - u), g = 1 / (1 + (d / edge)^2) with d
    the difference between their colours.
    """
    down = _conductance(guide[..., 1:, :] - guide[..., :-1, :])
    right = _conductance(guide[..., :, 1:] - guide[..., :, :-1])
    for _ in range(rounds):
        flow_down = down * (values[..., 1:, :] - values[..., :-1, :])
        flow_right = right * (values[..., :, 1:] - values[..., :, :-1])
        values = values + F.pad(flow_down, (0, 0, 0, 1)) - F.pad(flow_down, (0, 0, 1, 0))
        values = values + F.pad(flow_right, (0, 1)) - F.pad(flow_right, (1, 0))
    return values


def guided_upsampling(small: Tensor, small_guide: Tensor, guide: Tensor) -> Tensor:
    """`small` (B, 1, h, w) at the size of `guide` (B, 1, H, W), with edges where the guide has some: a I + b with a and
    b fitted in windows of the small copies (He & Sun, "Fast guided filter", 2015)."""
    mean_guide, mean = _window_mean(small_guide), _window_mean(small)
    covariance = _window_mean(small_guide * small) - mean_guide * mean
    variance = _window_mean(small_guide.square()) - mean_guide.square()
    slope = covariance / (variance + _GUIDE_SMOOTHNESS)
    offset = mean - slope * mean_guide
    fit = torch.cat([_window_mean(slope), _window_mean(offset)], dim=1)
    fit = F.interpolate(fit, guide.shape[-2:], mode="bilinear", align_corners=False)
    return fit[:, :1] * guide + fit[:, 1:]


def _depth_of(linear: Tensor, sampler: RandomSampler) -> Tensor:
    height, width = linear.shape[-2:]
    rows = min(_ROWS, height)
    columns = max(2, round(rows * width / height))
    encoded = linear_to_srgb(linear.clamp(0, 1))
    small = F.interpolate(encoded, (rows, columns), mode="area")
    ground = ground_plane(rows, sampler.uniform(0.0, 0.5), sampler.log_uniform(0.1, 0.6), linear.device)
    # Things of a tenth to a third of the picture, each at its own distance.
    uneven = 0.6 * _bumps(4, rows, columns, sampler, linear.device) + 0.4 * _bumps(
        10, rows, columns, sampler, linear.device
    )
    depth = ground * torch.exp(sampler.uniform(0.4, 1.6) * (uneven - 0.6))
    depth = diffuse(depth, small, _ROUNDS).clamp(0.02, 0.9)
    sky = F.interpolate(sky_likelihood(linear), (rows, columns), mode="area")
    depth = torch.lerp(depth, torch.ones_like(depth), sky)
    grey, small_grey = (image.mean(dim=1, keepdim=True) for image in (encoded, small))
    return guided_upsampling(depth, small_grey, grey).clamp(0, 1)


def _bumps(cells: int, rows: int, columns: int, sampler: RandomSampler, device: torch.device) -> Tensor:
    """(1, 1, rows, columns) smooth noise in about [0, 1], of so many cells in height."""
    across = max(2, round(cells * columns / rows))
    noise = sampler.uniforms(cells * across, 0.0, 1.0).view(1, 1, cells, across).to(device)
    return F.interpolate(noise, (rows, columns), mode="bicubic", align_corners=False)


def _conductance(difference: Tensor) -> Tensor:
    """(B, 1, h, w), at most 1/4, with which four neighbours keep the diffusion stable."""
    squared = difference.square().sum(dim=1, keepdim=True) / (_EDGE * _EDGE)
    return 0.25 / (1 + squared)


def _window_mean(image: Tensor) -> Tensor:
    radius = _GUIDE_RADIUS
    padded = F.pad(image, (radius, radius, radius, radius), mode="replicate")
    return F.avg_pool2d(padded, 2 * radius + 1, stride=1)
