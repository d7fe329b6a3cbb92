"""JPEG: decode strictly, and distinguish missing pixels from irregularities that cost none (ITU-T T.81).

libjpeg fills what is missing with grey or with what stood before, and only warns. Here a warning is looked into: the
picture is taken for whole if its tables and scans alone, with an end marker put behind them, decode without a warning.
"""

import re
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import JpegImagePlugin

from derain.imaging.metadata import Compression, Metadata, clean_xmp, iptc_of_photoshop, resolution

Colours = Literal["RGB", "GRAY", "CMYK"]
COLOURS: dict[str, Colours] = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
"""By Pillow's mode."""

_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
_HUFFMAN = 0xC4
_TABLES = frozenset({_HUFFMAN, 0xDB, 0xDD})  # Huffman, quantisation, restart interval
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JFIF, _ADOBE = 0xE0, 0xEE
_ZEROS = bytes(100)
_MOST_SCANS = 100
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


class Decoded(NamedTuple):
    """Samples (H, W, 1, 3 or 4) as stored; damage: why pixels are missing, None where all are there; notes: what is
    irregular and costs no pixels."""

    samples: npt.NDArray[np.uint8]
    damage: str | None
    notes: tuple[str, ...]


class Segment(NamedTuple):
    """A marker segment before the first scan; the bytes from its 0xff on."""

    marker: int
    start: int
    stop: int


def decode_jpeg(content: bytes, colours: Colours, scale: int = 1) -> Decoded:
    """Decode what is there, at 1/`scale` (1, 2, 4 or 8) of its size; all of the compressed data is read at any scale.

    Raises:
        ValueError: nothing can be decoded, or it has more scans than any encoder writes.
    """
    if content.count(b"\xff\xda", scans_at(content), end_of_scans(content)) > _MOST_SCANS:
        raise ValueError(f"over {_MOST_SCANS} scans")
    has_hole = _ZEROS in content and _has_hole(content)
    try:
        samples = simplejpeg.decode_jpeg(content, colours, min_factor=scale)
        return Decoded(samples, "a stretch of its data is zeros" if has_hole else None, ())
    except ValueError as error:
        warning = str(error)
    plain = _plain(content)
    samples = simplejpeg.decode_jpeg(plain, colours, min_factor=scale, strict=False)
    try:
        simplejpeg.decode_jpeg(plain, colours, min_factor=8)
    except ValueError as error:
        return Decoded(samples, str(error), ())
    if not _has_all_scans(plain):
        return Decoded(samples, "scans are missing", ())
    has_end = _EOI in content[scans_at(content) :]
    return Decoded(samples, None, (warning,) if has_end else ("the end marker is missing; all pixels are there",))


def segments(content: bytes) -> Iterator[Segment]:
    """The marker segments before the first scan, the scan's own header last; bytes between them are passed over."""
    at = 2
    while (found := _NEXT_MARKER.search(content, at)) is not None and found.end() + 2 <= len(content):
        marker = content[found.start() + 1]
        if marker in (0x01, 0xD8):  # stand alone
            at = found.end()
            continue
        (size,) = struct.unpack_from(">H", content, found.end())
        yield Segment(marker, found.start(), found.end() + size)
        if marker == _SOS:
            return
        at = found.end() + size


def scans_at(content: bytes) -> int:
    """Where the first scan begins; the end of the content without one."""
    return next((segment.start for segment in segments(content) if segment.marker == _SOS), len(content))


def end_of_scans(content: bytes) -> int:
    """Where the picture ends, after its end marker; the end of the content without one."""
    end = content.find(_EOI, scans_at(content))  # within compressed data 0xff is followed by 0 or a restart marker
    return len(content) if end < 0 else end + 2


def _plain(content: bytes) -> bytes:
    """The tables and scans alone, without padding behind the last, and an end marker."""
    parts = [_SOI]
    for segment in segments(content):
        is_needed = segment.marker in _TABLES or segment.marker in _FRAMES
        # What decides how colours are stored; libjpeg warns of other versions and transforms.
        if segment.marker == _JFIF:
            is_needed = content[segment.start + 4 : segment.start + 10] == b"JFIF\0\x01"
        if segment.marker == _ADOBE:
            is_needed = segment.stop - segment.start == 16 and content[segment.stop - 1] <= 2
        if is_needed:
            parts.append(content[segment.start : segment.stop])
    scans = content[scans_at(content) : end_of_scans(content)].removesuffix(_EOI)
    packed = scans.rstrip(b"\0")
    if packed.endswith(b"\xff"):  # half a marker, or a data byte 0xff, which a 0 follows
        packed = packed + b"\0" if len(packed) < len(scans) else packed[:-1]
    return b"".join([*parts, packed, _EOI])


