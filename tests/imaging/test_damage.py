"""Damaged pictures: refused where pixels are missing, read where all are there, and what is there on request."""

import zlib
from io import BytesIO

import numpy as np
import pytest
import tifffile
from imaging_samples import encoded, photo
from PIL import Image

from derain.errors import DamagedImageError
from derain.imaging.io import Picture, encode_picture, find_damage, read_picture
from derain.imaging.pixels import PixelArray

CAT = photo(96, 128)


def jpeg(mode: str = "RGB", **settings: object) -> bytes:
    return encoded(Image.fromarray(CAT).convert(mode), "JPEG", **({"quality": 90} | settings))


JPEGS = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "restart markers": jpeg(restart_marker_blocks=4),
    "grey": jpeg("L"),
    "CMYK": jpeg("CMYK"),
}


def with_zeros(content: bytes, start: int, stop: int) -> bytes:
    return content[:start] + bytes(stop - start) + content[stop:]


def damaged_jpegs(content: bytes) -> dict[str, bytes]:
    size = len(content)
    return {
        "cut": content[: size * 2 // 3],
        "cut, with an end marker": content[: size * 2 // 3] + b"\xff\xd9",
        "its second half is zeros": with_zeros(content, size // 2, size - 2),
        "a hole": with_zeros(content, size // 2, size // 2 + 600),
        "a hole, and another picture behind": with_zeros(content, size // 2, size // 2 + 600) + content,
    }


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("damage", damaged_jpegs(bytes(100)))
def test_a_jpeg_that_lacks_pixels_is_refused_and_read_on_request(kind: str, damage: str) -> None:
    content = damaged_jpegs(JPEGS[kind])[damage]
    with pytest.raises(
        DamagedImageError, match=r"the bytes given: this JPEG file is truncated or damaged \(.*; get it"
    ):
        read_picture(content)
    assert "truncated or damaged" in str(find_damage(content))
    picture = read_picture(content, allow_damaged=True)
    assert any("pixels are missing" in warning for warning in picture.warnings)
    whole = read_picture(JPEGS[kind])
    assert picture.pixels.shape == whole.pixels.shape
    if kind != "progressive":  # whose first scan is all of the picture, coarsely
        np.testing.assert_array_equal(picture.pixels[:14], whole.pixels[:14])


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_with_all_its_pixels_is_read_whatever_is_odd_about_its_end(kind: str) -> None:
    content = JPEGS[kind]
    expected = read_picture(content)
    assert expected.warnings == ()
    for odd, warning in [
        (content[:-2], "end marker is missing"),
        (content[:-1], "end marker is missing"),
        (content[:-2] + bytes(30) + content[-2:], "extraneous bytes before marker 0xd9"),
        (content[:-2] + bytes(30), "end marker is missing"),
        (content + bytes(1000), ""),
        (content + b"\xff\xd8 some other program's data", ""),
    ]:
        picture = read_picture(odd)
        np.testing.assert_array_equal(picture.pixels, expected.pixels)
        assert find_damage(odd) is None
        assert warning in "".join(picture.warnings)
        assert bool(picture.warnings) == bool(warning)


def test_a_long_film_behind_the_picture_is_not_taken_for_scans() -> None:
    film = b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 500
    picture = read_picture(JPEGS["baseline"] + film)
    np.testing.assert_array_equal(picture.pixels, read_picture(JPEGS["baseline"]).pixels)
    assert "motion photo" in "".join(picture.warnings)


@pytest.mark.parametrize("share", np.linspace(0.1, 0.9, 17))
def test_a_hole_of_zeros_is_found_wherever_it_is(share: float) -> None:
    for kind in ("baseline", "grey", "CMYK"):
        start = int(share * (len(JPEGS[kind]) - 1200)) + 700
        with pytest.raises(DamagedImageError):
            read_picture(with_zeros(JPEGS[kind], start, start + 120))


def test_a_flat_picture_may_be_all_zeros() -> None:
    content = encoded(Image.new("RGB", (1000, 1000), "white"), "JPEG", optimize=True)
    assert bytes(500) in content
    assert read_picture(content).warnings == ()


def test_odd_markers_before_the_pixels_cost_nothing() -> None:
    content = JPEGS["baseline"]
    expected = read_picture(content).pixels
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes(4) + b"\x07"
    for odd in (content[:2] + adobe + content[2:], content[:20] + b"between markers" + content[20:]):
        picture = read_picture(odd)
        np.testing.assert_array_equal(picture.pixels, expected)
        assert len(picture.warnings) <= 1


@pytest.mark.parametrize("at_scan", [1, 4, 9])
def test_a_progressive_jpeg_that_ends_between_two_scans_is_damaged(at_scan: int) -> None:
    content = JPEGS["progressive"]
    starts = [at for at in range(len(content)) if content[at : at + 2] == b"\xff\xda"]
    assert len(starts) == 10
    with pytest.raises(DamagedImageError, match="scans are missing"):
        read_picture(content[: starts[at_scan]])


def pngs() -> dict[str, tuple[bytes, PixelArray]]:
    deep, image = photo(96, 128, np.uint16), Image.fromarray(CAT)
    palette = image.quantize(16)
    return {
        "8 bits": (encoded(image, "PNG"), CAT),
        "palette": (encoded(palette, "PNG"), np.asarray(palette.convert("RGB"))),
        "16 bits": (encode_picture(Picture(deep), "png"), deep),
    }


PNGS = pngs()


@pytest.mark.parametrize("kind", PNGS)
def test_a_png_that_lacks_rows_or_has_a_wrong_checksum(kind: str) -> None:
    content, pixels = PNGS[kind]
    flipped = bytearray(content)
    flipped[len(content) * 2 // 3] ^= 4
    for damaged, message in [(content[: len(content) * 2 // 3], "IDAT chunk is cut"), (bytes(flipped), "checksum")]:
        with pytest.raises(DamagedImageError, match=message):
            read_picture(damaged)
        assert message in str(find_damage(damaged))
        picture = read_picture(damaged, allow_damaged=True)
        np.testing.assert_array_equal(picture.pixels[:40], pixels[:40])
        assert message in picture.warnings[0]
        assert picture.pixels.shape == pixels.shape


@pytest.mark.parametrize("kind", PNGS)
def test_a_png_with_all_its_rows_is_read(kind: str) -> None:
    content, pixels = PNGS[kind]
    assert read_picture(content).warnings == ()
    for odd, warning in [(content[:-12], "end marker"), (content[:-14], "behind its last pixel"), (content + b"x", "")]:
        picture = read_picture(odd)
        np.testing.assert_array_equal(picture.pixels, pixels)
        assert warning in "".join(picture.warnings)


def interlaced_png() -> bytes:
    """A PNG of 5x5 pixels in seven passes; the pixels of pass k have the value 10 k."""
    rows = {1: (1, 1), 2: (1, 1), 3: (1, 2), 4: (2, 1), 5: (1, 3), 6: (3, 2), 7: (2, 5)}
    raw = b"".join((b"\0" + bytes([10 * k]) * width) * count for k, (count, width) in rows.items())

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = (5).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 1])
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, 0)) + chunk(b"IEND", b"")


def test_an_interlaced_png_that_is_cut() -> None:
    content = interlaced_png()
    whole = read_picture(content).pixels[..., 0]
    assert whole[0].tolist() == [10, 60, 40, 60, 20]
    cut = read_picture(content[:-30], allow_damaged=True).pixels[..., 0]
    assert (cut[1] == 0).any()
    np.testing.assert_array_equal(cut[0], whole[0])


@pytest.mark.parametrize("kind", ["strips", "deflate", "tiles", "16 bits"])
def test_a_tiff_that_lacks_strips(kind: str) -> None:
    pixels = photo(96, 128, np.uint16) if kind == "16 bits" else CAT
    layout = {"tile": (32, 32)} if kind == "tiles" else {"rowsperstrip": 8}
    compression = None if kind == "strips" else "deflate"
    buffer = BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="rgb", compression=compression, metadata=None, **layout)
    content = buffer.getvalue()
    cut = content[: len(content) * 2 // 3]
    with pytest.raises(DamagedImageError, match="strips or tiles are cut off"):
        read_picture(cut)
    picture = read_picture(cut, allow_damaged=True)
    np.testing.assert_array_equal(picture.pixels[:32], pixels[:32])
    assert not picture.pixels[-1].any()
    assert "cut off" in picture.warnings[0]


def test_a_tiff_with_a_broken_strip() -> None:
    buffer = BytesIO()
    tifffile.imwrite(buffer, CAT, photometric="rgb", compression="deflate", rowsperstrip=8, metadata=None)
    whole = buffer.getvalue()
    with tifffile.TiffFile(BytesIO(whole)) as tiff:
        at, size = tiff.pages[0].dataoffsets[3], tiff.pages[0].databytecounts[3]
    content = with_zeros(whole, at, at + size)
    with pytest.raises(DamagedImageError):
        read_picture(content)
    picture = read_picture(content, allow_damaged=True)
    np.testing.assert_array_equal(picture.pixels[32:], CAT[32:])
    assert not picture.pixels[24:32].any()
    assert "damaged" in picture.warnings[0]


def test_a_bmp_that_is_cut() -> None:
    content = encoded(Image.fromarray(CAT), "BMP")
    with pytest.raises(DamagedImageError, match="bytes are missing at its end"):
        read_picture(content[:20_000])
    picture = read_picture(content[:20_000], allow_damaged=True)
    np.testing.assert_array_equal(picture.pixels[-40:], CAT[-40:])  # rows are stored from the last to the first
    assert not picture.pixels[0].any()


def test_nothing_can_be_read_of_a_cut_webp() -> None:
    content = encoded(Image.fromarray(CAT), "WEBP")
    for allow_damaged in (False, True):
        with pytest.raises(DamagedImageError, match="truncated or damaged"):
            read_picture(content[:1500], allow_damaged=allow_damaged)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_zeros_behind_a_whole_picture_cost_nothing(name: str) -> None:
    content = encoded(Image.fromarray(CAT), name)
    expected = read_picture(content)
    picture = read_picture(content + bytes(1000))
    np.testing.assert_array_equal(picture.pixels, expected.pixels)
    assert (picture.warnings, expected.warnings) == ((), ())
