"""Crops keep picture and partner together, lie everywhere, and turn in all eight ways."""

from collections import Counter

import pytest
import torch

from derain.data.crops import CropPlan, joint_crops, plan_crop
from derain.errors import DatasetError


def coordinates(height: int, width: int) -> torch.Tensor:
    """(2, H, W): the row and the column of each pixel."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns])


def test_partners_are_cut_and_turned_alike() -> None:
    image = coordinates(40, 60)
    first, second = joint_crops([image, 1000 + image], 16, 30, torch.Generator().manual_seed(1))
    assert first.shape == (30, 2, 16, 16)
    assert torch.equal(second, first + 1000)


def test_plan_flips_first_and_turns_then() -> None:
    image = coordinates(5, 7)
    cut = CropPlan(top=1, left=2, size=3, quarter_turns=1, flip=True).apply(image)
    # Mirrored, the right column (4) comes first; a quarter turn against the clock brings the last column to the top.
    assert cut[1].tolist() == [[2, 2, 2], [3, 3, 3], [4, 4, 4]]
    assert cut[0].tolist() == [[1, 2, 3]] * 3


def test_all_places_and_all_eight_turns_are_equally_likely() -> None:
    generator = torch.Generator().manual_seed(2)
    plans = [plan_crop(18, 17, 16, generator) for _ in range(4800)]
    places = Counter((plan.top, plan.left) for plan in plans)
    turns = Counter((plan.flip, plan.quarter_turns) for plan in plans)
    assert len(places) == 6
    assert len(turns) == 8
    assert all(abs(count - 800) < 5 * 800**0.5 for count in places.values())
    assert all(abs(count - 600) < 5 * 600**0.5 for count in turns.values())


def test_without_turning_up_stays_up() -> None:
    generator = torch.Generator().manual_seed(3)
    plans = [plan_crop(20, 20, 16, generator, turn=False) for _ in range(50)]
    assert {plan.quarter_turns for plan in plans} == {0}
    assert {plan.flip for plan in plans} == {True, False}


def test_crop_as_large_as_the_picture_is_the_picture() -> None:
    plan = plan_crop(16, 16, 16, torch.Generator().manual_seed(0))
    assert (plan.top, plan.left) == (0, 0)


def test_too_small_and_unequal_pictures_are_refused() -> None:
    generator = torch.Generator()
    with pytest.raises(DatasetError, match=r"at least 16x16 .* got 15x40"):
        plan_crop(40, 15, 16, generator)
    with pytest.raises(DatasetError, match="one size"):
        joint_crops([torch.zeros(3, 20, 20), torch.zeros(3, 20, 21)], 16, 1, generator)
