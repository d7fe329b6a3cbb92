"""The built-in visual encoder: pictures as 512 numbers, with nothing to download.

Three kinds of measurements are put side by side: what the encoder of the shipped network answers to the picture (it was
trained to separate rain from its background), how light and colours are distributed, and which way gradients run. Each
number is standardised by its mean and deviation over photographs, each kind has a fixed share whatever its length, and
the whole is scaled to length 1.
"""

import json
import math
from collections.abc import Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from derain.backends.interfaces import Identity, Vectors
from derain.backends.view import Pixels8, View, file_digest
from derain.errors import ModelError
from derain.imaging.color import luma_bt601
from derain.imaging.io import to_tensor
from derain.models.checkpoints import load_checkpoint
from derain.models.find import shipped_weights
from derain.models.moe import Gates
from derain.models.unirain_tiny import UniRainTiny

VERSION = 1
"""Goes up when a measurement or a share changes."""

PIXELS = 256 * 192
"""Pictures are reduced to about so many pixels, whatever their form: cost and texture then hardly depend on size."""
_MULTIPLE = 16
_SMALLEST = 32
_LEVELS = 3
"""Levels of the network's encoder that are asked, finest first; the bottleneck sees scenes rather than rain."""

NETWORK, COLOURS, GRADIENTS = slice(0, 448), slice(448, 480), slice(480, 512)
DIMENSIONS = 512
SHARES = ((NETWORK, 4.0), (COLOURS, 1.0), (GRADIENTS, 1.0))
"""How much each kind counts, in parts of the squared length. The network alone separates kinds of rain best, but takes
day for night more often; benchmarks/fit_builtin_visual.py measures both."""

_LUMA_BINS, _BANDS, _SATURATION_BINS, _HUES, _ORIENTATIONS = 12, 4, 6, 6, 12
_FAR = 4.0
"""Deviations beyond which a number counts no more: a single strange one would make up the whole vector."""

Numbers = npt.NDArray[np.float64]


class BuiltinVisualEncoder:
    """Pictures as 512 numbers: 448 of the network, 32 of light and colours, 32 of gradients."""

    @cached_property
    def identity(self) -> Identity:
        weights, constants = file_digest(shipped_weights()["tiny"]), file_digest(constants_path())
        return Identity("builtin-visual", f"{VERSION}-{weights[:16]}-{constants[:8]}")

    @property
    def dimensions(self) -> int:
        return DIMENSIONS

    def encode_views(self, views: Sequence[View]) -> Vectors:
        """(N, 512) float32, rows of length 1; pictures are worked on one by one, on the CPU.

        Raises:
            ModelError: the shipped constants or weights are broken.
        """
        vectors = np.empty((len(views), DIMENSIONS), np.float32)
        for row, view in enumerate(views):
            vectors[row] = balanced(measurements(self._network, view.pixels), *self._constants)
        return vectors

    @cached_property
    def _network(self) -> UniRainTiny:
        return shipped_network()

    @cached_property
    def _constants(self) -> tuple[Numbers, Numbers]:
        return read_constants(constants_path())


def shipped_network() -> UniRainTiny:
    """The network of the shipped weights, folded, on the CPU, in float32.

    Raises:
        CheckpointError: the shipped weights are broken.
    """
    network, _ = load_checkpoint(shipped_weights()["tiny"])
    return cast(UniRainTiny, network.for_inference().to(memory_format=torch.channels_last))  # type: ignore[call-overload]


def measurements(network: UniRainTiny, pixels: Pixels8) -> Numbers:
    """All numbers of a picture (H, W, 3), as they are measured: (512,)."""
    image = to_tensor(reduced(pixels))
    return np.concatenate([network_numbers(network, image), colour_numbers(image), gradient_numbers(image)])


