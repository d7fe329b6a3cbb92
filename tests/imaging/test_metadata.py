"""What travels with a picture: kept as far as each format holds it, or named; compressed as it came."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from imaging_samples import SRGB, encoded, exif, photo
from PIL import Image, IptcImagePlugin, JpegImagePlugin

from derain.imaging.formats import FORMATS
from derain.imaging.io import Picture, encode_picture, losses, read_picture
from derain.imaging.metadata import Metadata, clean_xmp, photoshop_segment

CAT = photo(64, 96)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:rights="mine"/></x:xmpmeta>'
KEPT_XMP = XMP.replace(b'tiff:Orientation="6"', b'tiff:Orientation="1"')
IPTC = b"\x1c\x02\x78\x00\x07caption"
FULL = Metadata(KEPT_XMP, IPTC, (240.0, 120.0), "Grüße".encode())


def jpeg(**settings: object) -> bytes:
    return encoded(Image.fromarray(CAT), "JPEG", **({"quality": 90} | settings))


def full_jpeg() -> bytes:
    return jpeg(
        dpi=(240, 120), xmp=XMP, comment="Grüße".encode(), extra=photoshop_segment(IPTC), exif=b"Exif\0\0" + exif()
    )


def test_a_jpeg_gives_all_it_holds() -> None:
    picture = read_picture(full_jpeg())
    assert picture.metadata == FULL
    assert picture.warnings == ()


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("format", ["jpeg", "png", "tiff"])
def test_jpeg_png_and_tiff_keep_all_of_it(format: str, depth: type[np.unsignedinteger]) -> None:
    again = read_picture(encode_picture(Picture(photo(64, 96, depth), metadata=FULL), format))
    kept = again.metadata
    assert (kept.xmp, kept.iptc) == (FULL.xmp, FULL.iptc)
    assert kept.dpi == pytest.approx(FULL.dpi, rel=1e-3)
    if format == "tiff":  # where a comment is the description, which EXIF holds
        assert again.exif is not None
        assert "Grüße".encode() in again.exif
    else:
        assert kept.comment == FULL.comment


@pytest.mark.parametrize(("format", "kept"), [("webp", "xmp"), ("avif", "xmp"), ("heic", "xmp"), ("bmp", "dpi")])
def test_other_formats_keep_what_they_have_room_for(format: str, kept: str) -> None:
    again = read_picture(encode_picture(Picture(CAT, metadata=FULL), format)).metadata
    expected = getattr(FULL, kept)
    assert getattr(again, kept) == (pytest.approx(expected, rel=1e-3) if kept == "dpi" else expected)


def test_metadata_that_a_format_drops_is_named_and_the_rest_is_there_again() -> None:
    picture = Picture(CAT, exif=exif(), icc=SRGB, metadata=FULL)
    for format in FORMATS:
        again = read_picture(encode_picture(picture, format.name))
        values = (again.exif, again.icc, again.metadata.xmp, again.metadata.iptc, again.metadata.comment)
        names = ("EXIF", "colour profile", "XMP", "IPTC", "comment")
        lost = [name for name, value in zip(names, values, strict=True) if value is None]
        if format.name == "TIFF":
            lost.remove("comment")  # it is the description, which EXIF holds
        warnings = losses(Path(f"a{format.suffixes[0]}"), picture)
        assert [warning.partition(" not kept")[0] for warning in warnings] == ([", ".join(lost)] if lost else [])
    assert losses(Path("a.webp"), Picture(CAT)) == ()


def test_other_programs_find_it() -> None:
    picture = read_picture(full_jpeg())
    image = Image.open(BytesIO(encode_picture(picture, "jpeg")))
    assert image.info["dpi"] == (240, 120)
    assert (image.info["xmp"], image.info["comment"]) == (KEPT_XMP, "Grüße".encode())
    assert IptcImagePlugin.getiptcinfo(image)[(2, 120)] == b"caption"
    image = Image.open(BytesIO(encode_picture(picture, "png")))
    assert image.info["dpi"] == pytest.approx((240, 120), rel=1e-3)
    assert image.info["Comment"] == "Grüße"
    with tifffile.TiffFile(BytesIO(encode_picture(picture, "tiff"))) as tiff:
        tags = tiff.pages[0].tags
        assert (tags[700].value, tags[33723].value, tags[296].value) == (KEPT_XMP, IPTC, 2)


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("XMP", Picture(CAT, metadata=Metadata(xmp=b"x" * 70_000))),
        ("IPTC", Picture(CAT, metadata=Metadata(iptc=IPTC + bytes(66_000)))),
        ("comment", Picture(CAT, metadata=Metadata(comment=b"c" * 70_000))),
    ],
)
def test_what_is_too_long_for_a_jpeg_is_named_and_costs_no_picture(name: str, picture: Picture) -> None:
    (warning,) = losses(Path("x.jpg"), picture)
    assert f"{name} over 65 kB" in warning
    assert read_picture(encode_picture(picture, "jpeg")).pixels.shape == CAT.shape
    assert losses(Path("x.png"), picture) == ()


def test_xmp_does_not_speak_of_what_is_not_in_the_file_any_more() -> None:
    packet = (
        b'<rdf:Description tiff:Orientation="8" GCamera:MotionPhoto="1" hdrgm:Version="1.0" dc:rights="mine">'
        b"<Container:Directory><rdf:Seq/></Container:Directory><xmp:Thumbnails>jpeg</xmp:Thumbnails>"
        b"<tiff:Orientation>6</tiff:Orientation></rdf:Description>"
    )
    kept = (
        b'<rdf:Description tiff:Orientation="1" dc:rights="mine">'
        b"<tiff:Orientation>1</tiff:Orientation></rdf:Description>"
    )
    assert clean_xmp(packet) == kept


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_with(*chunks: bytes) -> bytes:
    content = encoded(Image.fromarray(CAT), "PNG")
    return content[:33] + b"".join(chunks) + content[33:]


def test_texts_of_a_png_of_every_kind_are_read() -> None:
    packed = zlib.compress("naïve".encode())
    for text in (
        chunk(b"tEXt", b"Comment\0" + "naïve".encode("latin-1")),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress("naïve".encode("latin-1"))),
        chunk(b"iTXt", b"Comment\0\1\0en\0Kommentar\0" + packed),
    ):
        assert read_picture(png_with(text)).metadata.comment == "naïve".encode()
    broken = chunk(b"zTXt", b"Comment\0\0 no zlib data") + chunk(b"zTXt", b"Raw profile type iptc\0\0" + packed)
    assert read_picture(png_with(broken)).metadata == Metadata()


GAMMA = chunk(b"gAMA", struct.pack(">I", 100_000))


@pytest.mark.parametrize(
    ("chunks", "warning"),
    [
        ([GAMMA], "its gamma (1/1, sRGB has 1/2.2) is not applied"),
        ([chunk(b"gAMA", struct.pack(">I", 45_455))], ""),
        ([GAMMA, chunk(b"sRGB", b"\0")], ""),
        ([chunk(b"cICP", bytes([9, 16, 0, 1]))], r"HDR screens (PQ)"),
        ([chunk(b"cICP", bytes([9, 18, 0, 1]))], r"HDR screens (HLG)"),
        ([chunk(b"cICP", bytes([12, 13, 0, 1]))], "wide range without a profile"),
        ([chunk(b"cICP", bytes([1, 13, 0, 1]))], ""),
    ],
)
def test_colours_that_are_no_srgb_are_warned_of(chunks: list[bytes], warning: str) -> None:
    picture = read_picture(png_with(*chunks))
    np.testing.assert_array_equal(picture.pixels, CAT)
    assert warning in "".join(picture.warnings)
    assert len(picture.warnings) == bool(warning)


def test_a_gain_map_and_a_film_are_warned_of() -> None:
    image, small = Image.fromarray(CAT), Image.fromarray(CAT[::4, ::4].copy())
    with_map = encoded(image, "MPO", save_all=True, append_images=[small])
    (warning,) = read_picture(with_map).warnings
    assert "second picture in the file" in warning
    apple = b"<x>urn:com:apple:photo:2020:aux:hdrgainmap</x>"
    (warning,) = read_picture(with_map + apple).warnings
    assert warning == "its gain map for HDR screens is not kept"
    film = jpeg() + b"\0\0\0\x18ftypmp42" + bytes(2_000_000)
    (warning,) = read_picture(film).warnings
    assert "film of 2000 kB" in warning
    np.testing.assert_array_equal(read_picture(film).pixels, read_picture(jpeg()).pixels)


def test_a_smaller_copy_in_a_tiff_is_dropped_and_named() -> None:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(CAT, photometric="rgb", metadata=None)
        writer.write(CAT[::4, ::4].copy(), photometric="rgb", subfiletype=1, metadata=None)
    picture = read_picture(buffer.getvalue())
    np.testing.assert_array_equal(picture.pixels, CAT)
    assert picture.warnings == ("smaller copies of the picture on further pages are not kept",)


def test_extended_xmp_is_named() -> None:
    data = b"http://ns.adobe.com/xmp/extension/\0" + bytes(32) + struct.pack(">II", 5, 0) + b"<rdf>"
    segment = struct.pack(">2sH", b"\xff\xe1", 2 + len(data)) + data
    picture = read_picture(jpeg(xmp=XMP, extra=segment))
    assert picture.warnings == ("the part of its XMP that stands apart (extended XMP) is not kept",)
    assert picture.metadata.xmp == KEPT_XMP


def test_metadata_of_a_bigtiff_is_named() -> None:
    def bigtiff(*tags: tuple[int, int, int, bytes, bool]) -> bytes:
        buffer = BytesIO()
        tifffile.imwrite(buffer, CAT, photometric="rgb", bigtiff=True, extratags=tags)
        return buffer.getvalue()

    assert read_picture(bigtiff()).warnings == ()
    (warning,) = read_picture(bigtiff((700, 1, len(XMP), XMP, True))).warnings
    assert "XMP" in warning
    assert "BigTIFF" in warning


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_a_jpeg_keeps_its_tables_and_subsampling(quality: int, subsampling: int) -> None:
    original = jpeg(quality=quality, subsampling=subsampling)
    content = encode_picture(read_picture(original), "jpeg")
    before, after = (JpegImagePlugin.JpegImageFile(BytesIO(given)) for given in (original, content))
    assert after.quantization == before.quantization
    assert JpegImagePlugin.get_sampling(after) == subsampling
    assert abs(len(content) - len(original)) < 0.05 * len(original)


def test_a_grey_jpeg_and_one_with_tables_of_its_own() -> None:
    grey = encoded(Image.fromarray(CAT).convert("L"), "JPEG", quality=40)
    again = JpegImagePlugin.JpegImageFile(BytesIO(encode_picture(read_picture(grey), "jpeg")))
    assert again.quantization == JpegImagePlugin.JpegImageFile(BytesIO(grey)).quantization
    own = jpeg(qtables=[list(range(1, 65)), [7] * 64, list(range(64, 0, -1))], subsampling=0)
    again = JpegImagePlugin.JpegImageFile(BytesIO(encode_picture(read_picture(own), "jpeg")))
    assert again.quantization == JpegImagePlugin.JpegImageFile(BytesIO(own)).quantization


def test_a_quality_that_is_given_goes_before_the_source() -> None:
    picture = read_picture(jpeg(quality=30, subsampling=2))
    given = JpegImagePlugin.JpegImageFile(BytesIO(encode_picture(picture, "jpeg", quality=95)))
    assert given.quantization == JpegImagePlugin.JpegImageFile(BytesIO(jpeg(quality=95))).quantization
    assert JpegImagePlugin.get_sampling(given) == 0


def test_a_turned_picture_of_half_the_columns_of_colour_keeps_all_of_its_rows() -> None:
    turned = jpeg(subsampling=1, exif=b"Exif\0\0" + exif(6))
    assert read_picture(turned).compression.subsampling == 0
    assert read_picture(jpeg(subsampling=1)).compression.subsampling == 1


def test_a_picture_of_no_file_is_a_jpeg_of_quality_95_in_444() -> None:
    made = JpegImagePlugin.JpegImageFile(BytesIO(encode_picture(Picture(CAT), "jpeg")))
    assert made.quantization == JpegImagePlugin.JpegImageFile(BytesIO(jpeg(quality=95))).quantization
    assert JpegImagePlugin.get_sampling(made) == 0


@pytest.mark.parametrize("with_exif", [False, True])
def test_lossless_webp_stays_lossless_unless_a_quality_is_given(with_exif: bool) -> None:
    source = encoded(Image.fromarray(CAT), "WEBP", lossless=True, **({"exif": exif()} if with_exif else {}))
    picture = read_picture(source)
    again = read_picture(encode_picture(picture, "webp"))
    np.testing.assert_array_equal(again.pixels, CAT)
    assert not np.array_equal(read_picture(encode_picture(picture, "webp", quality=90)).pixels, CAT)
    lossy = read_picture(encoded(Image.fromarray(CAT), "WEBP", quality=80))
    assert not lossy.compression.is_lossless
