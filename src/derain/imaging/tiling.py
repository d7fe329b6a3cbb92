"""Work on large pictures in overlapped tiles whose seams are blended, and pad images to a size that a network takes.

Along each axis the tiles all have one size and lie at even distances, the first at the start and the last at the end,
so that few distinct sizes occur. Their starts are multiples of the network's size multiple: a network that works on
2x2 or 16x16 blocks then sees every pixel in the same place of its block, whichever tile it is in. In the middle of
every overlap one tile is faded into the next by a raised cosine; the two weights sum to one, and the outer part of the
overlap is context only: there a network sees the border.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from derain.errors import ImageError, SettingsError
from derain.imaging.pixels import PixelArray, to_pixels, to_tensor


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Grow (B, C, H, W) at the bottom and the right to the next multiples of `multiple`; crop with `[..., :H, :W]`.

    The border is mirrored (without repeating its last row) where the image is large enough for that, else repeated.
    """
    if multiple < 1:
        raise SettingsError(f"wanted a size multiple of at least 1, got {multiple}")
    if image.ndim != 4 or 0 in image.shape:
        raise ImageError(f"wanted a non-empty image (B, C, H, W), got {tuple(image.shape)}")
    height, width = image.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return image
    mode = "reflect" if below < height and right < width else "replicate"
    return F.pad(image, (0, right, 0, below), mode=mode)


@dataclass(frozen=True)
class Span:
    """One tile along one axis: it covers [start, stop) and counts in [first, last), with one weight per position."""

    start: int
    stop: int
    first: int
    last: int
    weights: Tensor


