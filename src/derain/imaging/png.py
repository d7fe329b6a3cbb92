"""PNG: its chunks, whether its pixels are all there, and 16 bits per sample, which Pillow cannot hold in colour."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from derain.imaging.metadata import (
    NO_METADATA,
    Metadata,
    clean_xmp,
    colour_warning,
    iptc_of_resource,
    iptc_resource,
    resolution,
)

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIGNATURE_AND_HEADER_BYTES = 8 + 25
"""The signature and the whole IHDR chunk, which comes first in every PNG."""
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"tRNS")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LONG_TEXT_BYTES = 4096
_PIECE_BYTES = 4096


class Chunk(NamedTuple):
    """A chunk's name and data, cut off where the file ends; is_intact: whole, and its checksum is right."""

    name: bytes
    data: bytes
    is_intact: bool


class Chunks(NamedTuple):
    """The chunks of a file up to its end chunk; damage and notes as in `derain.imaging.jpeg.Decoded`."""

    chunks: tuple[Chunk, ...]
    damage: str | None
    notes: tuple[str, ...]

    def data(self, name: bytes) -> bytes | None:
        """The data of the first intact chunk of this name."""
        return next((chunk.data for chunk in self.chunks if chunk.name == name and chunk.is_intact), None)

    @property
    def header(self) -> "Header":
        """The content of the first chunk; ValueError where the file begins with another."""
        data = self.data(b"IHDR")
        if data is None or len(data) != 13:
            raise ValueError("the header chunk is broken")
        return Header(*struct.unpack(">IIBB2xB", data))


class Header(NamedTuple):
    """Size in pixels, bits per sample, kind of colours (bit 1: colour, bit 2: alpha, 3: palette) and interlacing."""

    width: int
    height: int
    bits: int
    colours: int
    interlacing: int


def read_chunks(content: bytes) -> Chunks:
    """The chunks of a PNG, and whether they hold all of its pixels.

    Raises:
        ValueError: its header chunk is broken.
    """
    chunks = tuple(_chunks_of(content))
    found = Chunks(chunks, None, ())
    header = found.header
    broken = next((chunk for chunk in chunks if chunk.name in _PIXEL_CHUNKS and not chunk.is_intact), None)
    if broken is None:
        has_end = any(chunk.name == b"IEND" for chunk in chunks)
        return found if has_end else found._replace(notes=("the end marker is missing; all pixels are there",))
    is_cut = broken is chunks[-1] and broken.name == b"IDAT"
    if is_cut and len(_inflated(chunks, header)) == _raw_bytes(header):
        return found._replace(notes=("the file is cut behind its last pixel",))
    name = broken.name.decode("latin-1")
    return found._replace(
        damage=f"its {name} chunk is cut off" if is_cut else f"the checksum of its {name} chunk is wrong"
    )


def _chunks_of(content: bytes) -> Iterator[Chunk]:
    at = len(_SIGNATURE)
    while at + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        data, checksum = content[at + 8 : at + 8 + size], content[at + 8 + size : at + 12 + size]
        yield Chunk(name, data, checksum == struct.pack(">I", zlib.crc32(data, zlib.crc32(name))))
        if name == b"IEND":
            return
        at += 12 + size


def repaired(found: Chunks) -> bytes:
    """A PNG of the rows that can be had, followed by black ones; ValueError where not even a row begins."""
    header = found.header
    rows = _inflated(found.chunks, header)
    if not rows:
        raise ValueError("no pixel can be decoded")
    whole = zlib.compress(rows.ljust(_raw_bytes(header), b"\0"), 1)
    others = [chunk for chunk in found.chunks if chunk.name not in (b"IDAT", b"IEND") and chunk.is_intact]
    parts = [_chunk(chunk.name, chunk.data) for chunk in others]
    return b"".join([_SIGNATURE, *parts, _chunk(b"IDAT", whole), _chunk(b"IEND", b"")])


def without_texts(found: Chunks) -> bytes:
    """The PNG without its text chunks."""
    return b"".join(
        [_SIGNATURE, *(_chunk(chunk.name, chunk.data) for chunk in found.chunks if chunk.name not in _TEXTS)]
    )


def has_long_texts(found: Chunks) -> bool:
    """Whether Pillow may refuse the picture for its texts."""
    return sum(len(chunk.data) for chunk in found.chunks if chunk.name in _TEXTS) > _LONG_TEXT_BYTES


def _inflated(chunks: tuple[Chunk, ...], header: Header) -> bytes:
    """The filtered rows, as far as the compressed data can be read."""
    packed = b"".join(chunk.data for chunk in chunks if chunk.name == b"IDAT")
    wanted, inflater, parts, size = _raw_bytes(header), zlib.decompressobj(), [], 0
    for start in range(0, len(packed), _PIECE_BYTES):
        try:
            part = inflater.decompress(packed[start : start + _PIECE_BYTES], wanted - size)
        except zlib.error:
            break
        parts.append(part)
        size += len(part)
        if size >= wanted or inflater.eof:
            break
    return b"".join(parts)


