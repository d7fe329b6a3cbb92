"""A loaded model that restores pictures of any size: `load(name_or_path)` and the `Restorer` it returns.

Large pictures are restored in overlapped tiles, so that memory stays bounded. The gates of a model with mixtures of
experts are computed once, on a reduced copy of the whole picture, and every tile uses them: tiles then agree with each
other and with the picture restored in one piece.
"""

from collections.abc import Callable, Sequence
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
from derain.infer.runtimes import Runtime, TorchRuntime
from derain.models.checkpoints import CheckpointHeader, load_checkpoint, weights_digest
from derain.models.find import find_checkpoint

ROUTING_SIDE = 512
"""Gates are computed on a copy of the picture whose longer side has about this many pixels."""

TILE_OVERLAP = 64
"""Pixels that neighbouring tiles share; seams are blended over them."""

SMALLEST_TILE = 192
"""Below three overlaps a tile would be mostly overlap."""

Image = TypeVar("Image")
"""A tensor, an array or a PIL image."""


class Restorer:
    """A loaded model and what it needs to restore pictures: `restorer(image)` returns the same kind of image.

    Several threads may use one restorer at the same time; results do not depend on it.

    Args:
        runtime: runs the network.
        header: what the checkpoint says of itself.
        tile: largest edge of a tile in pixels.
        weights_digest: of the network's weights, by which results are known to be made with them.
    """

    def __init__(self, runtime: Runtime, header: CheckpointHeader, tile: int, weights_digest: str = "") -> None:
        self.runtime = runtime
        self.header = header
        """What the checkpoint says of itself: model, settings, version, training data, metrics."""
        self.tile = -(-tile // runtime.size_multiple) * runtime.size_multiple
        """Largest edge of a tile in pixels, a multiple of the runtime's size multiple."""
        self.weights_digest = weights_digest

    def __repr__(self) -> str:
        return (
            f"Restorer(model={self.header.model!r}, device={self.runtime.device!r}, "
            f"precision={self.runtime.precision.value!r}, tile={self.tile})"
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
            restored = self.restore(given.content)
        return given.convert_back(restored)  # type: ignore[no-any-return]

    def restore(
        self,
        pixels: Pixels,
        gates: Sequence[Tensor] | None = None,
        on_tile: Callable[[int, int], None] | None = None,
    ) -> Pixels:
        """Restore integer pixels (H, W, 3), uint8 or uint16, with memory bounded by the tile.

        Args:
            gates: what `gates` returned for this or another picture (an earlier frame of a film), used for every tile;
                None lets the routers decide on this one.
            on_tile: is called with (done, total) after each tile.

        Raises:
            ImageError: the pixels are empty or of another shape.
            SettingsError: the gates are not those of this model's mixtures.
        """
        self._check_gates(gates)
        height, width = pixels.shape[:2]
        if gates is None and max(height, width) > self.tile:  # one tile that sees everything decides for itself
            gates = self.gates(pixels)
        return map_tiles_pixels(
            pixels,
            lambda tile: self.runtime.run(tile, gates),
            tile=fit_tile(height, width, self.tile, self.runtime.size_multiple),
            overlap=TILE_OVERLAP,
            multiple=self.runtime.size_multiple,
            on_tile=on_tile,
        )

    def gates(self, pixels: Pixels) -> list[Tensor]:
        """The weight of every expert for this picture, integers (H, W, 3), in the order of `mixture_names`.

        Returns:
            One (1, experts) tensor per mixture; none of a model that does not route.
        """
        return self._gates(lambda factor: _reduce_pixels(pixels, factor), *pixels.shape[:2])

    @property
    def mixture_names(self) -> Sequence[str]:
        """The model's mixtures of experts, in the order of computation; none of a model that does not route."""
        return self.runtime.mixture_names

    def _restore_image(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        gates = None
        if max(height, width) > self.tile:
            gates = self._gates(lambda factor: _reduce(image, factor), height, width)
        return map_tiles(
            image,
            lambda tile: self.runtime.run(tile, gates),
            tile=fit_tile(height, width, self.tile, self.runtime.size_multiple),
            overlap=TILE_OVERLAP,
            multiple=self.runtime.size_multiple,
        )

    def _gates(self, reduced: Callable[[int], Tensor], height: int, width: int) -> list[Tensor]:
        if not self.mixture_names:
            return []
        return self.runtime.gates(pad_to_multiple(reduced(self._reduction(height, width)), self.runtime.size_multiple))

    def _reduction(self, height: int, width: int) -> int:
        """The whole number by which a picture is reduced before its routing is decided: 1 if one tile holds it."""
        return 1 if max(height, width) <= self.tile else max(1, round(max(height, width) / ROUTING_SIDE))

    def _check_gates(self, gates: Sequence[Tensor] | None) -> None:
        if gates is not None and len(gates) != len(self.mixture_names):
            raise SettingsError(
                f"wanted gates of the {len(self.mixture_names)} mixtures of model {self.header.model!r}, got "
                f"{len(gates)}; take them from Restorer.gates of the same model"
            )


def load(
    name_or_path: str | Path = "tiny", device: str = "auto", precision: str = "auto", tile: int | None = None
) -> Restorer:
    """Load shipped weights by name ("tiny"), a weights file, the folder of a run, or `owner/name` on the hub.

    Args:
        device: "auto" (a CUDA device if there is one, else the CPU), or what `torch.device` takes.
        precision: "auto", "fp32" or "bf16"; "auto" takes bf16 where the processor computes in it.
        tile: edge in pixels of the tiles that larger pictures are worked on; None chooses it for the model.

    Raises:
        CheckpointError: nothing is found under that name, or the file is truncated, another program's or does not fit.
        SettingsError: the device, precision or tile cannot be used.
    """
    if tile is not None and tile < SMALLEST_TILE:
        raise SettingsError(f"tile {tile} is too small; give {SMALLEST_TILE} pixels or more")
    network, header = load_checkpoint(find_checkpoint(name_or_path))
    digest = weights_digest(network)
    return Restorer(TorchRuntime(network, device, precision), header, tile or default_tile(network), digest)


def default_tile(network: nn.Module) -> int:
    """The tile that keeps a whole run below two gigabytes, by the size of the model: measured, not computed."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
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
