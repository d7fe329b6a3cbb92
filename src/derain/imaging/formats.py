"""The table of picture formats: file extensions, first bytes of content, and what a file of each can hold."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """A still picture format that is read and written.

    suffixes: file extensions in lower case, the usual one first; bit_depths: per sample, as written;
    default_quality: of a lossy format, where neither the caller nor the source of the picture gives one;
    longest_side: in pixels; lacks: metadata that it has no place for.
    """

    name: str
    suffixes: tuple[str, ...]
    bit_depths: tuple[int, ...] = (8,)
    has_alpha: bool = True
    default_quality: int | None = None
    longest_side: int | None = None
    lacks: tuple[str, ...] = ()

    @property
    def is_deep(self) -> bool:
        """Whether it holds more than 8 bits per sample."""
        return max(self.bit_depths) > 8


_RECORDS = ("IPTC", "comment")

JPEG = Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), has_alpha=False, default_quality=95, longest_side=65_500)
PNG = Format("PNG", (".png",), bit_depths=(8, 16))
WEBP = Format("WebP", (".webp",), default_quality=95, longest_side=16_383, lacks=_RECORDS)
TIFF = Format("TIFF", (".tif", ".tiff"), bit_depths=(8, 16))
BMP = Format("BMP", (".bmp",), has_alpha=False, lacks=("EXIF", "colour profile", "XMP", *_RECORDS))
HEIC = Format("HEIC", (".heic", ".heif", ".hif"), (8, 10), default_quality=90, longest_side=16_384, lacks=_RECORDS)
AVIF = Format("AVIF", (".avif",), default_quality=90, longest_side=65_535, lacks=_RECORDS)

FORMATS = (JPEG, PNG, WEBP, TIFF, BMP, HEIC, AVIF)

_BY_SUFFIX = {suffix: format for format in FORMATS for suffix in format.suffixes}

IMAGE_SUFFIXES = frozenset(_BY_SUFFIX)
"""Extensions of picture files, in lower case. A file is read by its content, and written by its extension."""

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
    """Extensions of picture files in the order of the table, for messages."""
    return list(_BY_SUFFIX)


def format_of_name(name: str | Path) -> Format | None:
    """The format that a file of this name is written in, by its extension.

    A string without a dot is taken as a format or an extension itself: `png`, `JPEG`, `tif`.
    """
    suffix = Path(name).suffix
    if not suffix and isinstance(name, str):
        suffix = f".{name}"
    return _BY_SUFFIX.get(suffix.lower())


def format_of_content(head: bytes) -> Format | None:
    """The format of a file that begins with these bytes; None for any other kind of file."""
    if head[4:8] == b"ftyp":
        return _format_of_brands(head)
    if head[:4] == b"RIFF":
        return WEBP if b"WEBP".startswith(head[8:12]) else None
    return next((format for signature, format in _SIGNATURES.items() if head.startswith(signature)), None)
