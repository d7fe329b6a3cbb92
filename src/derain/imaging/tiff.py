"""TIFF: read its header, read grey and RGB pixels, and write them with EXIF and ICC.

Pillow holds no 16-bit colour, and its libtiff prints on stderr and cannot write EXIF's directories into a compressed
file. So grey and RGB are read by tifffile, which is imported when the first TIFF is met, and written here (TIFF 6.0,
one page of strips). What is left to Pillow: bilevel pictures, palettes, YCbCr and CMYK.
"""

import logging
import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from derain.imaging.exif import Directories
from derain.imaging.ifd import (
    ASCII,
    BYTE,
    UNDEFINED,
    Field,
    align,
    byte_order,
    entries,
    first_directory_at,
    header,
    longs,
    rational,
    shorts,
    write_directory,
)
from derain.imaging.metadata import NO_METADATA, Metadata, clean_xmp, resolution
from derain.imaging.pixels import PixelArray

_GREY_INVERTED, _GREY, _RGB = 0, 1, 2
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2
_ORIENTATION = 274
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 255, 330, 50706
_COLOUR_FILTERS, _LINEAR_RAW = 32803, 34892
_ROWS_AT_ONCE = 256
_STRIP_BYTES = 1 << 18
_MOST_PREVIEWS = 20
_MOST_SAMPLES = 6
_DESCRIPTION, _ACROSS, _DOWN, _UNIT, _XMP, _IPTC = 270, 282, 283, 296, 700, 33723
_EXIF, _PLACE = 34665, 34853


@dataclass(frozen=True)
class TiffHeader:
    """The first directory of a TIFF: size in pixels as stored, bits of each sample, number of pages.

    is_grey_or_rgb: grey or RGB, with at most one more channel; is_camera_raw: what stands first is a sensor's data, or
    a small copy of a picture that stands elsewhere in the file; pages: pictures of their own; previews: further pages
    that are marked as smaller copies and are smaller; has_unread_metadata: EXIF, XMP or IPTC in a BigTIFF.
    """

    width: int
    height: int
    bits: int
    is_integer: bool
    is_grey_or_rgb: bool
    is_camera_raw: bool
    pages: int
    previews: int
    has_unread_metadata: bool


def read_tiff_header(file: BinaryIO) -> TiffHeader:
    """Read the directories, not the pixels. Raises what the parser raises."""
    with _open(file) as tiff:
        if len(tiff.pages) == 0:
            raise ValueError("it ends before its directory")
        page: Any = tiff.pages[0]
        bits = page.bitspersample
        if page.samplesperpixel > _MOST_SAMPLES or page.imagedepth > 1:
            raise ValueError(f"{page.samplesperpixel} numbers for each pixel in {page.imagedepth} planes")
        pages = len(tiff.pages)
        previews = sum(_is_preview(other, page) for other in tiff.pages[1:]) if pages <= _MOST_PREVIEWS else 0
        return TiffHeader(
            width=page.imagewidth,
            height=page.imagelength,
            bits=bits if isinstance(bits, int) else max(bits),
            is_integer=int(page.sampleformat or 1) == 1,
            is_grey_or_rgb=_is_grey_or_rgb(page),
            is_camera_raw=_is_camera_raw(file, page),
            pages=pages - previews,
            previews=previews,
            has_unread_metadata=tiff.is_bigtiff and any(tag in page.tags for tag in (_XMP, _IPTC, _EXIF, _PLACE)),
        )


def _is_grey_or_rgb(page: Any) -> bool:
    colours = {_GREY: 1, _GREY_INVERTED: 1, _RGB: 3}.get(int(page.photometric), 0)
    extra = len(page.extrasamples)
    return colours > 0 and extra <= 1 and page.samplesperpixel == colours + extra


def _is_preview(page: Any, first: Any) -> bool:
    is_marked = _number(page, _NEW_SUBFILE_TYPE) & 1 or _number(page, _SUBFILE_TYPE) == 2
    return bool(is_marked) and page.imagewidth * page.imagelength < first.imagewidth * first.imagelength


