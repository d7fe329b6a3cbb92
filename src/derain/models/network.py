"""What every network that restores pictures offers: sizes, settings, an image in and an image out.

Everything outside of a network's own file (the list of networks, checkpoints, training, restoration, benchmarks) knows
it by this class alone. Networks with mixtures of experts offer more, see `derain.models.routed`.
"""

import copy
from abc import ABC, abstractmethod
from typing import ClassVar, Self

from torch import Tensor, nn

from derain.settings import Settings


class RestorationNetwork(nn.Module, ABC):
    """Base of all networks; a network sets `size_multiple`, builds its layers from `settings` and defines `forward`.

    A picture's result does not depend on the others in its batch.
    """

    size_multiple: ClassVar[int]
    """Height and width that the network takes are multiples of this."""

    settings: Settings
    """What the network was built with; a checkpoint stores it and builds the same network again."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Restore `image`.

        Args:
            image: (B, 3, H, W), sRGB in [0, 1], H and W multiples of `size_multiple`.

        Returns:
            The same shape; values may lie slightly outside [0, 1].
        """

    def for_inference(self) -> Self:
        """A copy in evaluation mode, without gradients, and reduced to what inference needs; this one stays as it is.

        It gives the same results, up to rounding.
        """
        return copy.deepcopy(self).eval().requires_grad_(False)
