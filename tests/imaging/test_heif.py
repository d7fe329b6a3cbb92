"""HEIC and AVIF, as telephones make them and as they are written."""

from io import BytesIO

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from imaging_samples import SRGB, encoded, exif, facts, photo, ramp
from PIL import Image

from derain.errors import DamagedImageError, ImageError
from derain.imaging.io import Picture, encode_picture, read_picture
from derain.imaging.pixels import PixelArray

CAT = photo(40, 64)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def heic(mode: str = "RGB", pixels: PixelArray = CAT, **settings: object) -> bytes:
    buffer = BytesIO()
    size = (pixels.shape[1], pixels.shape[0])
    pillow_heif.encode(mode, size, pixels.tobytes(), buffer, quality=95, chroma=444, **settings)
    return buffer.getvalue()


def largest_error(picture: Picture, pixels: PixelArray) -> int:
    return int(np.abs(picture.pixels.astype(int) - pixels).max())


def test_heic_with_exif_profile_and_xmp() -> None:
    picture = read_picture(heic(exif=exif(), icc_profile=SRGB, icc_profile_type="prof", xmp=XMP))
    assert largest_error(picture, CAT) < 30
    assert facts(picture.exif)["maker"] == "A maker with a longer name"
    assert (picture.icc, picture.metadata.xmp, picture.warnings) == (SRGB, XMP, ())


@pytest.mark.parametrize("name", ["HEIC", "AVIF"])
def test_a_picture_taken_upright_comes_out_upright(name: str) -> None:
    """Telephones store the sensor's rows and say how to turn them, beside EXIF that says it again."""
    stored = CAT.swapaxes(0, 1)[:, ::-1]  # orientation 8 turns it back
    if name == "HEIC":
        content = heic(pixels=np.ascontiguousarray(stored), exif=exif(8))
    else:
        content = encoded(Image.fromarray(stored), "AVIF", quality=95, subsampling="4:4:4", exif=exif(8))
    picture = read_picture(content)
    assert picture.pixels.shape == CAT.shape
    assert largest_error(picture, CAT) < 30
    assert facts(picture.exif)["orientation"] in (None, 1)


def test_heic_with_alpha() -> None:
    samples = np.dstack([CAT, ramp(40, 64)])
    picture = read_picture(heic("RGBA", samples))
    assert picture.alpha is not None
    assert np.abs(picture.alpha.astype(int) - samples[..., 3]).max() < 8


@pytest.mark.parametrize("name", ["HEIC", "AVIF"])
def test_10_bits_become_16_and_white_stays_white(name: str) -> None:
    deep = photo(40, 64, np.uint16)
    deep[:20] = 65_535
    if name == "HEIC":
        picture = read_picture(heic("RGB;16", deep))
    else:
        picture = read_picture(imagecodecs.avif_encode(deep >> 6, level=100, bitspersample=10))
    assert picture.bit_depth == 16
    assert picture.pixels[:16].min() > 65_000
    assert largest_error(picture, deep) < 256 * 16
    assert len(np.unique(picture.pixels)) > 256


def test_a_grey_avif_is_grey() -> None:
    picture = read_picture(encoded(Image.fromarray(CAT).convert("L"), "AVIF", quality=95))
    assert picture.is_grey


def test_an_animated_avif_is_refused() -> None:
    frames = [Image.fromarray(CAT), Image.fromarray(CAT[::-1].copy())]
    with pytest.raises(ImageError, match="it holds 2 frames"):
        read_picture(encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize("format", ["heic", "avif"])
def test_what_is_written_keeps_what_travels_with_it(format: str) -> None:
    first = read_picture(encoded(Image.fromarray(CAT), "PNG", exif=exif(), icc_profile=SRGB))
    again = read_picture(encode_picture(first, format))
    assert largest_error(again, CAT) < 40
    assert facts(again.exif)["maker"] == "A maker with a longer name"
    assert again.icc == SRGB
    assert len(encode_picture(first, format, quality=30)) < len(encode_picture(first, format))


def test_heic_is_written_with_10_bits_and_avif_with_8() -> None:
    deep = Picture(photo(40, 64, np.uint16))
    assert read_picture(encode_picture(deep, "heic")).bit_depth == 16
    assert read_picture(encode_picture(deep, "avif")).bit_depth == 8


@pytest.mark.parametrize("name", ["HEIC", "AVIF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_cut_file_is_named(name: str, share: float) -> None:
    content = heic() if name == "HEIC" else encoded(Image.fromarray(CAT), "AVIF")
    for allow_damaged in (False, True):
        with pytest.raises(DamagedImageError, match=f"this {name} file is truncated or damaged"):
            read_picture(content[: int(share * len(content))], allow_damaged=allow_damaged)


def test_pixels_for_hdr_screens_are_warned_of() -> None:
    settings = {"color_primaries": 9, "matrix_coefficients": 9, "full_range_flag": 1}
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        (warning,) = read_picture(heic(transfer_characteristics=transfer, **settings)).warnings
        assert f"HDR screens ({name})" in warning
