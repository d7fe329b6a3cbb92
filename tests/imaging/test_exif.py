import struct
from io import BytesIO

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from imaging_samples import exif, facts, photo

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


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_exif_never_fails(data: st.DataObject) -> None:
    damaged = bytearray(exif(6))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(damaged)))
    orientation, reset = upright(bytes(damaged[:length]))
    assert 1 <= orientation <= 8
    assert reset is None or len(reset) == length


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