def _has_hole(content: bytes) -> bool:
    """Whether a long run of zeros stands in the only scan and cannot be one colour.

    The first code of every Huffman table is all zeros. So a flat area may be zeros if the first code of the tables for
    coefficients means that a block ends; else each block would hold all of its coefficients, the same in every block.
    """
    start, stop = scans_at(content), end_of_scans(content)
    if content.count(b"\xff\xda", start, stop) != 1 or content.find(_ZEROS, start, stop) < 0:
        return False
    for segment in segments(content):
        at = segment.start + 4
        while segment.marker == _HUFFMAN and at + 17 < segment.stop:  # class and number, 16 counts, the symbols
            if content[at] >= 16 and content[at + 17] != 0:
                return True
            at += 17 + sum(content[at + 1 : at + 17])
    return False


def _has_all_scans(content: bytes) -> bool:
    """Whether the scans hold every coefficient of every component to its last bit (T.81, G.1.2)."""
    components: set[int] = set()
    for segment in segments(content):
        if segment.marker in _FRAMES:
            count = content[segment.start + 9]
            components = set(content[segment.start + 10 : segment.start + 10 + 3 * count : 3])
    lowest_bit = np.full((256, 64), 255)
    for found in re.finditer(rb"\xff\xda", content[scans_at(content) :]):
        at = scans_at(content) + found.start()
        count = content[at + 4]
        names = content[at + 5 : at + 5 + 2 * count : 2]
        first, last, bits = content[at + 5 + 2 * count : at + 8 + 2 * count]
        for name in names:
            lowest_bit[name, first : last + 1] = np.minimum(lowest_bit[name, first : last + 1], bits & 15)
    return bool(components) and not lowest_bit[sorted(components)].any()


# Metadata of a JPEG, from the marker segments that Pillow has parsed.


def metadata_of(image: JpegImagePlugin.JpegImageFile) -> Metadata:
    """XMP (its main packet), IPTC, the resolution that JFIF states, and the comment."""
    info = image.info
    per_inch = {1: 1.0, 2: 2.54}.get(info.get("jfif_unit", 0), 0.0)
    across, down = info.get("jfif_density", (0, 0))
    return Metadata(
        xmp=clean_xmp(info.get("xmp")),
        iptc=iptc_of_photoshop(info.get("photoshop")),
        dpi=resolution(across * per_inch, down * per_inch),
        comment=info.get("comment") or None,
    )


def compression_of(image: JpegImagePlugin.JpegImageFile, orientation: int) -> Compression:
    """The quantisation tables, and the subsampling, as it is right for the upright picture.

    What Pillow cannot write is kept finer: 4:4:4 for rare subsamplings, and for 4:2:2 of a picture that is turned.
    """
    tables = tuple(tuple(image.quantization[number]) for number in sorted(image.quantization))
    subsampling = max(0, JpegImagePlugin.get_sampling(image))
    if subsampling == 1 and orientation >= 5:
        subsampling = 0
    return Compression(tables if all(len(table) == 64 for table in tables) else (), subsampling)


def dropped_parts(image: JpegImagePlugin.JpegImageFile, content: bytes) -> list[str]:
    """Warnings about what is not kept: what stands behind the picture, and the rest of a long XMP packet."""
    end = end_of_scans(content)
    behind = len(content) - end
    found = []
    if "mp" in image.info or b"hdrgm:Version" in image.info.get("xmp", b""):
        is_gain_map = any(content.find(word) >= 0 for word in _GAIN_MAP_WORDS)
        what = (
            "gain map for HDR screens"
            if is_gain_map
            else "second picture in the file (a gain map, preview or other view)"
        )
        found.append(f"its {what} is not kept" if is_gain_map else f"the {what} is not kept")
    if any(content.startswith(_EXTENDED_XMP, segment.start + 4) for segment in segments(content)):
        found.append("the part of its XMP that stands apart (extended XMP) is not kept")
    if behind > 16 and content.find(b"ftyp", end) >= 0:
        found.append(f"the film of {max(1, behind // 1000)} kB appended to it (motion photo) is not kept")
    return found


_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_GAIN_MAP_WORDS = (b"hdrgm:", b"hdrgainmap", b"urn:iso:std:iso:ts:21496")
