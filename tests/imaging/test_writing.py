import os
import stat
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from imaging_samples import SRGB, exif, facts, photo, ramp
from PIL import Image

from derain.errors import ImageError
from derain.imaging import writing
from derain.imaging.io import (
    IMAGE_SUFFIXES,
    Picture,
    read_image,
    read_picture,
    to_pixels,
    write_image,
    write_picture,
)

KINDS = (np.uint8, np.uint16)


def grey_photo(kind: type[np.unsignedinteger]) -> np.ndarray:
    return np.repeat(photo(kind=kind)[..., 1:2], 3, axis=2)


@pytest.mark.parametrize(
    ("suffix", "kind", "is_grey", "has_alpha"),
    list(product([".png", ".tif", ".tiff"], KINDS, [False, True], [False, True])),
)
def test_png_and_tiff_keep_everything(
    tmp_path: Path, suffix: str, kind: type[np.unsignedinteger], is_grey: bool, has_alpha: bool
) -> None:
    pixels = grey_photo(kind) if is_grey else photo(kind=kind)
    alpha = ramp(37, 53, kind) if has_alpha else None
    original = Picture(pixels, alpha, is_grey, exif(), SRGB)
    write_picture(tmp_path / f"a{suffix}", original)
    again = read_picture(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(again.pixels, pixels)
    assert again.pixels.dtype == kind
    assert again.is_grey == is_grey
    if alpha is None:
        assert again.alpha is None
    else:
        assert again.alpha is not None
        np.testing.assert_array_equal(again.alpha, alpha)
    assert again.icc == SRGB
    assert facts(again.exif) == facts(original.exif)
    assert facts(again.exif)["latitude"] == (52.0, 31.0, 12.5)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_jpeg_and_webp_keep_exif_and_profile(tmp_path: Path, suffix: str) -> None:
    original = Picture(photo(), exif=exif(), icc=SRGB)
    write_picture(tmp_path / f"a{suffix}", original, quality=98)
    again = read_picture(tmp_path / f"a{suffix}")
    assert np.abs(again.pixels.astype(int) - original.pixels).mean() < 2
    assert again.icc == SRGB
    assert facts(again.exif) == facts(original.exif)


def test_webp_keeps_alpha_untouched(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.webp", Picture(photo(), ramp(37, 53)))
    again = read_picture(tmp_path / "a.webp")
    assert again.alpha is not None
    np.testing.assert_array_equal(again.alpha, ramp(37, 53))


def test_bmp_keeps_pixels_and_greyness(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.bmp", Picture(photo(), exif=exif(), icc=SRGB))
    again = read_picture(tmp_path / "a.bmp")
    np.testing.assert_array_equal(again.pixels, photo())
    assert (again.exif, again.icc, again.is_grey) == (None, None, False)
    write_picture(tmp_path / "b.bmp", Picture(grey_photo(np.uint8), is_grey=True))
    assert read_picture(tmp_path / "b.bmp").is_grey


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([".png", ".tif", ".bmp"]),
    st.sampled_from(KINDS),
    st.integers(0, 99),
)
def test_lossless_formats_give_any_picture_back(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    suffix: str,
    kind: type[np.unsignedinteger],
    seed: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    peak = int(np.iinfo(kind).max)
    pixels = np.random.default_rng(seed).integers(0, peak, (height, width, 3), endpoint=True).astype(kind)
    write_picture(path, Picture(pixels))
    expected = np.rint(pixels / 257).astype(np.uint8) if kind == np.uint16 and suffix == ".bmp" else pixels
    np.testing.assert_array_equal(read_picture(path).pixels, expected)


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".tif"])
@pytest.mark.parametrize("is_grey", [False, True])
def test_other_programs_see_the_same_pixels(tmp_path: Path, suffix: str, is_grey: bool) -> None:
    pixels = grey_photo(np.uint8) if is_grey else photo()
    write_picture(tmp_path / f"a{suffix}", Picture(pixels, is_grey=is_grey, icc=None if is_grey else SRGB))
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.mode == ("L" if is_grey else "RGB")
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_tiff_is_understood_by_tifffile_in_either_byte_order(tmp_path: Path, byte_order: str) -> None:
    pixels = photo(240, 300, np.uint16)  # several strips
    content = Image.Exif()
    content[0x010F], content[0x0110] = "A maker with a longer name", "X"
    content.endian = byte_order
    exif_bytes = content.tobytes()[6:]
    assert exif_bytes.startswith(b"II" if byte_order == "<" else b"MM")
    write_picture(tmp_path / "a.tif", Picture(pixels, ramp(240, 300, np.uint16), exif=exif_bytes, icc=SRGB))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        assert tiff.byteorder == byte_order
        assert len(tiff.pages) == 1
        assert len(page.dataoffsets) > 1
        np.testing.assert_array_equal(page.asarray()[..., :3], pixels)
        assert page.tags["Make"].value == "A maker with a longer name"
        assert page.tags["Model"].value == "X"
        assert page.iccprofile == SRGB
        codes = [tag.code for tag in page.tags]
        assert codes == sorted(codes)


def test_16_bit_png_is_understood_by_pillow(tmp_path: Path) -> None:
    grey = grey_photo(np.uint16)
    write_picture(tmp_path / "a.png", Picture(grey, is_grey=True, exif=exif(), icc=SRGB))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(image), grey[..., 0])
        assert image.info["icc_profile"] == SRGB
        assert facts(image.info["exif"][6:])["maker"] == "A maker with a longer name"