def reduced(pixels: Pixels8) -> Pixels8:
    """The picture at about `PIXELS` pixels by averaging over areas, sides being multiples of 16 and at least 32.

    A picture that has fewer is not enlarged, except to the least sides.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, math.sqrt(PIXELS / (height * width)))
    rows, columns = (max(_SMALLEST, round(side * scale / _MULTIPLE) * _MULTIPLE) for side in (height, width))
    # A very long picture would keep its least side and exceed the budget along the other.
    rows, columns = min(rows, PIXELS // _SMALLEST), min(columns, PIXELS // _SMALLEST)
    if (rows, columns) == (height, width):
        return pixels
    return np.array(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BOX))


@torch.inference_mode()
def network_numbers(network: UniRainTiny, image: Tensor) -> Numbers:
    """Mean and standard deviation over space of every channel at the encoder's three finest levels: (448,).

    Args:
        image: (1, 3, H, W) in [0, 1], H and W multiples of 16.
    """
    gates = Gates(None)
    numbers = []
    x = network.stem(F.pixel_unshuffle(image.to(memory_format=torch.channels_last), 2))
    for index in range(_LEVELS):
        x = network.encoder[index](x, gates)
        # In float64, so that the order of summation, which follows the number of threads, does not show.
        pooled = x[0].double().flatten(1)
        numbers += [pooled.mean(dim=1), pooled.std(dim=1, correction=0)]
        if index + 1 < _LEVELS:
            x = network.down[index](x)
    return np.asarray(torch.cat(numbers).numpy(), np.float64)


def colour_numbers(image: Tensor) -> Numbers:
    """How luma, saturation and hue are distributed: (32,).

    Square roots of the shares in 12 bins of luma (studio swing), 6 of saturation (max - min over channels) and 6 of hue
    (weighted by saturation); mean luma of 4 bands from top to bottom; mean and deviation of the differences R - G and
    (R + G)/2 - B.

    Args:
        image: (1, 3, H, W) in [0, 1].
    """
    luma = luma_bt601(image)[0, 0].double().numpy()
    red, green, blue = image[0].double().numpy()
    saturation = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    hue = np.arctan2(yellow_blue, red_green) / (2 * np.pi) % 1.0
    bands = [float(band.mean()) for band in np.array_split(luma, _BANDS)]
    opponents = [red_green.mean(), red_green.std(), yellow_blue.mean(), yellow_blue.std()]
    return np.concatenate(
        [
            shares(luma, np.ones_like(luma), _LUMA_BINS),
            shares(saturation, np.ones_like(luma), _SATURATION_BINS),
            shares(hue, saturation, _HUES),
            bands,
            opponents,
        ]
    )


def gradient_numbers(image: Tensor) -> Numbers:
    """Which way gradients run and how strong they are, at this size and at half of it: (32,).

    At each of the two sizes: square roots of the shares in 12 bins of orientation (over 180 degrees, weighted by
    magnitude), then logarithms of the mean magnitude and of its quantiles 0.5, 0.9 and 0.99.

    Args:
        image: (1, 3, H, W) in [0, 1], H and W even and at least 8.
    """
    luma = luma_bt601(image).double()
    numbers: list[Numbers] = []
    for plane in (luma, F.avg_pool2d(luma, 2)):
        vertical, horizontal = np.gradient(plane[0, 0].numpy())
        magnitude = np.hypot(vertical, horizontal)
        orientation = np.arctan2(vertical, horizontal) / np.pi % 1.0
        strengths = np.array([magnitude.mean(), *np.quantile(magnitude, (0.5, 0.9, 0.99))])
        numbers += [shares(orientation, magnitude, _ORIENTATIONS), np.log(strengths + 1e-3)]
    return np.concatenate(numbers)


def shares(values: Numbers, weights: Numbers, bins: int) -> Numbers:
    """Square roots of the weighted shares of `values` in equal bins over [0, 1]; zeros where all weights are 0."""
    places = np.minimum((values * bins).astype(np.int64), bins - 1)
    sums = np.bincount(places.ravel(), weights=weights.ravel(), minlength=bins)
    return np.asarray(np.sqrt(sums / sums.sum()) if sums.sum() > 0 else sums, np.float64)


def balanced(numbers: Numbers, means: Numbers, deviations: Numbers) -> Vectors:
    """Measurements (512,) standardised, each kind scaled to its share, the whole of length 1."""
    standard = np.clip((numbers - means) / deviations, -_FAR, _FAR)
    for kind, share in SHARES:
        standard[kind] *= math.sqrt(share / (kind.stop - kind.start))
    length = float(np.linalg.norm(standard))
    if length == 0.0:  # the mean itself: any direction is as good
        standard[0] = length = 1.0
    return (standard / length).astype(np.float32)


def constants_path() -> Path:
    """Where the package keeps means and deviations."""
    return Path(str(resources.files("derain"))) / "distill" / "describe" / "builtin_visual.json"


def read_constants(path: Path) -> tuple[Numbers, Numbers]:
    """Means and deviations of the measurements, (512,) each.

    Raises:
        ModelError: the file is broken, or of another version of the measurements.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
        means, deviations = (np.asarray(content[key], np.float64) for key in ("means", "deviations"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read; install derain again") from error
    if version != VERSION or {means.shape, deviations.shape} != {(DIMENSIONS,)} or not (deviations > 0).all():
        raise ModelError(f"{path}: not of these measurements; make it anew with benchmarks/fit_builtin_visual.py")
    return means, deviations