def spans(length: int, tile: int, overlap: int, multiple: int = 1) -> list[Span]:
    """Cut an axis of `length` into tiles of `tile`, a multiple of `multiple`; their weights sum to one.

    Tiles start at multiples of `multiple` and overlap by at least `overlap` (where that leaves a step of a multiple).
    The last may reach beyond the end, by less than `multiple`, and is cut there. An axis no longer than a tile gives
    one span that covers it whole.
    """
    if length <= tile:
        return [Span(0, length, 0, length, torch.ones(length))]
    reach = (length + -length % multiple - tile) // multiple
    longest_step = max(1, (tile - overlap) // multiple)
    count = math.ceil(reach / longest_step) + 1
    starts = [round(i * reach / (count - 1)) * multiple for i in range(count)]
    steps = [after - before for before, after in pairwise(starts)]
    # Half of the overlap fades, a quarter on either side is context. Where three tiles lie over one place, wide fades
    # would run into each other.
    fade = min([overlap // 2, *steps, *(tile - step for step in steps)])
    edges = [(after + before + tile - fade) // 2 for before, after in pairwise(starts)]
    rise = _raised_cosine(fade)
    cuts = []
    for i, start in enumerate(starts):
        first = edges[i - 1] if i else 0
        last = edges[i] + fade if i < count - 1 else length
        weights = torch.ones(last - first)
        if i:
            weights[:fade] *= rise
        if i < count - 1:
            weights[last - first - fade :] *= 1 - rise
        cuts.append(Span(start, min(start + tile, length), first, last, weights))
    return cuts


def map_tiles(image: Tensor, function: Callable[[Tensor], Tensor], tile: int, overlap: int, multiple: int) -> Tensor:
    """Apply `function` to overlapped tiles of an image (B, C, H, W) and blend what it returns.

    `function` gets (B, C, h, w) with h and w multiples of `multiple` (the tile is rounded down to one; an image smaller
    than a tile is passed whole, padded) and returns (B, D, h, w), D any. Returns (B, D, H, W) on the image's device.

    Raises:
        SettingsError: tile, overlap or multiple do not go together.
        ImageError: the image is empty or not (B, C, H, W), or `function` changes the size.
    """
    if image.ndim != 4 or 0 in image.shape:
        raise ImageError(f"wanted a non-empty image (B, C, H, W), got {tuple(image.shape)}")
    height, width = image.shape[-2:]
    plan = _Plan.of(height, width, tile, overlap, multiple)
    result: Tensor | None = None
    for top, left, part in _blended_parts(plan, lambda row, column: image[:, :, row, column], function, None):
        if result is None:
            result = part.new_empty((*part.shape[:2], height, width))
        result[:, :, top : top + part.shape[2], left : left + part.shape[3]] = part
    assert result is not None
    return result


def map_tiles_pixels(
    pixels: PixelArray,
    function: Callable[[Tensor], Tensor],
    tile: int,
    overlap: int,
    multiple: int,
    on_tile: Callable[[int, int], None] | None = None,
) -> PixelArray:
    """As `map_tiles`, for integer pixels (H, W, 3), uint8 or uint16, in bounded memory.

    `function` gets and returns float32 images (1, 3, h, w) in [0, 1]. Beside the input and the output, both integers,
    only one tile is held as float, and the rows in which a band of tiles fades into the next (half of the overlap), so
    that a panorama needs hardly more than a square. An identity `function` gives back exactly the same pixels.
    `on_tile(done, total)` is called after each tile.
    `on_tile(done, total)` is called after each tile.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ImageError(f"wanted non-empty pixels (H, W, 3), got {pixels.shape}")
    height, width = pixels.shape[:2]
    plan = _Plan.of(height, width, tile, overlap, multiple)
    result = np.empty(pixels.shape, pixels.dtype)
    bit_depth = 8 * pixels.dtype.itemsize
    for top, left, part in _blended_parts(plan, lambda row, column: to_tensor(pixels[row, column]), function, on_tile):
        result[top : top + part.shape[2], left : left + part.shape[3]] = to_pixels(part, bit_depth)
    return result


@dataclass(frozen=True)
class _Plan:
    rows: list[Span]
    columns: list[Span]
    multiple: int

    @staticmethod
    def of(height: int, width: int, tile: int, overlap: int, multiple: int) -> "_Plan":
        if multiple < 1 or tile < multiple:
            raise SettingsError(
                f"wanted a tile of at least the size multiple {multiple} (itself at least 1), got {tile}"
            )
        tile -= tile % multiple
        if not 0 <= overlap <= tile // 2:
            raise SettingsError(f"wanted an overlap from 0 to half the tile of {tile}, got {overlap}")
        return _Plan(spans(height, tile, overlap, multiple), spans(width, tile, overlap, multiple), multiple)


def _blended_parts(
    plan: _Plan,
    read: Callable[[slice, slice], Tensor],
    function: Callable[[Tensor], Tensor],
    on_tile: Callable[[int, int], None] | None,
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield finished parts, which cover the picture once, as (first row, first column, (B, D, h, w)).

    Holds one tile, the columns in which the tile to the left fades out, and the rows in which the band above does.
    """
    total, done = len(plan.rows) * len(plan.columns), 0
    above: list[Tensor] = []  # one piece for each column of tiles; none over the first band
    for row, row_end in zip(plan.rows, _ends(plan.rows), strict=True):
        below: list[Tensor] = []
        left: Tensor | None = None
        for j, (column, column_end) in enumerate(zip(plan.columns, _ends(plan.columns), strict=True)):
            piece = read(slice(row.start, row.stop), slice(column.start, column.stop))
            piece = _restore(piece, function, plan.multiple)
            piece = piece[:, :, row.first - row.start : row.last - row.start]
            piece = piece[..., column.first - column.start : column.last - column.start]
            piece = piece * column.weights.to(piece)
            if left is not None:
                piece[..., : left.shape[3]] += left
            # Fades are copied, since a view would keep its whole tile.
            left = piece[..., column_end - column.first :].clone()
            piece = piece[..., : column_end - column.first]
            piece *= row.weights.to(piece)[:, None]
            if above:
                piece[:, :, : above[j].shape[2]] += above[j]
            below.append(piece[:, :, row_end - row.first :].clone())
            done += 1
            if on_tile is not None:
                on_tile(done, total)
            yield row.first, column.first, piece[:, :, : row_end - row.first]
        above = below


def _ends(cuts: list[Span]) -> list[int]:
    """Where each span is finished: from there on the next one counts too."""
    return [cut.first for cut in cuts[1:]] + [cuts[-1].last]


def _restore(piece: Tensor, function: Callable[[Tensor], Tensor], multiple: int) -> Tensor:
    height, width = piece.shape[-2:]
    padded = pad_to_multiple(piece, multiple)
    restored = function(padded)
    if restored.ndim != 4 or restored.shape[0] != padded.shape[0] or restored.shape[-2:] != padded.shape[-2:]:
        raise ImageError(
            f"the function applied to a tile returned {tuple(restored.shape)} for {tuple(padded.shape)}; "
            "it has to keep batch, height and width"
        )
    return restored[..., :height, :width].to(piece)


def _raised_cosine(width: int) -> Tensor:
    """r_j = (1 - cos(pi (j + 1/2) / n)) / 2 for j = 0..n-1; (n,) in (0, 1), and r_j + r_(n-1-j) = 1."""
    phase = (torch.arange(width, dtype=torch.float64) + 0.5) * (math.pi / max(width, 1))
    return ((1 - phase.cos()) / 2).float()
