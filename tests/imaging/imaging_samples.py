"""Files to read: photographs in every format and kind, EXIF and profiles, written by Pillow and tifffile."""

import struct
from functools import cache
from io import BytesIO
from itertools import product

import numpy as np
import skimage.data
from PIL import Image, ImageCms

from derain.imaging.pixels import PixelArray

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@cache
def _cat() -> PixelArray:
    pixels: PixelArray = skimage.data.chelsea()
    return pixels


def photo(height: int = 37, width: int = 53, kind: type[np.unsignedinteger] = np.uint8) -> PixelArray:
    """A piece of a photograph; with 16 bits its low bytes are not zero."""
    pixels = np.ascontiguousarray(_cat()[60 : 60 + height, 100 : 100 + width])
    if kind == np.uint8:
        return pixels
    low = np.random.default_rng(5).integers(0, 256, pixels.shape).astype(np.uint16)
    return (pixels.astype(np.uint16) << 8) | low


def ramp(height: int, width: int, kind: type[np.unsignedinteger] = np.uint8) -> PixelArray:
    """An alpha channel: a ramp from nothing to opaque."""
    return np.linspace(0, np.iinfo(kind).max, height * width).round().astype(kind).reshape(height, width)


def exif(orientation: int = 1, order: str = ">") -> bytes:
    """EXIF from its TIFF header on, with a camera's, an interoperability and a GPS directory."""
    content = Image.Exif()
    content.endian = order
    content[0x010F] = "A maker with a longer name"
    content[0x0110] = "X"
    content[0x0112] = orientation
    content[0x011A] = 300.0
    camera = content.get_ifd(0x8769)
    camera[0x829A] = 0.008
    camera[0x8827] = 400
    camera[0x9003] = "2024:03:05 17:20:11"
    camera[0x927C] = bytes(range(40))
    camera[0xA005] = {1: "R98"}
    place = content.get_ifd(0x8825)
    place[1] = "N"
    place[2] = (52.0, 31.0, 12.5)
    return content.tobytes()[6:]


def facts(exif_bytes: bytes | None) -> dict[str, object]:
    """What EXIF says, as Pillow understands it."""
    content = Image.Exif()
    content.load(exif_bytes or b"")
    camera, place = content.get_ifd(0x8769), content.get_ifd(0x8825)
    return {
        "maker": content.get(0x010F),
        "orientation": content.get(0x0112),
        "resolution": content.get(0x011A),
        "exposure_s": camera.get(0x829A),
        "time": camera.get(0x9003),
        "note": camera.get(0x927C),
        "interoperability": content.get_ifd(0xA005).get(1),
        "latitude": place.get(2),
    }


def encoded(image: Image.Image, name: str, **settings: object) -> bytes:
    """The file that Pillow makes of an image."""
    buffer = BytesIO()
    image.save(buffer, name, **settings)
    return buffer.getvalue()


def cmyk_profile() -> bytes:
    """An ICC profile (v2, printer, CMYK to Lab) whose inks are all grey: L* = 100 (1 - .1 c - .2 m - .3 y - .4 k)."""
    corners = [
        (round(255 * (1 - 0.1 * c - 0.2 * m - 0.3 * y - 0.4 * k)), 128, 128)
        for c, m, y, k in product((0, 1), repeat=4)  # the last ink varies fastest
    ]
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (i in (0, 4, 8)) for i in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + bytes(sum(corners, ())) + identity * 3
    name = b"grey inks\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)  # D50
    rights = b"text" + bytes(4) + b"none\0"
    tags = {b"A2B0": table, b"desc": description, b"wtpt": white, b"cprt": rights}
    index, content, at = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        index += tag + struct.pack(">II", at + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    size = at + len(content)
    header = struct.pack(">I4sI4s4s4s", size, b"test", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + content