def _is_camera_raw(file: BinaryIO, page: Any) -> bool:
    """By the first directory of NEF, ARW, DNG and their like, which are TIFF files; CR2 has a mark of its own.

    Directories below the first are no proof: a pyramid has them too, but for smaller copies of its first picture.
    """
    file.seek(8)
    if file.read(2) == b"CR" or _DNG_VERSION in page.tags or int(page.photometric) in (_COLOUR_FILTERS, _LINEAR_RAW):
        return True
    if _number(page, _NEW_SUBFILE_TYPE) & 1 or _number(page, _SUBFILE_TYPE) == 2:
        return True
    below = page.pages if _SUB_DIRECTORIES in page.tags else None
    return below is not None and any(
        inner.imagewidth > page.imagewidth or inner.imagelength > page.imagelength for inner in below
    )


def _number(page: Any, tag: int) -> int:
    """The value of a tag that holds one number; 0 without it."""
    value = page.tags.valueof(tag, 0)
    return int(value) if isinstance(value, int) else 0


def missing_segments(file: BinaryIO) -> str | None:
    """Which strips or tiles of the first picture do not lie in the file; None where all do."""
    with _open(file) as tiff:
        page: Any = tiff.pages[0]
        size = file.seek(0, os.SEEK_END)
        ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
    missing = sum(end > size for end in ends)
    return f"{missing} of its {len(ends)} strips or tiles are cut off" if missing else None


def read_tiff(file: BinaryIO, allow_damaged: bool = False) -> tuple[PixelArray, int, bytes | None]:
    """Samples (H, W, S) with S as in PNG, the orientation to apply, and the ICC profile. Raises what the parser raises.

    For 8 or 16 bits and headers that are `is_grey_or_rgb`. Premultiplied alpha is divided out; a channel of no named
    kind is left out. With `allow_damaged`, strips and tiles that cannot be decoded are black.
    """
    with _open(file) as tiff:
        page: Any = tiff.pages[0]
        if page.tilewidth * page.tilelength > 4 * max(page.imagewidth * page.imagelength, 1 << 20):
            raise ValueError("its tiles are larger than the picture")
        photometric, extra = int(page.photometric), [int(kind) for kind in page.extrasamples]
        stored = _decodable(page) if allow_damaged else page.asarray(maxworkers=1)
        samples: PixelArray = np.asarray(stored, np.uint16 if page.bitspersample == 16 else np.uint8)
        axes = page.axes
        tag = page.tags.get(_ORIENTATION)
        orientation = int(tag.value) if tag is not None else 1
        icc: bytes | None = page.iccprofile
    samples = np.moveaxis(samples, 0, 2) if axes == "SYX" else np.atleast_3d(samples)
    if photometric == _GREY_INVERTED:
        samples[..., 0] = np.iinfo(samples.dtype).max - samples[..., 0]
    if extra and extra[0] == _ASSOCIATED_ALPHA:
        _divide_by_alpha(samples)
    elif extra and extra[0] != _UNASSOCIATED_ALPHA:
        samples = samples[..., :-1]
    return samples, orientation if 1 <= orientation <= 8 else 1, icc


def _decodable(page: Any) -> Any:
    """The stored samples, 0 where a strip or tile cannot be decoded."""
    stored = np.zeros(page.shaped, page.dtype)  # planes, depth, rows, columns, samples
    segments = page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts, sort=True)
    for data, index in segments:
        try:
            segment, (plane, _, top, left, _), (_, height, width, _) = page.decode(
                data, index, jpegtables=page.jpegtables
            )
        except Exception:  # whatever the codec raises on a broken strip
            continue
        if segment is not None:
            target = stored[plane, 0, top : top + height, left : left + width]
            target[...] = segment[0, : target.shape[0], : target.shape[1]]
    return stored.reshape(page.shape)


def _open(file: BinaryIO) -> Any:
    import tifffile

    # tifffile logs irregularities; without any handler Python would print them, beside our error.
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    file.seek(0)
    return tifffile.TiffFile(file)


def _divide_by_alpha(samples: PixelArray) -> None:
    peak = int(np.iinfo(samples.dtype).max)
    for top in range(0, len(samples), _ROWS_AT_ONCE):
        rows = samples[top : top + _ROWS_AT_ONCE]
        alpha = np.maximum(rows[..., -1:], 1).astype(np.float64)
        rows[..., :-1] = np.minimum(np.rint(rows[..., :-1] * (peak / alpha)), peak).astype(samples.dtype)


