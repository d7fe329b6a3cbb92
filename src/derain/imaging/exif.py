"""EXIF as bytes: read and reset the orientation, drop the thumbnail, take it out of a TIFF and put it into one.

EXIF 2.32 is a small TIFF file. Here it always begins with the TIFF header (`II*` or `MM*`), without the `Exif\\0\\0`
that JPEG puts before it. No value but the orientation is interpreted, so that everything else, maker notes included,
stays as the camera wrote it.
"""

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from derain.imaging.ifd import (
    LONG,
    SHORT,
    Data,
    Field,
    byte_order,
    entries,
    first_directory_at,
    header,
    longs,
    next_directory_field_at,
    shorts,
    whole_entries,
    write_directory,
)

PREFIX = b"Exif\0\0"
"""What stands before EXIF in a JPEG segment."""

_ORIENTATION = 0x0112
_CAMERA, _PLACE, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_THUMBNAIL_AT, _THUMBNAIL_BYTES = 0x0201, 0x0202

# Tags of a TIFF file's first directory that describe the picture, not how its pixels are stored.
_DESCRIPTIVE_TAGS = frozenset(
    {
        0x010E,  # ImageDescription
        0x010F,  # Make
        0x0110,  # Model
        0x011A,  # XResolution
        0x011B,  # YResolution
        0x0128,  # ResolutionUnit
        0x0131,  # Software
        0x0132,  # DateTime
        0x013B,  # Artist
        0x013C,  # HostComputer
        0x4746,  # Rating
        0x8298,  # Copyright
        *range(0x9C9B, 0x9CA0),  # XPTitle, XPComment, XPAuthor, XPKeywords, XPSubject
    }
)


def upright(exif: bytes) -> tuple[int, bytes | None]:
    """The orientation (1 to 8), and the EXIF with orientation 1 and without the thumbnail.

    The thumbnail goes because it shows the picture unturned and before restoration: its directory is unlinked, and its
    bytes, where they are a JPEG, are cut off the end or blanked. Entries that cannot be read stay as they are; a first
    directory that the bytes end in is closed after its last whole entry. EXIF without a header or a first directory
    counts as absent: (1, None).
    """
    changed = bytearray(exif.removeprefix(PREFIX))
    try:
        first_at = first_directory_at(changed)
        orientation = _reset_orientation(changed, first_at)
        second_at = _close_directory(changed, first_at)
    except (struct.error, ValueError):
        return 1, None
    _erase_thumbnail(changed, second_at)
    return orientation, bytes(changed)


def _reset_orientation(exif: bytearray, first_at: int) -> int:
    """Set every orientation of a directory to 1; returns the first that is one (1 to 8), 1 without any."""
    order = byte_order(exif)
    found: list[int] = []
    for entry in entries(exif, first_at):
        if entry.tag == _ORIENTATION and entry.kind in (SHORT, LONG) and entry.number == 1:
            kind = order + ("H" if entry.kind == SHORT else "I")
            found += struct.unpack_from(kind, exif, entry.value_at)
            struct.pack_into(kind, exif, entry.value_at, 1)
    return next((value for value in found if 1 <= value <= 8), 1)


def _close_directory(exif: bytearray, first_at: int) -> int:
    """Make a directory the last one, adding what the bytes lack for that; returns where its successor was, or 0."""
    order = byte_order(exif)
    struct.pack_into(order + "H", exif, first_at, whole_entries(exif, first_at))
    field_at = next_directory_field_at(exif, first_at)
    lacking = field_at + 4 - len(exif)
    second_at = 0 if lacking > 0 else int(struct.unpack_from(order + "I", exif, field_at)[0])
    exif.extend(bytes(max(0, lacking)))
    struct.pack_into(order + "I", exif, field_at, 0)
    return second_at


def _erase_thumbnail(exif: bytearray, second_at: int) -> None:
    """Remove the JPEG that the second directory points to; nothing is touched where none begins and ends there."""
    if not 0 < second_at <= len(exif) - 2:
        return
    numbers = {
        entry.tag: int(struct.unpack_from(byte_order(exif) + "I", exif, entry.value_at)[0])
        for entry in entries(exif, second_at)
        if entry.kind == LONG and entry.number == 1
    }
    start = numbers.get(_THUMBNAIL_AT, 0)
    stop = start + numbers.get(_THUMBNAIL_BYTES, 0)
    thumbnail = exif[start:stop].rstrip(b"\0")  # some are padded
    if not (thumbnail.startswith(b"\xff\xd8") and thumbnail.endswith(b"\xff\xd9")):
        return
    if stop >= len(exif):
        del exif[start:]
    else:
        exif[start:stop] = bytes(stop - start)  # what comes after must keep its offset


@dataclass(frozen=True)
class Directories:
    """The metadata of a picture in EXIF or in a TIFF file: byte order, and the fields of each directory by tag.

    described: the descriptive fields of the first directory; camera: exposure, lens, times and the maker's note;
    interoperability: a small directory inside the camera's; place: GPS.
    """

    order: str
    described: dict[int, Field]
    camera: dict[int, Field]
    interoperability: dict[int, Field]
    place: dict[int, Field]

    @property
    def is_empty(self) -> bool:
        return not (self.described or self.camera or self.place)

    @staticmethod
    def of(data: Data) -> "Directories":
        """Read what can be read of EXIF or a TIFF file; ValueError or struct.error without a first directory."""
        first = _fields(data, first_directory_at(data))
        camera = _below(data, first, _CAMERA)
        interoperability = _below(data, camera, _INTEROPERABILITY)
        camera.pop(_INTEROPERABILITY, None)
        return Directories(
            order=byte_order(data),
            described={tag: field for tag, field in first.items() if tag in _DESCRIPTIVE_TAGS},
            camera=camera,
            interoperability=interoperability,
            place=_below(data, first, _PLACE),
        )

    def append_to(self, file: BinaryIO) -> dict[int, Field]:
        """Write the directories below the first into a TIFF of this byte order; returns what the first has to hold."""
        first = dict(self.described)
        if self.camera:
            camera = dict(self.camera)
            if self.interoperability:
                inner_at = write_directory(file, self.order, self.interoperability)
                camera[_INTEROPERABILITY] = longs(self.order, [inner_at])
            first[_CAMERA] = longs(self.order, [write_directory(file, self.order, camera)])
        if self.place:
            first[_PLACE] = longs(self.order, [write_directory(file, self.order, self.place)])
        return first


def from_tiff(data: Data) -> bytes | None:
    """EXIF, orientation 1, out of a TIFF file; None where the file has none or cannot be parsed."""
    try:
        directories = Directories.of(data)
    except (struct.error, ValueError):
        return None
    if directories.is_empty:
        return None
    file, order = BytesIO(), directories.order
    file.write(header(order) + bytes(4))
    first = directories.append_to(file) | {_ORIENTATION: shorts(order, [1])}
    first_at = write_directory(file, order, first)
    file.seek(4)
    file.write(struct.pack(order + "I", first_at))
    return file.getvalue()


def _fields(data: Data, directory_at: int) -> dict[int, Field]:
    return {entry.tag: entry.field(data) for entry in entries(data, directory_at)}


def _below(data: Data, fields: dict[int, Field], tag: int) -> dict[int, Field]:
    """The fields of the directory that a field points to; none without that field, or where it points outside."""
    if tag not in fields:
        return {}
    (directory_at,) = struct.unpack_from(byte_order(data) + "I", fields[tag].value.ljust(4, b"\0"))
    return _fields(data, directory_at) if directory_at <= len(data) - 2 else {}
