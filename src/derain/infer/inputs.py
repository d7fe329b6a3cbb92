"""What a restorer accepts, and the conversion of its result back to the same kind.

A picture comes as an array, a PIL image or a tensor, in colour or grey. `read_input` reads it as either integer pixels
(H, W, 3) or a float image (B, 3, H, W), and keeps what is needed to convert the result to that kind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from derain.errors import ImageError

Pixels = NDArray[Any]
"""(H, W, 3), uint8 or uint16."""

# ITU-R BT.601: how a restored colour picture becomes grey again.
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class RestorerInput:
    """A picture in one of the two forms that restoration works on, and the conversion back."""

    content: Pixels | Tensor
    """Integer pixels (H, W, 3), or a float32 image (B, 3, H, W) in [0, 1]."""
    convert_back: Callable[[Any], Any]
    """From restored content of the same form to the kind, size, dtype and range that were given."""


def read_input(image: Any) -> RestorerInput:
    """Read a tensor (3, H, W) or (B, 3, H, W), an array (H, W, 3) or (H, W), or a PIL image.

    Raises:
        ImageError: the kind, shape, dtype or range is not one that can be restored.
    """
    if isinstance(image, Tensor):
        return _read_tensor(image)
    if isinstance(image, np.ndarray):
        return _read_array(image)
    if isinstance(image, Image.Image):
        return _read_pil(image)
    raise ImageError(
        f"a picture was wanted (array, PIL image or tensor), got {type(image).__name__}; "
        "for a file, pass derain.imaging.io.read_picture(FILE).pixels, or use `derain restore`"
    )


def _read_tensor(image: Tensor) -> RestorerInput:
    if image.ndim not in (3, 4) or image.shape[-3] != 3 or 0 in image.shape:
        raise ImageError(
            f"a tensor of shape (3, H, W) or (B, 3, H, W) was wanted, got {tuple(image.shape)}; "
            "put the three colour channels before height and width, and repeat a grey channel three times"
        )
    if not image.is_floating_point():
        raise ImageError(
            f"a float tensor in [0, 1] was wanted, got {image.dtype}; divide by its largest value, or pass an array"
        )
    batch = image.detach().to(torch.float32).reshape(-1, *image.shape[-3:])
    _check_range(float(batch.amin()), float(batch.amax()))

    def convert_back(restored: Tensor) -> Tensor:
        return restored.to(image.device, image.dtype).reshape(image.shape)

    return RestorerInput(batch.clamp(0, 1), convert_back)


def _read_array(image: Pixels) -> RestorerInput:
    is_grey = image.ndim == 2
    if not (is_grey or (image.ndim == 3 and image.shape[2] == 3)) or 0 in image.shape:
        raise ImageError(
            f"an array of shape (H, W, 3) or (H, W) was wanted, got {image.shape}; "
            "drop an alpha channel first, and put the colour channels last"
        )
    colour = np.repeat(image[..., None], 3, axis=2) if is_grey else image
    if image.dtype in (np.uint8, np.uint16):

        def convert_pixels_back(restored: Pixels) -> Pixels:
            return _to_grey(restored) if is_grey else restored

        return RestorerInput(np.ascontiguousarray(colour), convert_pixels_back)
    if not np.issubdtype(image.dtype, np.floating):
        raise ImageError(
            f"an array of uint8, uint16 or float in [0, 1] was wanted, got {image.dtype}; convert it first"
        )
    batch = torch.from_numpy(np.ascontiguousarray(colour, dtype=np.float32).transpose(2, 0, 1)[None].copy())
    _check_range(float(batch.amin()), float(batch.amax()))

    def convert_floats_back(restored: Tensor) -> Pixels:
        floats = restored[0].permute(1, 2, 0).numpy(force=True)
        return (_to_grey(floats) if is_grey else floats).astype(image.dtype)

    return RestorerInput(batch.clamp(0, 1), convert_floats_back)


def _read_pil(image: Image.Image) -> RestorerInput:
    """RGB, L and I;16 keep their mode, RGBA and LA their alpha too; 1 comes back as L, P, CMYK and YCbCr as RGB."""
    if 0 in image.size:
        raise ImageError(f"a picture with pixels was wanted, got a PIL image of {image.width} x {image.height}")
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    if image.mode == "I;16":
        colours = image
    elif image.mode in ("1", "L", "LA"):
        colours = image.convert("L")
    elif image.mode in ("RGB", "RGBA", "P", "CMYK", "YCbCr"):
        colours = image.convert("RGB")
    else:
        raise ImageError(
            f"a PIL image of mode RGB, RGBA, L, LA, I;16, 1, P, CMYK or YCbCr was wanted, got {image.mode}; convert it"
        )
    as_array = _read_array(np.asarray(colours))

    def convert_back(restored: Pixels) -> Image.Image:
        result = Image.fromarray(as_array.convert_back(restored))
        if alpha is not None:
            result.putalpha(alpha)
        # A palette's transparent entry means nothing in what is no palette picture any more.
        result.info = {key: value for key, value in image.info.items() if key != "transparency"}
        return result

    return RestorerInput(as_array.content, convert_back)


def _to_grey(colour: Pixels) -> Pixels:
    grey = colour.astype(np.float32) @ _GREY_WEIGHTS.astype(np.float32)
    if np.issubdtype(colour.dtype, np.integer):
        grey = np.rint(grey)
    return grey.astype(colour.dtype)


def _check_range(low: float, high: float) -> None:
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError("the picture holds values that are not numbers (NaN or infinite); replace them first")
    tolerance = 1e-3  # what resampling and half precision may overshoot
    if low < -tolerance or high > 1 + tolerance:
        raise ImageError(
            f"float values in [0, 1] were wanted, got {low:.4g} to {high:.4g}; "
            "divide by the largest possible value (255 for 8 bits), or pass the integers themselves"
        )
