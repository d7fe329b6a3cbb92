"""How well a restorer does on pairs: one row of measurements per picture."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from derain.data.pairs import Pair
from derain.errors import DatasetError
from derain.imaging.io import read_picture, to_tensor
from derain.imaging.metrics import Protocol, psnr, ssim
from derain.infer.files import WORK_ERRORS, failure_reason
from derain.infer.restore import Restorer

CEILING_DB = 100.0
"""No PSNR counts as more than this: one picture that equals its target would otherwise make every mean infinite."""


@dataclass(frozen=True)
class Score:
    """What was measured on one picture, under one protocol."""

    id: str
    type: str
    """Name of the rain type, "untyped" where the pair names none."""
    source: str
    height: int
    width: int
    input_psnr: float
    """Rainy picture against target, dB; at most `CEILING_DB`, also where they are equal."""
    output_psnr: float
    """Restored picture against target, dB."""
    input_ssim: float
    output_ssim: float
    seconds: float
    """Wall time of the restoration alone."""


@dataclass(frozen=True)
class Failure:
    """A pair that could not be measured, and why."""

    id: str
    reason: str


UNTYPED = "untyped"


def benchmark(restorer: Restorer, pairs: Sequence[Pair], protocol: Protocol) -> Iterator[Score | Failure]:
    """Restore the rainy picture of every pair in turn and measure it; a pair that fails does not stop the rest.

    What is restored and measured are the integers that a file would hold, not the network's floats.
    """
    for pair in pairs:
        try:
            yield score_pair(restorer, pair, protocol)
        except WORK_ERRORS as error:
            yield Failure(pair.id, failure_reason(error))


def score_pair(restorer: Restorer, pair: Pair, protocol: Protocol) -> Score:
    """Measure one pair.

    Raises:
        DatasetError: it has no clean picture, or one of another size.
        ImageError: a file cannot be read.
    """
    if pair.clean is None:
        raise DatasetError(f"pair {pair.id!r} has no clean picture to compare with; leave it out or add one")
    rainy, clean = read_picture(pair.rainy), read_picture(pair.clean)
    if (rainy.height, rainy.width) != (clean.height, clean.width):
        raise DatasetError(
            f"pair {pair.id!r}: {pair.rainy} has {rainy.width} x {rainy.height} pixels and {pair.clean} "
            f"{clean.width} x {clean.height}; partners must have one size"
        )
    started = time.perf_counter()
    restored = restorer.restore_pixels(rainy.pixels)
    seconds = time.perf_counter() - started
    target = clean.to_tensor()
    input_psnr, input_ssim = _measure(rainy.to_tensor(), target, protocol)
    output_psnr, output_ssim = _measure(to_tensor(restored), target, protocol)
    return Score(
        id=pair.id,
        type=pair.type or UNTYPED,
        source=pair.source,
        height=rainy.height,
        width=rainy.width,
        input_psnr=input_psnr,
        output_psnr=output_psnr,
        input_ssim=input_ssim,
        output_ssim=output_ssim,
        seconds=seconds,
    )


def _measure(image: Tensor, target: Tensor, protocol: Protocol) -> tuple[float, float]:
    return min(psnr(image, target, protocol).item(), CEILING_DB), ssim(image, target, protocol).item()
