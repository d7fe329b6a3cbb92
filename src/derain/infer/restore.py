"""A loaded model that restores pictures of any size: `load(name_or_path)` and the `Restorer` it returns.

Large pictures are worked on in overlapped tiles, so that memory stays bounded. A model that routes (which expert, how
much of it) decides from the whole picture once, on a reduced copy, and every tile is handed that decision: tiles then
agree with each other and with the picture restored in one piece.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derain.errors import SettingsError
from derain.imaging.io import to_tensor
from derain.imaging.tiling import map_tiles, map_tiles_pixels, pad_to_multiple
from derain.infer.inputs import Pixels, read_input
from derain.infer.weights import find_weights
from derain.models.checkpoints import CheckpointHeader, load_checkpoint
from derain.models.routed import RoutedNetwork

ROUTING_SIDE = 512
"""Routing is decided on a copy of the picture whose longer side has about this many pixels."""

TILE_OVERLAP = 64
"""Pixels that neighbouring tiles share; seams are blended over them."""

SMALLEST_TILE = 192
"""Below three overlaps a tile would be mostly overlap."""

Image = TypeVar("Image")
"""A tensor, an array or a PIL image."""


class Precision(StrEnum):
    """The arithmetic that restoration runs in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class Restorer:
    """A loaded model and what it needs to restore pictures: `restorer(image)` returns the same kind of image."""

    def __init__(
        self, network: RoutedNetwork, header: CheckpointHeader, device: torch.device, precision: Precision, tile: int
    ) -> None:
        self.network = network
        """The network in its form for inference."""
        self.header = header
        """What the checkpoint says of itself: model, settings, version, training data, metrics."""
        self.device = device
        self.precision = precision
        """`FP32` or `BF16`, never `AUTO`."""
        self.tile = tile
        """Largest edge of a tile in pixels, a multiple of `size_multiple`."""
        self.size_multiple = network.size_multiple

    def __repr__(self) -> str:
        return (
            f"Restorer(model={self.header.model!r}, device={str(self.device)!r}, "
            f"precision={self.precision.value!r}, tile={self.tile})"
        )

    def __call__(self, image: Image) -> Image:
        """Restore a picture and return the same kind, size, dtype and range.

        Args:
            image: a float tensor (3, H, W) or (B, 3, H, W) in [0, 1]; an array (H, W, 3) or (H, W) of uint8, uint16
                or float in [0, 1]; or a PIL image (RGB, L, I;16, with or without alpha; palette and CMYK pictures
                come back as RGB). Pixels are taken as they lie: an EXIF orientation is not applied.

        Raises:
            ImageError: the picture is empty, of another kind or shape, out of range, or holds NaN.
        """
        given = read_input(image)
        if isinstance(given.content, Tensor):
            restored: Tensor | Pixels = self._restore_image(given.content)
        else:
            restored = self.restore_pixels(given.content)
        return given.give_back(restored)  # type: ignore[no-any-return]

    def restore_pixels(self, pixels: Pixels, on_tile: Callable[[int, int], None] | None = None) -> Pixels:
        """Restore integer pixels (H, W, 3) with memory bounded by the tile; `on_tile(done, total)` tells progress."""
        function = self._tile_function(pixels.shape[0], pixels.shape[1], lambda factor: _reduce_pixels(pixels, factor))
        tile = fit_tile(pixels.shape[0], pixels.shape[1], self.tile, self.size_multiple)
        return map_tiles_pixels(
            pixels, function, tile=tile, overlap=TILE_OVERLAP, multiple=self.size_multiple, on_tile=on_tile
        )

    @property
    def mixture_names(self) -> list[str]:
        """The model's mixtures of experts, in the order of computation."""
        return self.network.mixture_names()

    def routing(self, pixels: Pixels) -> list[Tensor]:
        """The weight of every expert for this picture, integers (H, W, 3): one (1, experts) tensor per mixture."""
        return self._gates(_reduce_pixels(pixels, self._reduction(*pixels.shape[:2])))

    def _reduction(self, height: int, width: int) -> int:
        """The whole number by which a picture is reduced before its routing is decided: 1 if one tile holds it."""
        return 1 if max(height, width) <= self.tile else max(1, round(max(height, width) / ROUTING_SIDE))

    def _restore_image(self, image: Tensor) -> Tensor:
        function = self._tile_function(image.shape[-2], image.shape[-1], lambda factor: _reduce(image, factor))
        tile = fit_tile(image.shape[-2], image.shape[-1], self.tile, self.size_multiple)
        return map_tiles(image, function, tile=tile, overlap=TILE_OVERLAP, multiple=self.size_multiple)

    def _tile_function(self, height: int, width: int, reduced: Callable[[int], Tensor]) -> Callable[[Tensor], Tensor]:
        """What restores one tile of a picture of this size, with the routing of the whole picture."""
        factor = self._reduction(height, width)
        if max(height, width) <= self.tile:  # one tile that sees everything decides for itself
            return lambda tile: self._run(tile, None)
        gates = self._gates(reduced(factor))
        return lambda tile: self._run(tile, gates)

    @torch.inference_mode()
    def _gates(self, image: Tensor) -> list[Tensor]:
        padded = pad_to_multiple(image.to(self.device), self.size_multiple)
        with self._autocast():
            return self.network.gates(padded)

    @torch.inference_mode()
    def _run(self, tile: Tensor, gates: list[Tensor] | None) -> Tensor:
        on_device = tile.to(self.device, memory_format=torch.channels_last)
        with self._autocast():
            restored: Tensor = self.network(on_device, gates)
        return restored.float().clamp_(0, 1).to(tile.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is Precision.BF16)


