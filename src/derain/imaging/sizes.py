"""The size of a picture by the header of its file: no pixel is decoded, and the file is not read to its end."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from derain.imaging.exif import upright
from derain.imaging.formats import AVIF, HEIC, SNIFFED_BYTES, TIFF, WEBP, format_of_content
from derain.imaging.heif import heif_size
from derain.imaging.reading import DEFAULT_PIXEL_LIMIT, QUIET
from derain.imaging.tiff import read_tiff_header

Size = tuple[int, int]
"""Width and height in pixels, as the picture is seen."""

_BY_PILLOW = ("JPEG", "PNG", "TIFF", "BMP")
_ORIENTATION = 274


def header_size(path: Path) -> Size | None:
    """Width and height as `read_picture` gives them, with the orientation applied.

    None where the header does not suffice to be sure that the picture is read: `read_picture` gives it, or the reason.
    """
    try:
        with QUIET:
            size = _size_of(path) if path.is_file() else None
    except Exception:  # decoders raise whatever they like on broken files
        return None
    if size is None or min(size) < 1 or size[0] * size[1] > DEFAULT_PIXEL_LIMIT:
        return None
    return size


def _size_of(path: Path) -> Size | None:
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
        file.seek(0)
        format = format_of_content(head)
        if format in (HEIC, AVIF):
            return None if b"avis" in head[8:] else heif_size(file)
        if format is WEBP:
            return _webp_size(file)
        with Image.open(file, formats=_BY_PILLOW) as picture:
            return _tiff_size(picture, file) if format is TIFF else _pillow_size(picture)


def _turned(size: Size, orientation: int) -> Size:
    return size[::-1] if 5 <= orientation <= 8 else size


def _webp_size(file: BinaryIO) -> Size | None:
    """By its chunks (RFC 9649); None for an animated one."""
    file.seek(12)
    size, orientation = None, 1
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        following = file.tell() + length + length % 2
        if name == b"VP8X":
            flags, data = file.read(4)[0], file.read(6)
            if flags & 2:
                return None
            size = 1 + int.from_bytes(data[:3], "little"), 1 + int.from_bytes(data[3:], "little")
        elif size is None and name in _WEBP_SIZES:
            size = _WEBP_SIZES[name](file.read(10))
        elif name == b"EXIF":
            orientation, _ = upright(file.read(length))
        file.seek(following)
    return None if size is None else _turned(size, orientation)


def _lossy_size(data: bytes) -> Size:
    width, height = struct.unpack_from("<HH", data, 6)
    return width & 0x3FFF, height & 0x3FFF


def _lossless_size(data: bytes) -> Size:
    (packed,) = struct.unpack_from("<I", data, 1)
    return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)


_WEBP_SIZES: dict[bytes, Callable[[bytes], Size]] = {b"VP8 ": _lossy_size, b"VP8L": _lossless_size}


def _tiff_size(picture: Image.Image, file: BinaryIO) -> Size | None:
    orientation = int(picture.getexif().get(_ORIENTATION, 1))
    header = read_tiff_header(file)
    is_plain = header.is_integer and header.is_grey_or_rgb and header.bits in (8, 16)
    if header.is_camera_raw or header.pages > 1 or not (is_plain or (header.bits <= 8 and _is_read(picture))):
        return None
    return _turned((header.width, header.height), orientation)  # as stored; Pillow's are turned already


def _pillow_size(picture: Image.Image) -> Size | None:
    if not _is_read(picture) or (picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1):
        return None
    if "exif" in picture.info:  # Pillow's own way decodes a PNG to look for it at the end
        return _turned(picture.size, upright(picture.info["exif"])[0])
    return None if "Raw profile type exif" in picture.info else picture.size


def _is_read(picture: Image.Image) -> bool:
    """Whether pixels of its mode are read: in a PNG always, else those that make grey or colours of 8 bits."""
    return picture.format == "PNG" or picture.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
