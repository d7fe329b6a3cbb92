"""Patches hold every pixel around their centres, and nothing outside the picture."""

import torch

from derain.rain.patches import patches_around


def test_patches_reach_every_pixel_near_a_centre_once() -> None:
    batch, height, width = 2, 23, 31
    picture = torch.tensor([0, 1, 1, 0])
    x, y = torch.tensor([3.2, 15.0, 30.9, -2.0]), torch.tensor([4.7, 11.5, 0.1, 20.0])
    reach = torch.tensor([2.0, 6.3, 9.0, 4.0])
    count = torch.zeros(4, batch * height * width + 1)
    for patches in patches_around(picture, x, y, reach, batch, height, width):
        near = torch.hypot(patches.x, patches.y) <= reach[patches.item][:, None, None]
        for index, item in enumerate(patches.item.tolist()):
            count[item].index_add_(0, patches.pixel[index][near[index]], torch.ones(int(near[index].sum())))
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    for item in range(4):
        expected = torch.zeros(batch, height, width)
        distance = torch.hypot(columns[None, :] - x[item], rows[:, None] - y[item])
        expected[picture[item]] = (distance <= reach[item]).float()
        assert torch.equal(count[item][:-1].view(batch, height, width), expected)
