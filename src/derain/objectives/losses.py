"""Losses between a restored picture and its target: free functions, each answers with one value per sample, (B,).

Per sample, so that a strategy can weight samples or types before it takes the mean. All computed in float32.
"""

import torch
from torch import Tensor


def l1(restored: Tensor, target: Tensor) -> Tensor:
    """L = mean |x - y| over channels and pixels; x, y (B, 3, H, W) to (B,)."""
    return (restored.float() - target.float()).abs().mean(dim=(1, 2, 3))


def charbonnier(restored: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """L = mean sqrt((x - y)^2 + eps^2) (Charbonnier et al. 1994); (B, 3, H, W) to (B,)."""
    return torch.sqrt((restored.float() - target.float()).square() + epsilon**2).mean(dim=(1, 2, 3))


def frequency_l1(restored: Tensor, target: Tensor) -> Tensor:
    """L = mean |F(x) - F(y)| with F the orthonormal 2-d Fourier transform of each channel; (B, 3, H, W) to (B,).

    The modulus of the complex difference; all H x W frequencies count once (Cho et al. 2021, MIMO-UNet, eq. 6, there
    as the L1 norm).
    """
    difference = restored.float() - target.float()
    spectrum: Tensor = torch.fft.fft2(difference, norm="ortho")
    return spectrum.abs().mean(dim=(1, 2, 3))


def rain_mask(rainy: Tensor, clean: Tensor, floor: float = 0.008, softness: float = 0.03) -> Tensor:
    """How much rain lies on each pixel: (B, 3, H, W) twice to (B, 1, H, W) in [0, 1).

        d = max(mean_c |rainy - clean| - floor, 0),    M = d / (d + softness)

    The floor (two 8-bit levels) keeps sensor noise and rounding out; faint rain counts nearly in proportion, rain of
    more than `softness` counts alike however bright it is.
    """
    difference = (rainy.float() - clean.float()).abs().mean(dim=1, keepdim=True)
    rain = (difference - floor).clamp_min(0)
    return rain / (rain + softness)


def rain_weighted_l1(
    restored: Tensor, target: Tensor, mask: Tensor, rain_amount: Tensor, share: float, least_amount: float
) -> Tensor:
    """L1 of which a part is weighted by the rain, so that rain which covers few pixels is not lost among clean ones.

        L = (1 - share) mean |x - y| + share mean (W |x - y|),    W = M / max(rain_amount, least_amount)

    `rain_amount` (B,) is the mean of the mask over the whole picture of which the sample is a crop: W then averages 1
    over that picture, and crops with more of its rain weigh more. `least_amount` bounds W where there is hardly any
    rain. x, y (B, 3, H, W), mask M (B, 1, H, W), to (B,).
    """
    error = (restored.float() - target.float()).abs()
    weight = mask / rain_amount.clamp_min(least_amount).view(-1, 1, 1, 1)
    plain = error.mean(dim=(1, 2, 3))
    weighted = (error * weight).mean(dim=(1, 2, 3))
    return torch.lerp(plain, weighted, share)