def _raw_bytes(header: Header) -> int:
    """Bytes of all rows, each with its filter's byte before it; the seven passes after PNG's section 8.2."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(header.colours, 4)
    passes = [(0, 0, 1, 1)]
    if header.interlacing:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    total = 0
    for x, y, step_x, step_y in passes:
        columns, rows = -(-(header.width - x) // step_x), -(-(header.height - y) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * samples * header.bits + 7) // 8)
    return total


def read_png16(found: Chunks) -> tuple[npt.NDArray[np.uint16], bytes | None, bytes | None]:
    """Samples (H, W, S), S = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; EXIF and ICC as they stand in the file.

    Raises what the decoder raises.
    """
    import imagecodecs

    # libpng would print complaints about odd profiles, so it gets the chunks of the pixels alone.
    pixels = [_chunk(chunk.name, chunk.data) for chunk in found.chunks if chunk.name in _PIXEL_CHUNKS]
    samples = np.atleast_3d(imagecodecs.png_decode(b"".join([_SIGNATURE, *pixels, _chunk(b"IEND", b"")])))
    if samples.dtype != np.uint16:
        raise ValueError("the samples are not of the 16 bits that the header announces")
    packed = found.data(b"iCCP")  # a name, the method 0, the compressed profile
    return samples, found.data(b"eXIf"), _unpacked(packed.partition(b"\0")[2][1:]) if packed else None


_LARGEST_PROFILE_BYTES = 1 << 24


def _unpacked(packed: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(packed, _LARGEST_PROFILE_BYTES) or None
    except zlib.error:
        return None  # a broken profile is no reason to lose the picture


# Metadata of a PNG.

_INCHES_PER_METRE = 39.3701
_XMP, _COMMENT, _IPTC = b"XML:com.adobe.xmp", b"Comment", b"Raw profile type iptc"
_SRGB_GAMMA = 45_455


def metadata_of(found: Chunks) -> Metadata:
    """XMP, the comment, the resolution, and IPTC as ImageMagick and ExifTool store it."""
    texts = dict(_texts_of(found))
    unit = found.data(b"pHYs") or b""
    across, down = struct.unpack_from(">II", unit) if len(unit) == 9 and unit[8] == 1 else (0, 0)
    return Metadata(
        xmp=clean_xmp(texts.get(_XMP)),
        iptc=_unhexed(texts.get(_IPTC, b"")),
        dpi=resolution(across / _INCHES_PER_METRE, down / _INCHES_PER_METRE),
        comment=texts.get(_COMMENT) or None,
    )


def colour_warning_of(found: Chunks) -> str | None:
    """The warning about pixels that are not sRGB and have no profile; None where there is none to give."""
    coded = found.data(b"cICP") or b""
    if len(coded) == 4:
        return colour_warning(coded[0], coded[1])
    gamma = found.data(b"gAMA") or b""
    value = int.from_bytes(gamma, "big") if len(gamma) == 4 else 0
    has_profile = any(found.data(name) is not None for name in (b"iCCP", b"sRGB"))
    if has_profile or not value or abs(value - _SRGB_GAMMA) < 1000:
        return None
    return (
        f"its gamma (1/{100_000 / value:.3g}, sRGB has 1/2.2) is not applied; its values are read and written as sRGB"
    )


def _texts_of(found: Chunks) -> Iterator[tuple[bytes, bytes]]:
    """Keywords and texts (in UTF-8) of the intact text chunks."""
    for chunk in found.chunks:
        if chunk.name not in _TEXTS or not chunk.is_intact:
            continue
        keyword, _, rest = chunk.data.partition(b"\0")
        text: bytes | None = rest
        if chunk.name == b"iTXt":
            is_packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
            text = _unpacked(text) if is_packed else text
        elif chunk.name == b"zTXt":
            text = _unpacked(rest[1:])
        if text is not None:
            yield keyword, text if chunk.name == b"iTXt" else text.decode("latin-1").encode()


def _unhexed(text: bytes) -> bytes | None:
    """IPTC in a raw profile: lines with its name, the number of bytes, and these in hexadecimal digits."""
    try:
        return iptc_of_resource(bytes.fromhex("".join(text.decode("ascii").split()[2:])))
    except (ValueError, UnicodeDecodeError):
        return None


def metadata_chunks(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Names and data of the chunks that hold it."""
    found: list[tuple[bytes, bytes]] = []
    if metadata.dpi is not None:
        found.append((b"pHYs", struct.pack(">IIB", *(round(dpi * _INCHES_PER_METRE) for dpi in metadata.dpi), 1)))
    if metadata.xmp is not None:
        found.append((b"iTXt", _XMP + bytes(5) + metadata.xmp))
    if metadata.comment is not None:
        found.append((b"iTXt", _COMMENT + bytes(5) + metadata.comment.decode(errors="replace").encode()))
    if metadata.iptc is not None:
        resource = iptc_resource(metadata.iptc)
        text = f"\niptc\n{len(resource):8}\n{resource.hex()}\n"
        found.append((b"zTXt", _IPTC + bytes(2) + zlib.compress(text.encode())))
    return found


def write_png16(
    file: BinaryIO,
    samples: npt.NDArray[np.uint16],
    exif: bytes | None = None,
    icc: bytes | None = None,
    metadata: Metadata = NO_METADATA,
) -> None:
    """Write samples (H, W, S) with S as in `read_png16`; EXIF from its TIFF header on."""
    import imagecodecs

    encoded = memoryview(imagecodecs.png_encode(samples[..., 0] if samples.shape[2] == 1 else samples, level=4))
    file.write(encoded[:_SIGNATURE_AND_HEADER_BYTES])
    if icc is not None:
        file.write(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if exif is not None:
        file.write(_chunk(b"eXIf", exif))
    for name, data in metadata_chunks(metadata):
        file.write(_chunk(name, data))
    file.write(encoded[_SIGNATURE_AND_HEADER_BYTES:])


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
