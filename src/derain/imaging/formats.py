"""The table of picture formats: endings of names, first bytes of content, and what a file of each can hold."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """A still picture format that is read and written.

    suffixes: endings of file names in lower case, the usual one first; bit_depths: per sample, as written;
    default_quality: what a lossy format is written with where neither the caller nor the source says otherwise;
    longest_side: in pixels.
    """

    name: str
    suffixes: tuple[str, ...]
    bit_depths: tuple[int, ...] = (8,)
    has_alpha: bool = True
    default_quality: int | None = None
    longest_side: int | None = None

    @property
    def is_deep(self) -> bool:
        """Whether it holds more than 8 bits per sample."""
        return max(self.bit_depths) > 8


JPEG = Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), has_alpha=False, default_quality=95, longest_side=65_500)
PNG = Format("PNG", (".png",), bit_depths=(8, 16))
WEBP = Format("WebP", (".webp",), default_quality=95, longest_side=16_383)
TIFF = Format("TIFF", (".tif", ".tiff"), bit_depths=(8, 16))
BMP = Format("BMP", (".bmp",), has_alpha=False)
HEIC = Format("HEIC", (".heic", ".heif", ".hif"), bit_depths=(8, 10), default_quality=90, longest_side=16_384)
AVIF = Format("AVIF", (".avif",), default_quality=90, longest_side=65_535)

FORMATS = (JPEG, PNG, WEBP, TIFF, BMP, HEIC, AVIF)

_BY_SUFFIX = {suffix: format for format in FORMATS for suffix in format.suffixes}

IMAGE_SUFFIXES = frozenset(_BY_SUFFIX)
"""Endings of picture files, in lower case. What is read goes by the content; what is written goes by the ending."""

DEEP_SUFFIXES = frozenset(suffix for suffix, format in _BY_SUFFIX.items() if format.is_deep)
"""Those of the formats that hold more than 8 bits; into the others 16 bits go rounded to 8."""

SNIFFED_BYTES = 64
"""As much of a file's beginning as `format_of_content` looks at."""

_SIGNATURES = {
    b"\xff\xd8": JPEG,
    b"\x89PNG\r\n\x1a\n": PNG,
    b"II*\0": TIFF,
    b"MM\0*": TIFF,
    b"II+\0": TIFF,  # BigTIFF
    b"MM\0+": TIFF,
    b"BM": BMP,
}


def _format_of_brands(head: bytes) -> Format | None:
    """HEIC or AVIF by the brands in the first box (ISO/IEC 23008-12, 10); None for videos and raw files."""
    size = int.from_bytes(head[:4], "big")
    brands = {head[at : at + 4] for at in (8, *range(16, min(size, len(head)), 4))}
    if brands & {b"avif", b"avis"}:
        return AVIF
    return HEIC if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"} else None


def known_suffixes() -> list[str]:
    """Endings of picture files in the order of the table, for messages."""
    return list(_BY_SUFFIX)


def format_of_name(name: str | Path) -> Format | None:
    """The format that a file of this name is written in: its ending, or a bare format name such as `png` or `JPEG`."""
    suffix = Path(name).suffix or f".{name}"
    return _BY_SUFFIX.get(suffix.lower())


def format_of_content(head: bytes) -> Format | None:
    """The format of a file that begins with these bytes; None for any other kind of file."""
    if head[4:8] == b"ftyp":
        return _format_of_brands(head)
    if head[:4] == b"RIFF":
        return WEBP if b"WEBP".startswith(head[8:12]) else None
    return next((format for signature, format in _SIGNATURES.items() if head.startswith(signature)), None)
