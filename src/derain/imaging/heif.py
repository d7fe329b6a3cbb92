"""HEIC through libheif and AVIF through libavif: sizes, pixels of 8 to 12 bits, and what else such a file holds."""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from derain.imaging.pixels import PixelArray

_LONGEST_META_BYTES = 1 << 24


def open_heif(content: bytes) -> Any:
    """Parse a file, without decoding pixels: `size`, `mode`, `info` and `len()` of pillow_heif; see `heif_samples`."""
    import pillow_heif

    return pillow_heif.open_heif(BytesIO(content), convert_hdr_to_8bit=False, hdr_to_16bit=False)


def heif_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height of the main picture as it is to be looked at; None where they do not follow from its properties.

    By the boxes before the pixels alone (ISO/IEC 14496-12, 4.2 and 8.11; 23008-12, 6.5); libheif wants all of the file.
    """
    meta = _meta_box(file)
    boxes = dict(_boxes(meta, 4))
    properties = dict(_boxes(boxes[b"iprp"], 0))
    main = boxes[b"pitm"][4:]
    kinds = list(_boxes(properties[b"ipco"], 0))
    own = dict(kinds[number - 1] for number in _property_numbers(properties[b"ipma"], int.from_bytes(main, "big")))
    if b"ispe" not in own or b"clap" in own:
        return None
    width, height = struct.unpack_from(">II", own[b"ispe"], 4)
    return (height, width) if own.get(b"irot", b"\0")[0] & 1 else (width, height)


def _meta_box(file: BinaryIO) -> bytes:
    """The content of the box `meta`, which lists what the file holds; ValueError without one."""
    at = 0
    while True:
        file.seek(at)
        start = file.read(16)
        if len(start) < 16:
            raise ValueError("no meta box found")
        size, name = struct.unpack_from(">I4s", start)
        if name == b"meta":
            return start[8:] + file.read(min(size, _LONGEST_META_BYTES) - 16)
        at += max(8, size if size != 1 else int.from_bytes(start[8:], "big"))


def _boxes(content: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the boxes from a place on."""
    while at + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        yield name, content[at + 8 : at + size]
        at += max(8, size)


def _property_numbers(associations: bytes, item: int) -> list[int]:
    """The numbers, from 1 on, of the properties that an item has (23008-12, 9.3.1)."""
    version, is_wide = associations[0], associations[3] & 1
    at, id_bytes = 8, 2 if version < 1 else 4
    while at < len(associations):
        number, count = int.from_bytes(associations[at : at + id_bytes], "big"), associations[at + id_bytes]
        at += id_bytes + 1
        own = associations[at : at + count * (1 + is_wide)]
        if number == item:
            return [value & 0x7FFF for (value,) in struct.iter_unpack(">H", own)] if is_wide else [v & 127 for v in own]
        at += len(own)
    return []


def heif_samples(opened: Any) -> PixelArray:
    """Decode the main picture, upright (libheif turns it): (H, W, S) with S as in PNG, uint8 or uint16."""
    samples = np.asarray(opened)
    bits = int(opened.mode.partition(";")[2] or 8)
    return widened(samples if samples.ndim == 3 else samples[..., None], bits)


def heif_warnings(opened: Any) -> list[str]:
    """What of the file is not kept."""
    found = []
    if any("gainmap" in str(kind).lower() for kind in opened.info.get("aux", {})):
        found.append("its gain map for HDR screens is not kept")
    if opened.info.get("depth_images"):
        found.append("its depth map is not kept")
    if len(opened) > 1:
        found.append(f"the {len(opened) - 1} further pictures in it are not kept")
    return found


def write_heif(
    file: BinaryIO, samples: PixelArray, quality: int, exif: bytes | None, icc: bytes | None, xmp: bytes | None
) -> None:
    """Write samples (H, W, S), 4:4:4; 16 bits become 10. RuntimeError where the library has no encoder."""
    import pillow_heif

    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[samples.shape[2]]
    if samples.dtype == np.uint16:
        mode += ";16"
        samples = (((samples.astype(np.uint32) * 1023 + 32_767) // 65_535) << 6).astype(np.uint16)
    colours = {"icc_profile": icc, "icc_profile_type": "prof"} if icc is not None else {}
    size = (samples.shape[1], samples.shape[0])
    data = np.ascontiguousarray(samples).tobytes()
    pillow_heif.encode(mode, size, data, file, quality=quality, chroma=444, exif=exif, xmp=xmp, **colours)


def avif_coding(content: bytes) -> tuple[int, bool]:
    """Bits per sample of the first coded picture, and whether it is grey (AV1-ISOBMFF, 2.3.3)."""
    at = content.find(b"av1C")
    flags = content[at + 6] if 0 <= at < len(content) - 6 else 0
    bits = 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
    return bits, bool(flags & 0x10)


def deep_avif_samples(content: bytes, bits: int) -> PixelArray:
    """Decode an AVIF of 10 or 12 bits, as stored: (H, W, S), uint16."""
    import imagecodecs

    return widened(np.atleast_3d(imagecodecs.avif_decode(content, numthreads=1)), bits)


def coded_colours(content: bytes) -> tuple[int, int]:
    """Primaries and transfer (ITU-T H.273) that a HEIC or AVIF states; 2 is not stated."""
    at = content.find(b"colrnclx")
    return struct.unpack_from(">HH", content, at + 8) if 0 <= at <= len(content) - 12 else (2, 2)


def widened(samples: PixelArray, bits: int) -> PixelArray:
    """Samples of 10 or 12 bits on the scale of 16, so that the largest stays the largest."""
    if bits == 8:
        return samples
    peak = (1 << bits) - 1
    return ((samples.astype(np.uint32) * 65_535 + peak // 2) // peak).astype(np.uint16)
