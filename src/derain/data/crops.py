"""Joint crops, flips and quarter turns: a picture and its partner are always cut and turned alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from derain.errors import DatasetError


@dataclass(frozen=True)
class CropPlan:
    """Where one square crop lies and how it is turned."""

    top: int
    left: int
    size: int
    quarter_turns: int
    """Turns by 90 degrees against the clock, 0 to 3; done after the flip."""
    flip: bool
    """Mirrored left to right first."""

    def apply(self, image: Tensor) -> Tensor:
        """Cut `image` (..., H, W) into (..., size, size), a copy."""
        crop = image[..., self.top : self.top + self.size, self.left : self.left + self.size]
        if self.flip:
            crop = crop.flip(-1)
        return torch.rot90(crop, self.quarter_turns, dims=(-2, -1)).contiguous()


def plan_crop(height: int, width: int, size: int, generator: torch.Generator, turn: bool = True) -> CropPlan:
    """A crop drawn evenly over all places in a picture of `height` x `width`.

    With `turn`, each of the eight flips and quarter turns is equally likely; without, the crop is only mirrored left
    to right, as where up and down must keep their meaning.

    Raises:
        DatasetError: the picture is smaller than the crop.
    """
    if min(height, width) < size:
        raise DatasetError(
            f"wanted pictures of at least {size}x{size} for crops of that size, got {width}x{height} (width x height); "
            "take a smaller crop or leave the picture out"
        )
    return CropPlan(
        top=_below(height - size + 1, generator),
        left=_below(width - size + 1, generator),
        size=size,
        quarter_turns=_below(4, generator) if turn else 0,
        flip=_below(2, generator) == 1,
    )


def plan_crops(
    height: int, width: int, size: int, count: int, generator: torch.Generator, turn: bool = True
) -> tuple[CropPlan, ...]:
    """`count` crops of one picture, each as `plan_crop` draws it."""
    return tuple(plan_crop(height, width, size, generator, turn) for _ in range(count))


def cut_crops(image: Tensor, plans: Sequence[CropPlan]) -> Tensor:
    """The planned crops of (C, H, W), as (count, C, size, size)."""
    return torch.stack([plan.apply(image) for plan in plans])


def joint_crops(
    images: Sequence[Tensor], size: int, count: int, generator: torch.Generator, turn: bool = True
) -> list[Tensor]:
    """`count` crops of each image (C, H, W), cut alike from all of them: a list of (count, C, size, size).

    Raises:
        DatasetError: the images differ in size or are smaller than the crop.
    """
    height, width = images[0].shape[-2:]
    for image in images[1:]:
        if image.shape[-2:] != (height, width):
            raise DatasetError(
                f"wanted pictures of one size to crop together, got {width}x{height} and "
                f"{image.shape[-1]}x{image.shape[-2]} (width x height)"
            )
    plans = plan_crops(height, width, size, count, generator, turn)
    return [cut_crops(image, plans) for image in images]


def _below(limit: int, generator: torch.Generator) -> int:
    """A whole number in [0, limit)."""
    return int(torch.randint(limit, (1,), generator=generator))
