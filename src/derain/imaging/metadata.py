"""What travels with a picture beside EXIF and profile: XMP, IPTC, resolution, comment; and how it was compressed."""

import math
import re
import struct
from dataclasses import dataclass
from typing import Any

_IPTC_RESOURCE = 0x0404
_PHOTOSHOP = b"Photoshop 3.0\0"


@dataclass(frozen=True)
class Metadata:
    """xmp: a packet without orientation and without references to what is not kept; iptc: IIM records; dpi: pixels per
    inch across and down; comment: as the file holds it."""

    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None


@dataclass(frozen=True)
class Compression:
    """How a file was compressed, so that one written from it is compressed alike.

    jpeg_tables: quantisation tables in rows, luma's first; subsampling: of JPEG, Pillow's number (0: 4:4:4, 1: 4:2:2,
    2: 4:2:0); is_lossless: of a format that can be either.
    """

    jpeg_tables: tuple[tuple[int, ...], ...] = ()
    subsampling: int = 0
    is_lossless: bool = False


NO_METADATA = Metadata()
DEFAULT_COMPRESSION = Compression()


def resolution(across: float, down: float) -> tuple[float, float] | None:
    """Pixels per inch; None where they cannot be meant."""
    is_plain = all(math.isfinite(value) and 1 <= value <= 65_000 for value in (across, down))
    return (float(across), float(down)) if is_plain else None


def clean_xmp(packet: Any) -> bytes | None:
    """An XMP packet as it is right for the picture written: upright, alone in its file, without a thumbnail.

    Orientation becomes 1. References to a gain map, a film or more XMP elsewhere in the file are removed, as these are.
    """
    if not isinstance(packet, bytes | str) or not packet:
        return None
    xmp = packet.encode() if isinstance(packet, str) else packet
    xmp = re.sub(rb'(tiff:Orientation(?:\s*=\s*["\']|>))[2-8]', rb"\g<1>1", xmp)
    for prefix in (rb"hdrgm", rb"GCamera", rb"HDRGainMap", rb"xmpNote"):
        xmp = re.sub(rb"\s" + prefix + rb':\w+\s*=\s*("[^"]*"|\'[^\']*\')', b"", xmp)
    for element in (rb"Container:Directory", rb"xmp:Thumbnails"):
        xmp = re.sub(rb"<" + element + rb"[ >].*?</" + element + rb">", b"", xmp, flags=re.DOTALL)
    return xmp


def iptc_of_photoshop(resources: Any) -> bytes | None:
    """The IPTC records among Photoshop's resources, as Pillow sorts them."""
    records = resources.get(_IPTC_RESOURCE) if isinstance(resources, dict) else None
    return records if isinstance(records, bytes) and records else None


def iptc_resource(iptc: bytes) -> bytes:
    """IPTC records as a resource of Photoshop's, in which most formats hold them."""
    return struct.pack(">4sH2xI", b"8BIM", _IPTC_RESOURCE, len(iptc)) + iptc + bytes(len(iptc) % 2)


def iptc_of_resource(resource: bytes) -> bytes | None:
    """The IPTC records of a resource, or of bare records; None where neither begins."""
    if resource.startswith(b"\x1c"):
        return resource
    if not resource.startswith(struct.pack(">4sH2x", b"8BIM", _IPTC_RESOURCE)) or len(resource) < 12:
        return None
    (size,) = struct.unpack_from(">I", resource, 8)
    return resource[12 : 12 + size] or None


def photoshop_segment(iptc: bytes) -> bytes:
    """JPEG's segment APP13 that holds IPTC records as the only resource; empty where they are too long for it."""
    resource = iptc_resource(iptc)
    size = 2 + len(_PHOTOSHOP) + len(resource)
    return struct.pack(">2sH", b"\xff\xed", size) + _PHOTOSHOP + resource if size < 1 << 16 else b""


def colour_warning(primaries: int, transfer: int) -> str | None:
    """The warning about coded colours (ITU-T H.273) that are treated as sRGB and are not; None for sRGB."""
    hdr = {16: "PQ", 18: "HLG"}.get(transfer)
    if hdr is not None:
        return f"its brightness is coded for HDR screens ({hdr}); it is read and written as ordinary sRGB values"
    if primaries in (9, 11, 12):
        return "its colours are of a wide range without a profile; they are read and written as sRGB values"
    return None
