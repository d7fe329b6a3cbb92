"""Write still pictures: the format by the name's ending, whole or not at all."""

import os
import secrets
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from derain.errors import ImageError
from derain.imaging.exif import PREFIX, upright
from derain.imaging.picture import Picture
from derain.imaging.pixels import PixelArray
from derain.imaging.png16 import write_png16
from derain.imaging.tiff import write_tiff

_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WebP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
IMAGE_SUFFIXES = frozenset(_FORMATS)
"""Endings of file names, in lower case, that are written; what is read goes by the file's first bytes."""

DEEP_SUFFIXES = frozenset(suffix for suffix, name in _FORMATS.items() if name in ("PNG", "TIFF"))
"""Those of the formats that hold 16 bits; into the others 16 bits go rounded to 8."""

_LONGEST_SIDE = {"JPEG": 65_500, "WebP": 16_383}
_ROWS_AT_ONCE = 256


def write_picture(path: str | os.PathLike[str], picture: Picture, jpeg_quality: int = 95) -> None:
    """Write a picture in the format of the name's ending; the file appears whole or not at all.

    A file that is replaced hands on its rights. PNG, TIFF and BMP are lossless. JPEG (4:4:4) and WebP have the
    quality `jpeg_quality`, 1 to 100. 16 bits go into an 8-bit format rounded. Grey is the BT.601 luma of the
    pixels. An alpha that is opaque everywhere is left out where the format has none. What each format keeps stands
    at the top of `derain.imaging.io`.

    Raises:
        ImageError: an unknown ending, no folder to write to, alpha into JPEG or BMP, sides longer than the format can
            hold, or the encoder or the disk fails. A file that stood there before stays as it was.
    """
    path = Path(path)
    name = _FORMATS.get(path.suffix.lower())
    if name is None:
        raise ImageError(f"{path}: cannot write {path.suffix or 'a name without ending'}; use {', '.join(_FORMATS)}")
    if not 1 <= jpeg_quality <= 100:
        raise ImageError(f"{path}: wanted a JPEG quality from 1 to 100, got {jpeg_quality}")
    longest = _LONGEST_SIDE.get(name)
    if longest is not None and max(picture.width, picture.height) > longest:
        raise ImageError(
            f"{path}: {picture.width}x{picture.height} is more than the {longest} pixels a side that {name} holds; "
            "write PNG or TIFF"
        )
    has_alpha = picture.alpha is not None
    if name in ("JPEG", "BMP") and picture.alpha is not None:
        if int(picture.alpha.min()) < np.iinfo(picture.alpha.dtype).max:
            raise ImageError(f"{path}: {name} holds no transparency and this picture has some; write PNG, WebP or TIFF")
        has_alpha = False
    bit_depth = picture.bit_depth if path.suffix.lower() in DEEP_SUFFIXES else 8
    samples = _samples_to_write(picture, bit_depth, has_alpha)
    # A picture put together by hand may carry an orientation; its pixels are upright by contract.
    exif = upright(picture.exif)[1] if picture.exif else None
    try:
        with _replacing(path) as file:
            _encode(file, name, samples, exif, picture.icc, jpeg_quality)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ImageError(f"{path}: cannot be written ({reason}); check the folder, its space and rights") from error
    except (ValueError, OverflowError, struct.error, RuntimeError) as error:
        raise ImageError(f"{path}: {name} cannot hold this picture ({error}); write another format") from error


def _samples_to_write(picture: Picture, bit_depth: int, has_alpha: bool) -> PixelArray:
    """(H, W, S) of the wanted depth; the picture's own pixels where nothing has to change."""
    if not picture.is_grey and not has_alpha and picture.bit_depth == bit_depth:
        return np.ascontiguousarray(picture.pixels)
    colours = 1 if picture.is_grey else 3
    shape = (picture.height, picture.width, colours + has_alpha)
    samples: PixelArray = np.empty(shape, np.uint8 if bit_depth == 8 else np.uint16)
    for top in range(0, picture.height, _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        pixels = picture.pixels[rows]
        samples[rows, :, :colours] = _to_depth(_luma(pixels) if picture.is_grey else pixels, bit_depth)
        if has_alpha and picture.alpha is not None:
            samples[rows, :, -1] = _to_depth(picture.alpha[rows], bit_depth)
    return samples


def _luma(pixels: PixelArray) -> PixelArray:
    """BT.601 luma (H, W, 1) in integers; equal channels come out as they are, since the weights sum to 2^16."""
    r, g, b = (pixels[..., i : i + 1].astype(np.uint32) for i in range(3))
    return ((19595 * r + 38470 * g + 7471 * b + (1 << 15)) >> 16).astype(pixels.dtype)


def _to_depth(values: PixelArray, bit_depth: int) -> PixelArray:
    if bit_depth == 8 * values.dtype.itemsize:
        return values
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # round(v / 257), 257 = 65535 / 255


def _encode(
    file: BinaryIO, name: str, samples: PixelArray, exif: bytes | None, icc: bytes | None, jpeg_quality: int
) -> None:
    if name == "TIFF":
        write_tiff(file, samples, exif, icc)
        return
    if samples.dtype == np.uint16:
        write_png16(file, samples, exif, icc)
        return
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    if name == "PNG":
        image.save(file, "PNG", compress_level=4, exif=exif or b"", icc_profile=icc)
    elif name == "JPEG":
        marked = PREFIX + exif if exif else b""
        image.save(file, "JPEG", quality=jpeg_quality, subsampling=0, exif=marked, icc_profile=icc)
    elif name == "WebP":
        image.save(file, "WEBP", quality=jpeg_quality, exact=True, alpha_quality=100, exif=exif or b"", icc_profile=icc)
    else:
        image.save(file, "BMP")


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file beside `path` that takes its name when the block ends, and is removed when it fails.

    It has the rights of the file that it replaces, and lies on the disk before it takes the name: after a power cut
    there is the old file or the new one, whole.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            if path.is_file():
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))  # at once, so that no one else can read meanwhile
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
