"""Paths, bytes and streams are one thing: the same pictures, the same refusals, the same files."""

from io import BytesIO, StringIO
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest
from imaging_samples import SRGB, encoded, exif, photo, ramp
from PIL import Image

from derain.errors import ImageError
from derain.imaging.formats import FORMATS, Format
from derain.imaging.io import Picture, PictureSource, encode_picture, read_picture, write_picture

NAMES = [format.name for format in FORMATS]


def sample(format: Format) -> Picture:
    """As much as the format holds: depth, alpha, EXIF, profile."""
    kind = np.uint16 if 16 in format.bit_depths else np.uint8
    alpha = ramp(37, 53, kind) if format.has_alpha else None
    return Picture(photo(kind=kind), alpha, exif=exif(), icc=SRGB)


class Trickle(BytesIO):
    """A stream that gives a few bytes at a time and cannot go back, as a socket does."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size, 100) if size and size > 0 else 100)

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("format", FORMATS, ids=NAMES)
def test_a_path_bytes_and_streams_give_the_same_picture_and_take_the_same_file(tmp_path: Path, format: Format) -> None:
    path = tmp_path / f"a{format.suffixes[0]}"
    write_picture(path, sample(format))
    content = path.read_bytes()
    stream = BytesIO(b"before")
    stream.seek(6)
    write_picture(stream, sample(format), format=format.name.lower())
    assert stream.getvalue() == b"before" + content
    assert encode_picture(sample(format), format.name) == content
    expected = read_picture(path)
    stream.seek(6)
    with path.open("rb") as file:
        sources: list[PictureSource] = [
            content,
            bytearray(content),
            memoryview(content),
            stream,
            Trickle(content),
            file,
        ]
        for source in sources:
            again = read_picture(source)
            np.testing.assert_array_equal(again.pixels, expected.pixels)
            np.testing.assert_array_equal(again.alpha, expected.alpha)
            assert (again.exif, again.icc, again.is_grey) == (expected.exif, expected.icc, expected.is_grey)


@pytest.mark.parametrize("content", [b"", b"hello" * 10, encoded(Image.fromarray(photo()), "PNG")[:500]])
def test_refusals_are_the_same_but_for_the_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageError) as of_path:
        read_picture(path)
    reason = str(of_path.value).removeprefix(f"{path}: ")
    with pytest.raises(ImageError) as of_bytes:
        read_picture(content)
    assert str(of_bytes.value) == f"the bytes given: {reason}"
    with pytest.raises(ImageError) as of_stream:
        read_picture(BytesIO(content))
    assert str(of_stream.value) == f"the stream given: {reason}"
    with path.open("rb") as file, pytest.raises(ImageError) as of_file:
        read_picture(file)
    assert str(of_file.value) == f"{path}: {reason}"


def test_what_is_no_source_is_named() -> None:
    with pytest.raises(ImageError, match=r"wanted a picture's path, its bytes or a binary stream, got int"):
        read_picture(cast(BinaryIO, 3))
    with pytest.raises(ImageError, match=r"the stream given: this stream gives str, not bytes; open it in binary mode"):
        read_picture(cast(BinaryIO, StringIO("hello")))
    closed = BytesIO(b"x")
    closed.close()
    with pytest.raises(ImageError, match="the stream given: cannot be read"):
        read_picture(closed)


def test_a_stream_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("derain.imaging.source._LARGEST_FILE_BYTES", 1 << 22)
    with Path("/dev/zero").open("rb") as zeros, pytest.raises(ImageError, match=r"/dev/zero: it holds over"):
        read_picture(zeros)


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.tif").open("wb") as file:
        file.truncate((1 << 31) + 1)
    with pytest.raises(ImageError, match="it holds over 2 GiB"):
        read_picture(tmp_path / "a.tif")


def test_a_stream_needs_a_format_and_gets_nothing_when_writing_fails(tmp_path: Path) -> None:
    stream = BytesIO()
    with pytest.raises(ImageError, match=r'the stream given: a stream has no file extension.*format="png"'):
        write_picture(stream, Picture(photo()))
    with pytest.raises(ImageError, match=r"the stream given: JPEG holds no transparency"):
        write_picture(stream, Picture(photo(), ramp(37, 53)), format="jpeg")
    with pytest.raises(ImageError, match="cannot write the format gif; use jpeg, png"):
        write_picture(tmp_path / "a.png", Picture(photo()), format="gif")
    assert stream.getvalue() == b""
    assert list(tmp_path.iterdir()) == []


def test_a_format_named_goes_before_the_ending(tmp_path: Path) -> None:
    write_picture(tmp_path / "picture", Picture(photo()), format="png")
    assert (tmp_path / "picture").read_bytes().startswith(b"\x89PNG")
    np.testing.assert_array_equal(read_picture(tmp_path / "picture").pixels, photo())
