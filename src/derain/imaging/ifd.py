"""TIFF's directories (IFD), of which EXIF is made too: read them from bytes, write them into a file.

A directory is a count and so many entries of 12 bytes, tag, type, count and value; a value of more than 4 bytes stands
elsewhere and the entry holds its offset. After TIFF 6.0, section 2. BigTIFF has other entries and is not read here.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TypeAlias

Data: TypeAlias = bytes | bytearray
"""What directories are read from: EXIF, or a whole TIFF file."""

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_ENTRY_BYTES = 12


class Field(NamedTuple):
    """The content of an entry: type, number of values, and the values packed in the byte order of their file."""

    kind: int
    number: int
    value: bytes

    def number_in(self, order: str) -> float:
        """The first of its numbers; 0 where it holds none."""
        if self.kind == RATIONAL and self.number:
            above, below = struct.unpack_from(order + "II", self.value)
            return float(above / below) if below else 0.0
        kind = {SHORT: "H", LONG: "I"}.get(self.kind)
        return float(struct.unpack_from(order + kind, self.value)[0]) if kind and self.number else 0.0


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
    """The entries of a directory that can be read; struct.error where the directory begins outside the bytes.

    An entry of an unknown type, or whose value does not lie in the bytes, is passed over: cameras and editors write
    such, and the others are none the worse for it.
    """
    order = byte_order(data)
    for i in range(whole_entries(data, directory_at)):
        at = directory_at + 2 + _ENTRY_BYTES * i
        tag, kind, number, in_place = struct.unpack_from(order + "HHII", data, at)
        if kind not in _TYPE_BYTES:
            continue
        size = _size(kind, number)
        value_at = at + 8 if size <= 4 else in_place
        if value_at + size <= len(data):
            yield Entry(tag, kind, number, value_at)


def whole_entries(data: Data, directory_at: int) -> int:
    """How many entries a directory has, of those that it announces, before the bytes end."""
    (announced,) = struct.unpack_from(byte_order(data) + "H", data, directory_at)
    return min(int(announced), (len(data) - directory_at - 2) // _ENTRY_BYTES)


def next_directory_field_at(data: Data, directory_at: int) -> int:
    """Where the offset of the directory's successor stands, after its whole entries; the bytes may end before."""
    return directory_at + 2 + _ENTRY_BYTES * whole_entries(data, directory_at)


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


def rational(order: str, value: float) -> Field:
    """A field of one fraction, to a thousandth."""
    return Field(RATIONAL, 1, struct.pack(order + "II", round(value * 1000), 1000))


def _size(kind: int, number: int) -> int:
    return _TYPE_BYTES[kind] * number