def tiff_metadata(data: bytes) -> Metadata:
    """XMP, IPTC and resolution of the first directory; none of a BigTIFF. The description counts as EXIF."""
    try:
        fields = {entry.tag: entry.field(data) for entry in entries(data, first_directory_at(data))}
        xmp, iptc = fields.get(_XMP), fields.get(_IPTC)
        sides = [fields[tag].number_in(byte_order(data)) for tag in (_ACROSS, _DOWN) if tag in fields]
        unit = fields[_UNIT].number_in(byte_order(data)) if _UNIT in fields else 2
    except (struct.error, ValueError):
        return Metadata()
    per_inch = {2: 1.0, 3: 2.54}.get(int(unit), 0.0)
    return Metadata(
        xmp=clean_xmp(xmp.value) if xmp is not None else None,
        iptc=iptc.value or None if iptc is not None else None,
        dpi=resolution(sides[0] * per_inch, sides[1] * per_inch) if len(sides) == 2 else None,
    )


def _metadata_fields(metadata: Metadata, order: str) -> dict[int, Field]:
    fields: dict[int, Field] = {}
    if metadata.dpi is not None:
        fields[_ACROSS], fields[_DOWN] = (rational(order, dpi) for dpi in metadata.dpi)
        fields[_UNIT] = shorts(order, [2])
    if metadata.xmp is not None:
        fields[_XMP] = Field(BYTE, len(metadata.xmp), metadata.xmp)
    if metadata.iptc is not None:
        fields[_IPTC] = Field(UNDEFINED, len(metadata.iptc), metadata.iptc)
    if metadata.comment is not None:
        fields[_DESCRIPTION] = Field(ASCII, len(metadata.comment) + 1, metadata.comment + b"\0")
    return fields


def write_tiff(
    file: BinaryIO,
    samples: PixelArray,
    exif: bytes | None = None,
    icc: bytes | None = None,
    metadata: Metadata = NO_METADATA,
) -> None:
    """Write samples (H, W, S), S as in PNG, losslessly compressed (Deflate over horizontal differences).

    Of EXIF the descriptive tags and the camera's and GPS directories are written; all of it is left out where it cannot
    be parsed. struct.error for a file beyond 4 GiB.
    """
    about = _directories_of(exif)
    order = "<" if about is None else about.order
    file.write(header(order) + bytes(4))  # the directory's place is filled in at the end
    offsets, sizes, rows_per_strip = _write_strips(file, samples, order)

    height, width, channels = samples.shape
    fields = {
        256: longs(order, [width]),
        257: longs(order, [height]),
        258: shorts(order, [8 * samples.dtype.itemsize] * channels),
        259: shorts(order, [8]),  # Deflate
        262: shorts(order, [_RGB if channels > 2 else _GREY]),
        273: longs(order, offsets),
        _ORIENTATION: shorts(order, [1]),
        277: shorts(order, [channels]),
        278: longs(order, [rows_per_strip]),
        279: longs(order, sizes),
        284: shorts(order, [1]),  # channels interleaved
        317: shorts(order, [2]),  # horizontal differences
    }
    if channels in (2, 4):
        fields[338] = shorts(order, [_UNASSOCIATED_ALPHA])
    if icc is not None:
        fields[34675] = Field(UNDEFINED, len(icc), icc)
    fields |= _metadata_fields(metadata, order)
    if about is not None:
        fields |= about.append_to(file)
    directory_at = write_directory(file, order, fields)
    file.seek(4)
    file.write(struct.pack(order + "I", directory_at))


def _directories_of(exif: bytes | None) -> Directories | None:
    try:
        return Directories.of(exif) if exif is not None else None
    except (struct.error, ValueError):
        return None


def _write_strips(file: BinaryIO, samples: PixelArray, order: str) -> tuple[list[int], list[int], int]:
    """Offsets and sizes of the strips, and the rows in each."""
    import imagecodecs

    rows_per_strip = max(1, _STRIP_BYTES // samples[0].nbytes)
    kind = samples.dtype.newbyteorder("<" if order == "<" else ">")
    offsets, sizes = [], []
    for top in range(0, len(samples), rows_per_strip):
        strip = samples[top : top + rows_per_strip]
        differences = strip.copy()
        differences[:, 1:] -= strip[:, :-1]  # wraps around, as the format wants
        offsets.append(align(file))
        sizes.append(file.write(imagecodecs.deflate_encode(differences.astype(kind).tobytes(), level=6)))
    return offsets, sizes, rows_per_strip
