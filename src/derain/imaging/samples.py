"""From what a decoder gives to a `Picture`: plain modes, sRGB for CMYK, upright, colours and alpha apart."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from derain.imaging.picture import Picture
from derain.imaging.pixels import PixelArray
from derain.imaging.source import Source

_ROWS_AT_ONCE = 256


def assemble(samples: PixelArray, orientation: int, exif: bytes | None, icc: bytes | None) -> Picture:
    """A picture from stored samples (H, W, S): grey, grey and alpha, RGB, or RGB and alpha."""
    if samples.ndim != 3 or 0 in samples.shape or samples.shape[2] > 4:
        raise ValueError(f"it decodes to {' x '.join(map(str, samples.shape))} numbers")
    samples = _turned(samples, orientation)
    channels = samples.shape[2]
    is_grey = channels < 3
    pixels = np.repeat(samples[..., :1], 3, axis=2) if is_grey else np.ascontiguousarray(samples[..., :3])
    alpha = np.ascontiguousarray(samples[..., -1]) if channels in (2, 4) else None
    return Picture(pixels, alpha, is_grey, exif, icc)


def _turned(samples: PixelArray, orientation: int) -> PixelArray:
    """Stored samples as they are to be looked at; orientation 1 to 8 after EXIF 2.32, 4.6.4 A."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return samples[rows, columns]


def plain(source: Source, image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """The picture in mode L, LA, RGB or RGBA, and the profile that is right for it then."""
    mode, has_key = image.mode, "transparency" in image.info
    if mode == "CMYK":
        return cmyk_to_srgb(image, icc)
    if mode in ("LA", "RGBA") or (mode in ("L", "RGB") and not has_key):
        return image, icc
    grey = {"1": "LA" if has_key else "L", "L": "LA", "La": "LA"}
    colour = {
        "P": "RGBA" if has_key else "RGB",
        "RGB": "RGBA",
        "PA": "RGBA",
        "RGBa": "RGBA",
        "RGBX": "RGB",
        "YCbCr": "RGB",
    }
    target = (grey | colour).get(mode)
    if target is None:
        raise source.error(f"pixels of mode {mode} are not read", "save it as RGB with 8 or 16 bits per channel")
    return image.convert(target), icc


def cmyk_to_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    if icc is not None:
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        try:
            converted = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(BytesIO(icc)), srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a profile that is broken or not for CMYK
        if converted is not None:
            return converted, srgb.tobytes()
    return image.convert("RGB"), None


def samples_of(image: Image.Image) -> npt.NDArray[np.uint8]:
    """(H, W, S); strip by strip, because Pillow's own way holds two more copies."""
    samples = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    for top in range(0, image.height, _ROWS_AT_ONCE):
        strip = image.crop((0, top, image.width, min(top + _ROWS_AT_ONCE, image.height)))
        samples[top : top + _ROWS_AT_ONCE] = np.atleast_3d(np.asarray(strip))
    return samples