def test_16_bits_are_rounded_into_8(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    write_picture(tmp_path / "a.bmp", Picture(np.repeat(values[..., None], 3, axis=2), is_grey=True))
    expected = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.bmp").pixels[..., 0], expected)


def test_grey_is_the_luma_of_what_restoration_made_of_it(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", Picture(photo(), is_grey=True))
    expected = np.rint(photo() @ np.array([0.299, 0.587, 0.114]))
    again = read_picture(tmp_path / "a.png")
    assert again.is_grey
    np.testing.assert_allclose(again.pixels[..., 0], expected, atol=1)


def test_an_orientation_left_in_the_exif_is_not_applied_to_upright_pixels(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        write_picture(tmp_path / f"a{suffix}", Picture(photo(), exif=exif(6)))
        assert read_picture(tmp_path / f"a{suffix}").pixels.shape == photo().shape


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_broken_exif_is_left_out(tmp_path: Path, suffix: str) -> None:
    write_picture(tmp_path / f"a{suffix}", Picture(photo(), exif=b"MM\0*" + bytes([255]) * 40))
    assert read_picture(tmp_path / f"a{suffix}").exif is None


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".bmp"])
def test_alpha_is_never_lost_silently(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(ImageError, match=r"no transparency.*write PNG, WebP or TIFF"):
        write_picture(path, Picture(photo(), ramp(37, 53)))
    assert not path.exists()
    write_picture(path, Picture(photo(), np.full((37, 53), 255, np.uint8)))
    assert read_picture(path).alpha is None


def test_the_quality_of_jpeg_counts(tmp_path: Path) -> None:
    sizes = []
    for quality in (40, 80, 98):
        write_picture(tmp_path / "a.jpg", Picture(photo(200, 200)), quality=quality)
        sizes.append((tmp_path / "a.jpg").stat().st_size)
    assert sizes == sorted(sizes)
    assert sizes[2] > 2 * sizes[0]
    for quality in (0, 101):
        with pytest.raises(ImageError, match=f"from 1 to 100, got {quality}"):
            write_picture(tmp_path / "a.jpg", Picture(photo()), quality=quality)


def test_images_are_written_and_read_in_short(tmp_path: Path) -> None:
    image = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(to_pixels(read_image(tmp_path / "a.png")), to_pixels(image))


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.txt", "png"])
def test_unknown_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"cannot write .*use \.jpg, \.jpeg, \.jpe, \.jfif, \.png"):
        write_picture(tmp_path / name, Picture(photo()))


def test_endings_count_in_either_case(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.PNG", Picture(photo()))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.PNG").pixels, photo())


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16_384), (".jpg", 65_501)])
def test_sides_that_a_format_cannot_hold_are_refused(tmp_path: Path, suffix: str, side: int) -> None:
    with pytest.raises(ImageError, match=f"1x{side} is more than.*write PNG or TIFF"):
        write_picture(tmp_path / f"a{suffix}", Picture(np.zeros((side, 1, 3), np.uint8)))


