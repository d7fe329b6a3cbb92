"""Colour: the sRGB transfer curve and two grey values, luma (of encoded values) and luminance (of light).

Sources: IEC 61966-2-1 (sRGB), ITU-R BT.601 in studio swing as in MATLAB's `rgb2ycbcr`, ITU-R BT.709 (luminance).
"""

from torch import Tensor

from derain.errors import ImageError

_TOE_ENCODED = 0.04045
_TOE_LINEAR = 0.0031308

_LUMA_BT601 = (65.481, 128.553, 24.966)
_LUMA_OFFSET = 16.0
_LUMINANCE_BT709 = (0.2126, 0.7152, 0.0722)


def srgb_to_linear(x: Tensor) -> Tensor:
    """Encoded value to linear light, any shape: L = x / 12.92 below 0.04045, else ((x + 0.055) / 1.055)^2.4.

    Values below 0 become 0; values above 1 follow the same curve. Differentiable everywhere above 0.
    """
    x = x.clamp_min(0.0)
    return (x / 12.92).where(x <= _TOE_ENCODED, ((x + 0.055) / 1.055).pow(2.4))


def linear_to_srgb(x: Tensor) -> Tensor:
    """Linear light to encoded value, any shape: E = 12.92 x below 0.0031308, else 1.055 x^(1/2.4) - 0.055.

    Values below 0 become 0; values above 1 follow the same curve. Differentiable everywhere above 0.
    """
    x = x.clamp_min(0.0)
    # The power has an infinite slope at 0, which would turn the gradient of the unused branch into NaN.
    return (x * 12.92).where(x <= _TOE_LINEAR, x.clamp_min(_TOE_LINEAR).pow(1 / 2.4) * 1.055 - 0.055)


def luma_bt601(image: Tensor) -> Tensor:
    """Y = (65.481 R + 128.553 G + 24.966 B + 16) / 255 of an encoded image (B, 3, H, W) in [0, 1].

    Returns (B, 1, H, W) in [16/255, 235/255]: studio swing, as MATLAB's `rgb2ycbcr`, without its rounding to integers.
    """
    red, green, blue = (_LUMA_BT601[i] / 255 for i in range(3))
    return _weighted(image, red, green, blue) + _LUMA_OFFSET / 255


def luminance(linear: Tensor) -> Tensor:
    """Y = 0.2126 R + 0.7152 G + 0.0722 B of linear light (B, 3, H, W); returns (B, 1, H, W)."""
    return _weighted(linear, *_LUMINANCE_BT709)


def _weighted(image: Tensor, red: float, green: float, blue: float) -> Tensor:
    if image.ndim < 3 or image.shape[-3] != 3:
        raise ImageError(
            f"wanted an RGB image (B, 3, H, W), got {tuple(image.shape)}; put the channels third from last"
        )
    r, g, b = (image[..., i : i + 1, :, :] for i in range(3))
    return r * red + g * green + b * blue