def load(
    name_or_path: str | Path = "tiny", device: str = "auto", precision: str = "auto", tile: int | None = None
) -> Restorer:
    """Load shipped weights by name ("tiny"), or a checkpoint by path.

    Args:
        device: "auto" (a CUDA device if there is one, else the CPU), or what `torch.device` takes.
        precision: "auto", "fp32" or "bf16"; "auto" takes bf16 where the processor computes in it.
        tile: edge in pixels of the tiles that larger pictures are worked on; None chooses it for the model.

    Raises:
        CheckpointError: nothing is found under that name, or the file is truncated, foreign or does not fit.
        SettingsError: the device, precision or tile is none that can be had.
    """
    on_device = _choose_device(device)
    arithmetic = _choose_precision(precision, on_device)
    module, header = load_checkpoint(find_weights(name_or_path))
    folded = module.fold().requires_grad_(False)
    ready = folded.to(on_device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Restorer(ready, header, on_device, arithmetic, _choose_tile(tile, ready))


def _choose_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:  # torch's message lists every device that it was ever built for
        raise SettingsError(f"device {device!r} is unknown; use {_usable_devices()}") from error
    try:
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:100]
        raise SettingsError(f"device {device!r} cannot be used here ({reason}); use {_usable_devices()}") from error
    return chosen


def _usable_devices() -> str:
    return "auto, cpu or cuda" if torch.cuda.is_available() else "auto or cpu"


def _choose_precision(precision: str, device: torch.device) -> Precision:
    try:
        chosen = Precision(precision)
    except ValueError:
        names = ", ".join(Precision)
        raise SettingsError(f"precision {precision!r} is unknown; choose one of: {names}") from None
    if chosen is not Precision.AUTO:
        return chosen
    return Precision.BF16 if _computes_in_bf16(device) else Precision.FP32


def _computes_in_bf16(device: torch.device) -> bool:
    """Whether bf16 runs on the arithmetic units themselves; elsewhere it is emulated and slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # torch has no public name for this before 2.9.
    return bool(torch.cpu._is_avx512_bf16_supported())


def _choose_tile(tile: int | None, module: RoutedNetwork) -> int:
    multiple = module.size_multiple
    if tile is None:
        tile = default_tile(module)
    elif tile < SMALLEST_TILE:
        raise SettingsError(f"tile {tile} is too small; give {SMALLEST_TILE} pixels or more")
    return -(-tile // multiple) * multiple


def default_tile(module: nn.Module) -> int:
    """The tile that keeps a whole run below two gigabytes, by the size of the model: measured, not computed."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return 1280 if parameters < 8_000_000 else 384


def fit_tile(height: int, width: int, largest: int, multiple: int) -> int:
    """The tile edge, from half of `largest` up to it, that covers a picture with the least overlap to compute twice.

    With one fixed edge, a picture slightly larger than a tile would be computed more than twice over.
    """

    def computed_pixels(tile: int) -> int:
        covered = 1
        for length in (height, width):
            count = -(-(length - TILE_OVERLAP) // (tile - TILE_OVERLAP)) if length > tile else 1
            covered *= count * min(tile, length)
        return covered

    smallest = min(largest, max(SMALLEST_TILE, largest // 2))
    candidates = range(largest, smallest - 1, -multiple)
    return min(candidates, key=computed_pixels)


def _reduce(image: Tensor, factor: int) -> Tensor:
    """Average (B, 3, H, W) over blocks of factor x factor; a remainder smaller than a block is left out."""
    if factor == 1:
        return image
    block = (min(factor, image.shape[-2]), min(factor, image.shape[-1]))
    return F.avg_pool2d(image, block)


def _reduce_pixels(pixels: Pixels, factor: int) -> Tensor:
    """The same for integer pixels (H, W, 3), band by band, so that no float copy of the whole picture is made."""
    height = pixels.shape[0]
    rows_per_band = factor * max(1, 4_000_000 // (pixels.shape[1] * factor))  # 50 MB as float, whatever the width
    whole = max(height // factor * factor, min(factor, height))
    bands = [
        _reduce(to_tensor(np.ascontiguousarray(pixels[top : min(top + rows_per_band, whole)])), factor)
        for top in range(0, whole, rows_per_band)
    ]
    return torch.cat(bands, dim=2)
