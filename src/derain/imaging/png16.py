"""PNG with 16 bits per sample, which Pillow cannot hold in colour; with EXIF and ICC."""

import struct
import zlib
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

_SIGNATURE_AND_HEADER_BYTES = 8 + 25
"""The signature and the whole IHDR chunk, which comes first in every PNG."""


def is_png16(head: bytes) -> bool:
    """Whether the first bytes of a PNG (at least 25) announce 16 bits per sample."""
    return len(head) > 24 and head[24] == 16


def read_png16(content: bytes) -> tuple[npt.NDArray[np.uint16], bytes | None, bytes | None]:
    """Samples (H, W, S), S = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; EXIF and ICC as they stand in the file.

    Raises what the decoder raises.
    """
    import imagecodecs

    pixels, exif, icc = _sorted_chunks(content)
    samples = np.atleast_3d(imagecodecs.png_decode(pixels))
    if samples.dtype != np.uint16:
        raise ValueError("the samples are not of the 16 bits that the header announces")
    return samples, exif, icc


def _sorted_chunks(encoded: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    """The PNG without the chunks that say nothing of its pixels, and what those hold: EXIF and ICC.

    libpng would print complaints about odd profiles.
    """
    kept, at = [encoded[:8]], 8
    exif: bytes | None = None
    icc: bytes | None = None
    while at + 8 <= len(encoded):
        size, name = struct.unpack_from(">I4s", encoded, at)
        if name in (b"IHDR", b"IDAT", b"IEND", b"tRNS"):
            kept.append(encoded[at : at + 12 + size])
        elif name == b"eXIf":
            exif = encoded[at + 8 : at + 8 + size]
        elif name == b"iCCP":
            packed = encoded[at + 8 : at + 8 + size].partition(b"\0")[2]
            icc = _unpacked(packed[1:])  # after the profile's name and the method, 0
        at += 12 + size
    return b"".join(kept), exif, icc


_LARGEST_PROFILE_BYTES = 1 << 24


def _unpacked(packed: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(packed, _LARGEST_PROFILE_BYTES) or None
    except zlib.error:
        return None  # a broken profile is no reason to lose the picture


def write_png16(
    file: BinaryIO, samples: npt.NDArray[np.uint16], exif: bytes | None = None, icc: bytes | None = None
) -> None:
    """Write samples (H, W, S) with S as in `read_png16`; EXIF from its TIFF header on."""
    import imagecodecs

    encoded = memoryview(imagecodecs.png_encode(samples[..., 0] if samples.shape[2] == 1 else samples, level=4))
    file.write(encoded[:_SIGNATURE_AND_HEADER_BYTES])
    if icc is not None:
        file.write(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if exif is not None:
        file.write(_chunk(b"eXIf", exif))
    file.write(encoded[_SIGNATURE_AND_HEADER_BYTES:])


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
