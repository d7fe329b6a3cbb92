"""One picture out of a candidate and its references, for models that were trained on single pictures."""

from collections.abc import Sequence

import numpy as np

from derain.backends.view import Pixels8

SEPARATOR = 8
"""Width of the white lines, in pixels."""


def mosaic(candidate: Pixels8, references: Sequence[Pixels8], side: int = 672) -> Pixels8:
    """(H, W, 3) uint8 of at most `side` x `side` pixels: references in a row above, the candidate below, white between.

    References keep their proportions and share one height, a third of the canvas at most. The candidate keeps its own
    and is never enlarged. Without references the canvas is the candidate.

    Raises:
        ValueError: the canvas is too small for so many pictures.
    """
    if not references:
        return fitted(candidate, side, side)
    row = _row(references, side)
    below = fitted(candidate, side, side - row.shape[0] - SEPARATOR)
    width = max(row.shape[1], below.shape[1])
    canvas = np.full((row.shape[0] + SEPARATOR + below.shape[0], width, 3), 255, np.uint8)
    _paste(canvas, row, 0)
    _paste(canvas, below, row.shape[0] + SEPARATOR)
    return canvas


def fitted(picture: Pixels8, width: int, height: int) -> Pixels8:
    """(H, W, 3) uint8 reduced by averaging until it fits; proportions kept, never enlarged."""
    scale = min(width / picture.shape[1], height / picture.shape[0], 1.0)
    return _resized(picture, max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale)))


def _row(references: Sequence[Pixels8], side: int) -> Pixels8:
    """References side by side at one height, such that the row is as wide as the canvas, or a third of it high."""
    lines = SEPARATOR * (len(references) - 1)
    proportions = [picture.shape[1] / picture.shape[0] for picture in references]
    height = min(int((side - lines) / sum(proportions)), side // 3, *(picture.shape[0] for picture in references))
    if height < 8:
        raise ValueError(f"{len(references)} references do not fit beside each other into {side} pixels")
    widths = [max(1, int(height * proportion)) for proportion in proportions]
    row = np.full((height, sum(widths) + lines, 3), 255, np.uint8)
    left = 0
    for picture, width in zip(references, widths, strict=True):
        row[:, left : left + width] = _resized(picture, width, height)
        left += width + SEPARATOR
    return row


def _paste(canvas: Pixels8, picture: Pixels8, top: int) -> None:
    """Put a picture into the canvas, in the middle of its width."""
    left = (canvas.shape[1] - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture


def _resized(picture: Pixels8, width: int, height: int) -> Pixels8:
    if picture.shape[:2] == (height, width):
        return picture
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX), np.uint8)
