"""TIFF's directories (IFD), of which EXIF is made too: read them from bytes, write them into a file.

A directory is a count and so many entries of 12 bytes, tag, type, count and value; a value of more than 4 bytes stands
elsewhere and the entry holds its offset. After TIFF 6.0, section 2. BigTIFF has other entries and is not read here.
"""

import struct
from collections.abc import Iterator
from mmap import mmap
from typing import BinaryIO, NamedTuple, TypeAlias

Data: TypeAlias = bytes | bytearray | mmap
"""What directories are read from: EXIF, or a whole TIFF file."""

SHORT, LONG, UNDEFINED = 3, 4, 7
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_ENTRY_BYTES = 12


class Field(NamedTuple):
    """What an entry says: type, number of values, and the values packed in the byte order of their file."""

    kind: int
    number: int
    value: bytes


class Entry(NamedTuple):
    """Where an entry's value stands in the bytes."""

    tag: int
    kind: int
    number: int
    value_at: int

    def field(self, data: Data) -> Field:
        return Field(self.kind, self.number, bytes(data[self.value_at : self.value_at + _size(self.kind, self.number)]))


def byte_order(data: Data) -> str:
    """`<` or `>`, as `struct` has it; ValueError where no TIFF header stands."""
    if data[:4] == b"II*\0":
        return "<"
    if data[:4] == b"MM\0*":
        return ">"
    raise ValueError("no TIFF header")


def header(order: str) -> bytes:
    """The first four bytes of a TIFF file; the offset of its first directory follows."""
    return b"II*\0" if order == "<" else b"MM\0*"


def first_directory_at(data: Data) -> int:
    """The offset that the header gives."""
    return int(struct.unpack_from(byte_order(data) + "I", data, 4)[0])


def entries(data: Data, directory_at: int) -> Iterator[Entry]:
    """The entries of a directory; ValueError or struct.error where one does not lie in the bytes."""
    order = byte_order(data)
    (count,) = struct.unpack_from(order + "H", data, directory_at)
    for i in range(count):
        at = directory_at + 2 + _ENTRY_BYTES * i
        tag, kind, number = struct.unpack_from(order + "HHI", data, at)
        size = _size(kind, number)
        value_at = at + 8 if size <= 4 else struct.unpack_from(order + "I", data, at + 8)[0]
        if value_at + size > len(data):
            raise ValueError(f"the value of tag {tag} lies outside")
        yield Entry(tag, kind, number, value_at)


def next_directory_field_at(data: Data, directory_at: int) -> int:
    """Where the offset of the directory's successor stands."""
    (count,) = struct.unpack_from(byte_order(data) + "H", data, directory_at)
    return int(directory_at + 2 + _ENTRY_BYTES * count)


def write_directory(file: BinaryIO, order: str, fields: dict[int, Field]) -> int:
    """Append the values that do not fit into their entries, then the directory; returns where it begins."""
    packed = b""
    for tag, (kind, number, value) in sorted(fields.items()):
        in_place = value
        if len(value) > 4:
            in_place = struct.pack(order + "I", align(file))
            file.write(value)
        packed += struct.pack(order + "HHI", tag, kind, number) + in_place.ljust(4, b"\0")
    directory_at = align(file)
    file.write(struct.pack(order + "H", len(fields)) + packed + bytes(4))
    return directory_at


def align(file: BinaryIO) -> int:
    """Go to the next even offset, where TIFF wants values and directories to begin."""
    at = file.tell()
    if at % 2:
        file.write(b"\0")
    return at + at % 2


def shorts(order: str, values: list[int]) -> Field:
    """A field of 16-bit numbers."""
    return Field(SHORT, len(values), struct.pack(f"{order}{len(values)}H", *values))


def longs(order: str, values: list[int]) -> Field:
    """A field of 32-bit numbers; struct.error for larger ones."""
    return Field(LONG, len(values), struct.pack(f"{order}{len(values)}I", *values))


def _size(kind: int, number: int) -> int:
    if kind not in _TYPE_BYTES:
        raise ValueError(f"unknown type {kind}")
    return _TYPE_BYTES[kind] * number