def test_exif_that_does_not_fit_into_jpeg_is_an_error_that_names_the_reason(tmp_path: Path) -> None:
    content = Image.Exif()
    content[0x010E] = "x" * 70_000
    with pytest.raises(ImageError, match=r"no EXIF over 65 kB.*another format"):
        write_picture(tmp_path / "a.jpg", Picture(photo(), exif=content.tobytes()[6:]))
    assert list(tmp_path.iterdir()) == []


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"No such file or directory.*check the folder"):
        write_picture(tmp_path / "gone" / "a.png", Picture(photo()))


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ImageError, match="cannot be written"):
        write_picture(tmp_path / "a.png", Picture(photo()))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: cannot be written, a pipe of this name is there; give another"):
        write_picture(tmp_path / "a.png", Picture(photo()))
    assert stat.S_ISFIFO((tmp_path / "a.png").stat().st_mode)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    path = tmp_path / "a.png"
    write_picture(path, Picture(photo()))
    before = path.read_bytes()

    def fail_halfway(file: BytesIO, *_: object) -> None:
        file.write(b"half a picture")
        assert len(list(tmp_path.iterdir())) == 2
        raise failure

    monkeypatch.setattr(writing, "_encode", fail_halfway)
    with pytest.raises(ImageError if isinstance(failure, OSError) else KeyboardInterrupt) as caught:
        write_picture(path, Picture(photo()[::-1].copy()))
    if isinstance(failure, OSError):
        assert "No space left on device" in str(caught.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_names_as_long_as_the_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".png")
    write_picture(path, Picture(photo()))
    assert path.exists()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_may_be_a_view(tmp_path: Path, suffix: str, kind: type[np.unsignedinteger]) -> None:
    view = photo(kind=kind).swapaxes(0, 1)[::-1]
    write_picture(tmp_path / f"a{suffix}", Picture(view))
    expected = np.rint(view / 257) if suffix == ".bmp" and kind == np.uint16 else view
    np.testing.assert_array_equal(read_picture(tmp_path / f"a{suffix}").pixels, expected)


def test_written_files_have_the_usual_rights(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", Picture(photo()))
    (tmp_path / "b").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_hands_on_its_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    path = tmp_path / "a.png"
    write_picture(path, Picture(photo()))
    path.chmod(mode)
    while_written = []
    encode = writing._encode

    def look_and_encode(*arguments: Any) -> None:
        (part,) = tmp_path.glob(".*.part")
        while_written.append(stat.S_IMODE(part.stat().st_mode))
        encode(*arguments)

    monkeypatch.setattr(writing, "_encode", look_and_encode)
    write_picture(path, Picture(photo()[::-1].copy()))
    assert while_written == [mode]
    assert stat.S_IMODE(path.stat().st_mode) == mode
    np.testing.assert_array_equal(read_picture(path).pixels, photo()[::-1])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_picture_lies_whole_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"the old file")
    synced: list[bytes] = []

    def look(descriptor: int) -> None:
        for part in tmp_path.glob(".*.part"):
            assert os.path.samestat(os.fstat(descriptor), part.stat())
            assert path.read_bytes() == b"the old file"
            synced.append(part.read_bytes())

    monkeypatch.setattr("derain.files.os.fsync", look)
    write_picture(path, Picture(photo()))
    assert synced == [path.read_bytes()]


def test_a_picture_holds_what_fits_together() -> None:
    picture = Picture(photo(), ramp(37, 53), exif=b"x", icc=b"y")
    other = picture.with_pixels(photo()[::-1])
    assert (other.alpha is picture.alpha, other.exif, other.icc) == (True, b"x", b"y")
    with pytest.raises(ImageError, match="as this picture has, got"):
        picture.with_pixels(photo(36, 53))
    with pytest.raises(ImageError, match="uint16"):
        picture.with_pixels(photo(kind=np.uint16))
    with pytest.raises(ImageError, match="wanted alpha"):
        Picture(photo(), ramp(36, 53))
    with pytest.raises(ImageError, match="wanted alpha"):
        Picture(photo(), ramp(37, 53, np.uint16))
    with pytest.raises(ImageError, match="wanted pixels"):
        Picture(np.zeros((0, 4, 3), np.uint8))
