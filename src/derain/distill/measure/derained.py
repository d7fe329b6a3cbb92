"""Pictures at the size they are measured at, and without their rain, by the shipped network.

Every measure of the rain layer needs both; a picture that is a reference of many candidates is derained once.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from derain.backends.view import View
from derain.infer.restore import Restorer, load
from derain.models.find import find_checkpoint

WORKING_SIDE = 448
"""Longer side in pixels at which rain is measured; larger pictures are reduced."""

SMALLEST_SIDE = 96
"""Shorter side in pixels, at that size, below which too little rain is seen to be measured."""


@dataclass(frozen=True)
class Derained:
    """A picture with and without its rain."""

    picture: Tensor
    """(1, 3, h, w) in [0, 1], sRGB-encoded, no side longer than `WORKING_SIDE`."""
    without_rain: Tensor
    """(1, 3, h, w): what the network makes of it."""


def working_copy(image: Tensor) -> Tensor:
    """An image (1, 3, H, W) reduced until no side is longer than `WORKING_SIDE`; never enlarged."""
    longest = max(image.shape[-2:])
    if longest <= WORKING_SIDE:
        return image
    size = [max(1, round(side * WORKING_SIDE / longest)) for side in image.shape[-2:]]
    return F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def fitted(clean: Tensor, like: Tensor) -> Tensor:
    """A partner (1, 3, H, W) at the size of the working copy `like`, whatever size it has."""
    if clean.shape == like.shape:
        return clean
    return F.interpolate(clean, like.shape[-2:], mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def is_too_small(image: Tensor) -> bool:
    """Whether a working copy (1, 3, h, w) shows too little to measure rain on."""
    return min(image.shape[-2:]) < SMALLEST_SIDE


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """The values that were used last. Threads may share it: a second one that asks for a value waits for the first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made where it is not there."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            self._values.move_to_end(key)
            if len(self._values) > self._most:
                self._values.popitem(last=False)
            return self._values[key]


class Derainer:
    """Derains views at working size, and keeps the last ones."""

    def __init__(self, restorer: Restorer | None = None, kept: int = 32) -> None:
        """`restorer` is by default the shipped `tiny`, in 32 bits so that results do not follow the processor."""
        self._restorer = restorer
        self._cache = LruCache[str, Derained](kept)

    def __call__(self, view: View) -> Derained:
        """The view with and without its rain."""
        return self._cache.get(view.digest, lambda: self._derain(view))

    def _derain(self, view: View) -> Derained:
        if self._restorer is None:
            self._restorer = load("tiny", device="cpu", precision="fp32")
        picture = working_copy(view.image)
        with torch.inference_mode():
            return Derained(picture, self._restorer(picture))


@cache
def shared_derainer() -> Derainer:
    """The one that judges of a process share, so that a candidate is derained once."""
    return Derainer()


@cache
def weights_digest() -> str:
    """12 hexadecimal digits of the shipped network's file: measures of the rain layer change with it."""
    return hashlib.sha256(find_checkpoint("tiny").read_bytes()).hexdigest()[:12]
