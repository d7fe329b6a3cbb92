import struct
from io import BytesIO

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from imaging_samples import encoded, exif, facts, photo
from PIL import Image

from derain.imaging.exif import PREFIX, Directories, from_tiff, upright
from derain.imaging.tiff import write_tiff


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_and_reset_and_nothing_else_changes(orientation: int) -> None:
    original = exif(orientation)
    found, reset = upright(original)
    assert found == orientation
    assert reset == upright(exif(1))[1]
    assert facts(reset) == facts(original) | {"orientation": 1}
    assert upright(PREFIX + original) == (found, reset)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_thumbnail_is_cut_off_in_either_byte_order(order: str) -> None:
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    first = struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 26)
    second = struct.pack(order + "HHHIHHI", 1, 0x0103, 3, 1, 6, 0, 0)
    orientation, reset = upright(header + first + second)
    assert orientation == 6
    assert reset == header + struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, 1, 0, 0) + second


def test_nonsense_orientation_counts_as_upright() -> None:
    assert upright(exif(0))[0] == 1
    assert upright(exif(77))[0] == 1


@pytest.mark.parametrize("broken", [b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"Exif\0\0", b"nonsense" * 9])
def test_broken_exif_counts_as_absent(broken: bytes) -> None:
    assert upright(broken) == (1, None)


ORIENTATION_ENTRY_AT = exif(6).index(struct.pack(">HHIH", 0x0112, 3, 1, 6))
AFTER_ORIENTATION = ORIENTATION_ENTRY_AT + 12


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_an_orientation_that_stands_there_is_honoured_whatever_else_is_damaged(data: st.DataObject) -> None:
    damaged = bytearray(exif(6))
    places = [*range(10, ORIENTATION_ENTRY_AT), *range(AFTER_ORIENTATION, len(damaged))]
    for place in data.draw(st.lists(st.sampled_from(places), max_size=2)):
        damaged[place] = data.draw(st.integers(0, 255))
    orientation, reset = upright(bytes(damaged[: data.draw(st.integers(AFTER_ORIENTATION, len(damaged)))]))
    assert orientation == 6
    assert reset is not None
    assert upright(reset) == (1, reset)


@pytest.mark.parametrize(
    ("kind", "number", "value_at"),
    [(129, 1, 0), (5, 1, 0xFFFFFF00), (7, 0xFFFFFFFF, 8)],
    ids=["unknown type", "value outside", "value too long"],
)
def test_an_odd_entry_costs_neither_the_orientation_nor_the_other_entries(
    kind: int, number: int, value_at: int
) -> None:
    odd = bytearray(exif(6))
    at = odd.index(struct.pack(">HHI", 0x010F, 2, 27))  # the maker's name, before the orientation
    struct.pack_into(">HII", odd, at + 2, kind, number, value_at)
    orientation, reset = upright(bytes(odd))
    assert orientation == 6
    assert reset is not None
    odd[ORIENTATION_ENTRY_AT + 9] = 1
    assert reset == odd
    tiff = BytesIO()
    write_tiff(tiff, photo(), reset)
    assert facts(from_tiff(tiff.getvalue())) == facts(exif(1)) | {"maker": None}


def test_a_pointer_to_a_directory_outside_costs_that_directory_alone() -> None:
    odd = bytearray(exif())
    struct.pack_into(">I", odd, odd.index(struct.pack(">HHI", 0x8825, 4, 1)) + 8, 0xFFFFFF00)
    tiff = BytesIO()
    write_tiff(tiff, photo(), bytes(odd))
    assert facts(from_tiff(tiff.getvalue())) == facts(exif()) | {"latitude": None}


@pytest.mark.parametrize("lacking", range(1, 5))
def test_a_missing_end_of_the_first_directory_is_added(lacking: int) -> None:
    whole = struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    assert upright(whole[:-lacking]) == upright(whole)
    assert upright(whole)[0] == 6


def test_a_directory_that_announces_more_entries_than_it_has_is_closed_after_the_last() -> None:
    short = struct.pack("<4sIHHHIHHI", b"II*\0", 8, 40, 0x0112, 3, 1, 6, 0, 0)
    assert upright(short) == (6, struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 0x0112, 3, 1, 1, 0, 0))


def test_an_orientation_of_32_bits_is_honoured() -> None:
    long = struct.pack(">4sIHHHIII", b"MM\0*", 8, 1, 0x0112, 4, 1, 6, 0)
    assert upright(long) == (6, struct.pack(">4sIHHHIII", b"MM\0*", 8, 1, 0x0112, 4, 1, 1, 0))


def exif_with_thumbnail(thumbnail: bytes, after: bytes) -> bytes:
    """A first directory of an orientation, a second that points to the thumbnail, the thumbnail, and what follows."""
    first = struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 0x0112, 3, 1, 6, 0, 26)
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(thumbnail), 0)
    return first + second + thumbnail + after


@pytest.mark.parametrize("padding", [b"", bytes(3)])
def test_the_bytes_of_a_thumbnail_at_the_end_are_cut_off(padding: bytes) -> None:
    thumbnail = encoded(Image.fromarray(photo()), "JPEG") + padding
    orientation, reset = upright(exif_with_thumbnail(thumbnail, b""))
    assert orientation == 6
    assert reset is not None
    assert len(reset) == 56


def test_a_thumbnail_before_other_values_is_blanked_and_they_keep_their_place() -> None:
    thumbnail = encoded(Image.fromarray(photo()), "JPEG")
    reset = upright(exif_with_thumbnail(thumbnail, b"a maker's note"))[1]
    assert reset is not None
    assert reset[56:] == bytes(len(thumbnail)) + b"a maker's note"


def test_what_is_no_jpeg_is_not_erased_for_a_thumbnail() -> None:
    values = b"values that a damaged offset points to"
    reset = upright(exif_with_thumbnail(values, b""))[1]
    assert reset is not None
    assert reset[56:] == values


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_exif_never_fails(data: st.DataObject) -> None:
    damaged = bytearray(exif_with_thumbnail(encoded(Image.fromarray(photo(4, 4)), "JPEG"), b"more"))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(damaged)))
    orientation, reset = upright(bytes(damaged[:length]))
    assert 1 <= orientation <= 8
    assert reset is not None or orientation == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_directories_survive_the_way_into_a_tiff_and_out_again(order: str) -> None:
    original = exif(order=order)
    tiff = BytesIO()
    write_tiff(tiff, photo(), original)
    extracted = from_tiff(tiff.getvalue())
    assert extracted is not None
    assert extracted.startswith(b"II" if order == "<" else b"MM")
    assert facts(extracted) == facts(original)
    assert Directories.of(extracted) == Directories.of(original)
    assert from_tiff(extracted) == extracted


def test_a_tiff_without_a_word_about_its_picture_has_no_exif() -> None:
    tiff = BytesIO()
    write_tiff(tiff, photo())
    assert from_tiff(tiff.getvalue()) is None
    assert from_tiff(b"no tiff at all") is None


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_exif_goes_into_a_tiff_or_is_left_out(data: st.DataObject) -> None:
    damaged = bytearray(exif())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    tiff = BytesIO()
    write_tiff(tiff, photo(3, 4), bytes(damaged))
    with tifffile.TiffFile(BytesIO(tiff.getvalue())) as parsed:
        np.testing.assert_array_equal(parsed.pages[0].asarray(), photo(3, 4))
