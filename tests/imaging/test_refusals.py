"""Files that cannot be read: one error each, which names the file, the reason and what to do."""

import os
import socket
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from imaging_samples import encoded, exif, photo
from PIL import Image

from derain.errors import ImageError
from derain.imaging.io import Picture, read_picture, write_picture


def refusal(path: Path, pixel_limit: int = 1_000_000) -> str:
    with pytest.raises(ImageError) as caught:
        read_picture(path, pixel_limit)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert ";" in text, "what to do has to follow the reason"
    assert "\n" not in text
    return text


def refusal_of(tmp_path: Path, content: bytes, pixel_limit: int = 1_000_000) -> str:
    path = tmp_path / "picture.bin"
    path.write_bytes(content)
    return refusal(path, pixel_limit)


def png(width: int, height: int, bit_depth: int = 8) -> bytes:
    """A PNG whose header announces any size, with next to no data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "gone.png")


def test_folder(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path)


def test_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" in refusal(tmp_path / "pipe")


def test_a_socket_a_device_and_a_dangling_link_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    assert "this is a socket" in refusal(Path("socket"))
    assert "this is a device" in refusal(Path("/dev/zero"))
    (tmp_path / "link.jpg").symlink_to("nowhere.jpg")
    assert "link points to nothing" in refusal(tmp_path / "link.jpg")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(1, 1))

    def forbidden(self: Path) -> bytes:  # rights do not stop the superuser, so the system's answer is given
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    assert "Permission denied" in refusal(path)


def test_name_that_no_file_can_have(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path / ("x" * 400))


def test_empty_file(tmp_path: Path) -> None:
    assert "empty" in refusal_of(tmp_path, b"")


@pytest.mark.parametrize(
    "content", [b"hello", b"<html>" * 50, bytes(100), b"RIFF....WAVEfmt " * 4, b"%PDF-1.7 and more of it"]
)
def test_no_picture(tmp_path: Path, content: bytes) -> None:
    assert "not a picture" in refusal_of(tmp_path, content)


def test_a_cut_heic_videos_raw_files_and_gif_are_named(tmp_path: Path) -> None:
    cut = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400)
    assert "this HEIC file is truncated or damaged" in refusal_of(tmp_path, cut)
    assert "this is a video" in refusal_of(tmp_path, b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(40))
    assert "camera raw" in refusal_of(tmp_path, b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(40))
    assert "GIF" in refusal_of(tmp_path, encoded(Image.fromarray(photo()), "GIF"))


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
def test_animated_and_of_several_pages(tmp_path: Path, name: str) -> None:
    frames = [Image.fromarray(photo()), Image.fromarray(photo()[::-1].copy())]
    text = refusal_of(tmp_path, encoded(frames[0], name, save_all=True, append_images=frames[1:]))
    assert ("2 pages" if name == "TIFF" else "2 frames") in text


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("bit_depth", [8, 16])
def test_png_without_pixels(tmp_path: Path, size: tuple[int, int], bit_depth: int) -> None:
    assert f"{size[0]}x{size[1]}, without a pixel" in refusal_of(tmp_path, png(*size, bit_depth))


def test_jpeg_bmp_and_tiff_without_pixels(tmp_path: Path) -> None:
    jpeg = bytearray(encoded(Image.fromarray(photo()), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = bytes(4)
    assert "announces no pixels" in refusal_of(tmp_path, bytes(jpeg))

    bmp = bytearray(encoded(Image.fromarray(photo()), "BMP"))
    bmp[18:22] = bytes(4)
    assert "announces no pixels" in refusal_of(tmp_path, bytes(bmp))

    tiff = encoded(Image.fromarray(photo()), "TIFF")
    width = struct.pack("<HHII", 256, 4, 1, 53)
    assert width in tiff
    assert "0x37, without a pixel" in refusal_of(tmp_path, tiff.replace(width, struct.pack("<HHII", 256, 4, 1, 0)))


@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("side", [1001, 20_000, 2**31 - 1])
def test_too_many_pixels_are_refused_by_the_header(tmp_path: Path, side: int, bit_depth: int) -> None:
    text = refusal_of(tmp_path, png(side, side, bit_depth))
    assert f"{side}x{side} is over the limit of 1000000 pixels" in text


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "BMP", "TIFF"])
def test_the_limit_holds_in_every_format(tmp_path: Path, name: str) -> None:
    content = encoded(Image.fromarray(photo()), name)
    assert "53x37 is over the limit of 1960 pixels" in refusal_of(tmp_path, content, pixel_limit=53 * 37 - 1)
    assert read_picture(tmp_path / "picture.bin", pixel_limit=53 * 37).width == 53


def test_a_webp_canvas_beyond_pillows_own_limit(tmp_path: Path) -> None:
    content = bytearray(encoded(Image.fromarray(photo()), "WEBP", exif=exif()))
    assert content[12:16] == b"VP8X"
    content[24:30] = b"\xfe\x3f\x00\xfe\x3f\x00"
    assert "larger than Pillow decodes" in refusal_of(tmp_path, bytes(content))


@pytest.mark.parametrize("kind", [np.float32, np.uint32, np.int16])
def test_tiff_of_other_numbers(tmp_path: Path, kind: type[np.generic]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20, 3), kind), photometric="rgb", metadata=None)
    assert "save it with 8 or 16 bits" in refusal(tmp_path / "a.tif")


def test_16_bit_cmyk_and_lab(tmp_path: Path) -> None:
    samples = np.zeros((20, 20, 4), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="separated", metadata=None)
    assert "save it as 16-bit RGB" in refusal(tmp_path / "a.tif")
    assert "mode LAB" in refusal_of(tmp_path, encoded(Image.new("LAB", (20, 20)), "TIFF"))


def raw_files() -> dict[str, bytes]:
    """What cameras write, in small: a TIFF whose first picture is no photograph, or a preview of one."""
    pixels, sensor = photo(), photo(kind=np.uint16)[..., 0]

    def tiff(samples: np.ndarray, **settings: object) -> bytes:
        buffer = BytesIO()
        tifffile.imwrite(buffer, samples, metadata=None, **settings)
        return buffer.getvalue()

    def preview_above_sensor(**settings: object) -> bytes:
        buffer = BytesIO()
        with tifffile.TiffWriter(buffer) as writer:
            writer.write(pixels[::4, ::4], photometric="rgb", subifds=1, metadata=None, **settings)
            writer.write(sensor, photometric="minisblack", metadata=None)
        return buffer.getvalue()

    marked = encoded(Image.fromarray(pixels), "TIFF")
    (directory_at,) = struct.unpack_from("<I", marked, 4)
    return {
        "preview marked as such, sensor below": preview_above_sensor(subfiletype=1),
        "preview not marked, sensor below": preview_above_sensor(),
        "preview alone": tiff(pixels, photometric="rgb", subfiletype=1),
        "preview marked in the old way": tiff(pixels, photometric="rgb", extratags=[(255, 3, 1, 2, True)]),
        "colour filters": tiff(sensor, photometric="cfa", extratags=[(33421, 3, 2, (2, 2), True)]),
        "linear sensor": tiff(pixels, photometric="linear_raw"),
        "DNG": tiff(pixels, photometric="rgb", extratags=[(50706, 1, 4, (1, 4, 0, 0), True)]),
        # CR2 has its mark behind the header and the directory anywhere.
        "CR2": marked[:4] + struct.pack("<I", len(marked)) + b"CR\2\0" + marked[12:] + marked[directory_at:],
    }


RAW_FILES = raw_files()


@pytest.mark.parametrize("name", RAW_FILES)
def test_camera_raw(tmp_path: Path, name: str) -> None:
    text = refusal_of(tmp_path, RAW_FILES[name])
    assert "camera raw" in text
    assert "raw converter" in text


def small_files() -> dict[str, bytes]:
    colour = Image.fromarray(photo(5, 6))
    files = {
        "png": encoded(colour, "PNG"),
        "palette png": encoded(colour.quantize(8), "PNG"),
        "jpeg": encoded(colour, "JPEG", quality=50),
        "progressive jpeg": encoded(colour, "JPEG", quality=50, progressive=True),
        "webp": encoded(colour, "WEBP"),
        "bmp": encoded(colour, "BMP"),
        "tiff": encoded(colour, "TIFF"),
        "lzw tiff": encoded(colour, "TIFF", compression="tiff_lzw"),
    }
    buffer = BytesIO()
    tifffile.imwrite(buffer, photo(5, 6, np.uint16), photometric="rgb", compression="deflate", metadata=None)
    return files | {"16-bit tiff": buffer.getvalue()}


SMALL_FILES = small_files()


@pytest.mark.parametrize("name", SMALL_FILES)
def test_a_file_cut_anywhere_is_read_whole_or_refused(tmp_path: Path, name: str) -> None:
    content = SMALL_FILES[name]
    path = tmp_path / "cut"
    path.write_bytes(content)
    whole = read_picture(path).pixels
    refused = 0
    # Every length near the end; before it a sample.
    lengths = [*range(0, len(content) - 40, 7), *range(max(0, len(content) - 40), len(content))]
    for length in lengths:
        path.write_bytes(content[:length])
        try:
            picture = read_picture(path)
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(picture.pixels, whole)
    assert refused > 0.5 * len(lengths)  # without its last bytes a file may have all of its pixels


def test_a_16_bit_png_cut_anywhere_is_read_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    write_picture(path, Picture(photo(5, 6, np.uint16), exif=exif()))
    content = path.read_bytes()
    for length in [*range(0, len(content) - 40, 7), *range(len(content) - 40, len(content))]:
        path.write_bytes(content[:length])
        try:
            picture = read_picture(path)
        except ImageError:
            continue
        np.testing.assert_array_equal(picture.pixels, photo(5, 6, np.uint16))
