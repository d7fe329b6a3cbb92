"""How well a restoration does on one pair of pictures: PSNR, SSIM and L1 before and after it.

The only place where restored pictures are scored: benchmarks, the validation of training and ablations all call
`score_pair`, so that their figures can be compared.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from derain.errors import ImageError
from derain.imaging.metrics import SSIM_WINDOW, Protocol, psnr, ssim

Restore = Callable[[Tensor], Tensor]
"""Takes a rainy image (1, 3, H, W) in [0, 1] and returns the restored one, of the same shape and range."""

CEILING_DB = 100.0
"""No PSNR counts as more than this: one picture that equals its target would otherwise make every mean infinite."""


@dataclass(frozen=True, kw_only=True)
class PairScore:
    """The figures of one pair under one protocol; "input" is the rainy image, "output" the restored one."""

    input_psnr: float
    """Against the target, dB; at most `CEILING_DB`, also where they are equal."""
    output_psnr: float
    input_ssim: float
    output_ssim: float
    input_l1: float
    """Mean absolute difference from the target on RGB, whatever the protocol, in [0, 1]."""
    output_l1: float
    seconds: float
    """Wall time of the restoration alone."""


def score_pair(restore: Restore, rainy: Tensor, clean: Tensor, protocol: Protocol) -> PairScore:
    """Restore `rainy` and score it before and after against `clean`.

    Args:
        restore: is called once. What it returns is scored as it is: rounding to integers, as files hold them, is
            its business.
        rainy, clean: (1, 3, H, W) in [0, 1], at least 11 pixels high and wide.

    Raises:
        ImageError: the images have another shape, differ in size or are too small for SSIM, or `restore` changed the
            size. All but the last before anything is restored.
    """
    _check(rainy, clean)
    started = time.perf_counter()
    restored = restore(rainy)
    seconds = time.perf_counter() - started
    if restored.shape != clean.shape:
        raise ImageError(
            f"wanted a restored image of shape {tuple(clean.shape)}, got {tuple(restored.shape)}; "
            "a restoration has to keep the size of the picture"
        )
    return PairScore(
        input_psnr=_psnr(rainy, clean, protocol),
        output_psnr=_psnr(restored, clean, protocol),
        input_ssim=ssim(rainy, clean, protocol).item(),
        output_ssim=ssim(restored, clean, protocol).item(),
        input_l1=_l1(rainy, clean),
        output_l1=_l1(restored, clean),
        seconds=seconds,
    )


def _psnr(image: Tensor, target: Tensor, protocol: Protocol) -> float:
    return min(psnr(image, target, protocol).item(), CEILING_DB)


def _l1(image: Tensor, target: Tensor) -> float:
    return (image.float() - target.float()).abs().mean(dim=(1, 2, 3)).item()


def _check(rainy: Tensor, clean: Tensor) -> None:
    if rainy.shape != clean.shape or rainy.ndim != 4 or rainy.shape[:2] != (1, 3):
        raise ImageError(
            f"wanted one rainy and one clean image, both (1, 3, H, W), got {tuple(rainy.shape)} and "
            f"{tuple(clean.shape)}; score pairs one at a time, and give partners one size"
        )
    height, width = rainy.shape[-2:]
    if min(height, width) < SSIM_WINDOW:
        raise ImageError(
            f"wanted a pair of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, which SSIM needs, "
            f"got {width} x {height}; leave it out"
        )
