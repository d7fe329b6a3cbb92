"""The made-up depth map: its parts against slow versions, and what it says of a real picture."""

import numpy as np
import skimage.data
import torch
from torch import Tensor

from derain.imaging.color import srgb_to_linear
from derain.imaging.pixels import to_tensor
from derain.rain.depth import diffuse, ground_plane, guided_upsampling, scene_depth
from derain.rain.random_sampler import RandomSampler


def sampler(seed: int = 0) -> RandomSampler:
    return RandomSampler(torch.Generator().manual_seed(seed))


def rocket() -> Tensor:
    picture = to_tensor(np.ascontiguousarray(skimage.data.rocket()))
    return torch.nn.functional.interpolate(picture, (128, 160), mode="area")


def test_ground_recedes_to_its_horizon() -> None:
    distance = ground_plane(100, horizon=0.3, nearness=0.2, device=torch.device("cpu"))[0, 0, :, 0]
    assert (distance[:30] == 1).all()
    assert (distance[30:].diff() < 0).all()
    torch.testing.assert_close(float(distance[-1]), 0.2 / (0.2 + 0.995 - 0.3))


def test_diffusion_is_the_flow_between_neighbours() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(1, 1, 5, 6, generator=generator)
    guide = torch.rand(1, 3, 5, 6, generator=generator)
    wanted = values.clone()
    for _ in range(3):
        before = wanted.clone()
        # First down and up, then, from what came of it, right and left.
        for steps in (((1, 0), (-1, 0)), ((0, 1), (0, -1))):
            for y in range(5):
                for x in range(6):
                    for dy, dx in steps:
                        if 0 <= y + dy < 5 and 0 <= x + dx < 6:
                            squared = float((guide[0, :, y + dy, x + dx] - guide[0, :, y, x]).square().sum())
                            flow = 0.25 / (1 + squared / 0.06**2)
                            wanted[0, 0, y, x] += flow * (before[0, 0, y + dy, x + dx] - before[0, 0, y, x])
    torch.testing.assert_close(diffuse(values, guide, 3), wanted)


def test_diffusion_keeps_the_sum_and_stops_at_edges() -> None:
    values = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(2))
    guide = torch.zeros(1, 3, 20, 20)
    guide[..., 10:] = 1
    even = diffuse(values, guide, 400)
    torch.testing.assert_close(even.sum(), values.sum())
    left, right = even[..., :10], even[..., 10:]
    assert float(left.std()) < 0.2 * float(values.std())
    assert float(even[..., 9:11].diff(dim=-1).abs().mean()) > 5 * float(left.diff(dim=-1).abs().mean())
    assert float((left.mean() - values[..., :10].mean()).abs()) < 0.01
    assert float((right.mean() - values[..., 10:].mean()).abs()) < 0.01


def test_enlarging_takes_the_edges_of_the_picture() -> None:
    guide = torch.zeros(1, 1, 64, 64)
    guide[..., 29:] = 0.8
    small_guide = torch.nn.functional.interpolate(guide, (16, 16), mode="area")
    small = 0.2 + 0.5 * small_guide
    large = guided_upsampling(small, small_guide, guide)
    jump = large[0, 0, 32, 29] - large[0, 0, 32, 28]
    assert 0.3 < float(jump) < 0.45  # of 0.4, in one pixel
    flat = guided_upsampling(torch.full((1, 1, 16, 16), 0.3), small_guide, guide)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.3))


def test_sky_is_far_and_the_ground_before_the_camera_near() -> None:
    linear = srgb_to_linear(rocket()).repeat(16, 1, 1, 1)
    depth = scene_depth(linear, sampler())
    assert depth.shape == (16, 1, 128, 160)
    assert depth.min() >= 0
    assert depth.max() <= 1
    means = depth.mean(dim=(0, 1, 3))
    assert float(means[:30].mean()) > float(means[-15:].mean()) + 0.2
    assert len({round(value, 5) for value in depth.mean(dim=(1, 2, 3)).tolist()}) == 16


def test_depth_fits_any_picture() -> None:
    for height, width in ((5, 7), (16, 300), (97, 31)):
        depth = scene_depth(torch.rand(1, 3, height, width), sampler())
        assert depth.shape == (1, 1, height, width)
        assert torch.isfinite(depth).all()
