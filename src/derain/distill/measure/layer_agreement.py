"""Two rain layers of one candidate, and what they say of each other.

The one is the rainy picture minus its clean partner, the other the rainy picture minus what a network makes of it. In a
good pair both show the same rain. Where the partner is another picture, or moved, the first holds edges of the scene;
where it still holds rain, the first is a weaker copy of the second.
"""

import math
from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from derain.distill.measure.rain_layer import blurred, fine_layer, full_luma, regression
from derain.rain.blur import gaussian_blur

_BROAD_SIGMA = 8.0
_TINT_FLOOR = 0.002


@dataclass(frozen=True)
class LayerAgreement:
    """How the pair's layer goes with the network's."""

    slope: float
    """Least squares slope of the pair's layer on the network's, as an angle: pi / 4 where they are equal."""
    correlation: float
    """Correlation of the two."""
    ratio: float
    """ln of their root mean squares' ratio, pair over network."""
    leakage: float
    """Correlation of the pair's layer, without sign, with the partner's gradients: edges that do not cancel."""
    unexplained: float
    """ln of what of the pair's layer the network's does not explain, over the partner's contrast at that scale."""
    darkening: float
    """Part of the pair's layer's energy where the rainy picture is darker."""
    tint: float
    """ln of the root mean square of the colour of the pair's broad layer: rain and mist have hardly any."""

    def vector(self) -> npt.NDArray[np.float64]:
        """(S,) all of them, in the order of the fields."""
        return np.array(astuple(self), np.float64)

    @staticmethod
    def names() -> tuple[str, ...]:
        """The fields' names, in order."""
        return tuple(field.name for field in fields(LayerAgreement))


def layer_agreement(rainy: Tensor, derained: Tensor, clean: Tensor) -> LayerAgreement:
    """Compare the layers; all three images (1, 3, H, W) of one size, in [0, 1]."""
    target, picture = full_luma(clean), full_luma(rainy)
    by_pair, by_network = fine_layer(picture - target), fine_layer(picture - full_luma(derained))
    slope, correlation = regression(by_network.flatten(), by_pair.flatten())
    rest = by_pair - (0.0 if math.isnan(slope) else slope) * by_network
    gy, gx = torch.gradient(blurred(target, 1.0))
    _, leakage = regression(torch.hypot(gy, gx).flatten(), blurred(by_pair.abs(), 1.0).flatten())
    return LayerAgreement(
        slope=math.atan(slope),
        correlation=correlation,
        ratio=math.log((root_mean_square(by_pair) + 1e-4) / (root_mean_square(by_network) + 1e-4)),
        leakage=leakage,
        unexplained=math.log((root_mean_square(rest) + 1e-3) / (root_mean_square(fine_layer(target)) + 1e-3)),
        darkening=float(by_pair.clamp(max=0).square().sum() / by_pair.square().sum().clamp(min=1e-9)),
        tint=math.log(_TINT_FLOOR + tint(rainy - clean)),
    )


def tint(layer: Tensor) -> float:
    """Root mean square of what is not grey in a layer (1, 3, H, W) without its fine structure."""
    broad = gaussian_blur(layer, _BROAD_SIGMA)
    return float((broad - broad.mean(dim=1, keepdim=True)).square().mean().sqrt())


def root_mean_square(plane: Tensor) -> float:
    """sqrt(mean x^2)."""
    return float(plane.square().mean().sqrt())
