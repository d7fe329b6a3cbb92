"""What is read, kind by kind. Files that cannot be read: test_refusals."""

import subprocess
import sys
import threading
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from imaging_samples import SRGB, cmyk_profile, encoded, exif, facts, photo, ramp
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from derain.imaging.color import linear_to_srgb
from derain.imaging.io import read_image, read_picture
from derain.imaging.picture import Picture


def picture_of(tmp_path: Path, content: bytes) -> Picture:
    path = tmp_path / "picture.bin"  # the first bytes tell the format, not the name
    path.write_bytes(content)
    return read_picture(path)


LOSSLESS = [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}), ("WEBP", {"lossless": True})]


@pytest.mark.parametrize(("name", "settings"), LOSSLESS)
def test_colour_comes_as_it_is(tmp_path: Path, name: str, settings: dict[str, object]) -> None:
    picture = picture_of(tmp_path, encoded(Image.fromarray(photo()), name, **settings))
    np.testing.assert_array_equal(picture.pixels, photo())
    assert picture.pixels.flags.c_contiguous
    assert (picture.alpha, picture.is_grey, picture.bit_depth) == (None, False, 8)
    assert (picture.height, picture.width) == (37, 53)
    assert picture.to_tensor().shape == (1, 3, 37, 53)


def test_jpeg_is_what_pillow_decodes(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(photo()), "JPEG", quality=90)
    expected = np.asarray(Image.open(BytesIO(content)))
    np.testing.assert_array_equal(picture_of(tmp_path, content).pixels, expected)


def test_read_image_is_float_in_0_to_1(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(photo()), "PNG"))
    image = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(image[0].permute(1, 2, 0).numpy() * 255, photo(), atol=1e-4)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "BMP", "JPEG"])
def test_grey_stays_grey(tmp_path: Path, name: str) -> None:
    content = encoded(Image.fromarray(photo()).convert("L"), name)
    picture = picture_of(tmp_path, content)
    assert picture.is_grey
    expected = np.asarray(Image.open(BytesIO(content)))
    for i in range(3):
        np.testing.assert_array_equal(picture.pixels[..., i], expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize(("name", "settings"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_alpha_is_kept_beside_untouched_colour(
    tmp_path: Path, mode: str, name: str, settings: dict[str, object]
) -> None:
    image = Image.fromarray(photo())
    image.putalpha(Image.fromarray(ramp(37, 53)))
    picture = picture_of(tmp_path, encoded(image.convert(mode), name, **settings))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, ramp(37, 53))
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert(mode).convert("RGB")))
    assert picture.is_grey == (mode == "LA" and name != "WEBP")


@pytest.mark.parametrize("name", ["PNG", "TIFF", "BMP"])
def test_palettes_become_colour(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(photo()).quantize(32)
    picture = picture_of(tmp_path, encoded(image, name))
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert not picture.is_grey
    assert picture.alpha is None


@pytest.mark.parametrize("transparency", [3, bytes([255, 0, 128, 7])])
def test_a_palettes_transparency_becomes_alpha(tmp_path: Path, transparency: int | bytes) -> None:
    content = encoded(Image.fromarray(photo()).quantize(8), "PNG", transparency=transparency)
    picture = picture_of(tmp_path, content)
    expected = np.asarray(Image.open(BytesIO(content)).convert("RGBA"))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, expected[..., 3])
    assert 0 in picture.alpha
    np.testing.assert_array_equal(picture.pixels, expected[..., :3])


@pytest.mark.parametrize(("mode", "key"), [("RGB", (143, 120, 104)), ("L", 120), ("1", 0)])
def test_a_transparent_colour_becomes_alpha(tmp_path: Path, mode: str, key: object) -> None:
    image = Image.fromarray(photo()).convert(mode)
    content = encoded(image, "PNG", transparency=key)
    picture = picture_of(tmp_path, content)
    assert picture.alpha is not None
    expected = Image.open(BytesIO(content)).convert("RGBA")
    np.testing.assert_array_equal(picture.alpha, np.asarray(expected)[..., 3])
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert picture.is_grey == (mode != "RGB")


@pytest.mark.parametrize("name", ["PNG", "TIFF", "BMP"])
def test_bilevel_becomes_grey(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(photo()).convert("1")
    picture = picture_of(tmp_path, encoded(image, name))
    assert set(np.unique(picture.pixels)) == {0, 255}
    np.testing.assert_array_equal(picture.pixels[..., 0], np.asarray(image.convert("L")))


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile_is_complemented(tmp_path: Path, name: str) -> None:
    content = encoded(Image.fromarray(photo()).convert("CMYK"), name)
    picture = picture_of(tmp_path, content)
    np.testing.assert_array_equal(picture.pixels, np.asarray(Image.open(BytesIO(content)).convert("RGB")))
    np.testing.assert_allclose(picture.pixels.astype(int), photo(), atol=60 if name == "JPEG" else 0)
    assert picture.icc is None


def test_cmyk_goes_through_its_profile_and_ends_in_srgb(tmp_path: Path) -> None:
    inks = np.array(
        [[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0]], [[0, 0, 255, 0], [0, 0, 0, 255], [255] * 4]], np.uint8
    )
    content = encoded(Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=cmyk_profile())
    picture = picture_of(tmp_path, content)
    lightness = torch.tensor([[100.0, 90, 80], [70, 60, 0]])
    light = torch.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    expected = linear_to_srgb(light).mul(255).numpy()
    for i in range(3):
        np.testing.assert_allclose(picture.pixels[..., i], expected, atol=2)
    assert picture.icc is not None
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(picture.icc)))


@pytest.mark.parametrize("profile", [SRGB, b"no profile at all"])
def test_cmyk_with_a_profile_of_no_use_is_complemented_and_loses_it(tmp_path: Path, profile: bytes) -> None:
    content = encoded(Image.fromarray(photo()).convert("CMYK"), "TIFF", icc_profile=profile)
    picture = picture_of(tmp_path, content)
    np.testing.assert_array_equal(picture.pixels, photo())
    assert picture.icc is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiff(tmp_path: Path, channels: int, has_alpha: bool, planar: str, order: str) -> None:
    samples = photo(kind=np.uint16)[..., :channels]
    if has_alpha:
        samples = np.concatenate([samples, ramp(37, 53, np.uint16)[..., None]], axis=2)
    stored = np.moveaxis(samples, 2, 0) if planar == "separate" else samples
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored if samples.shape[2] > 1 else samples[..., 0],
        photometric="rgb" if channels == 3 else "minisblack",
        planarconfig=planar if samples.shape[2] > 1 else None,
        extrasamples=["unassalpha"] if has_alpha else None,
        byteorder=order,
        compression="lzw",
        metadata=None,
        iccprofile=SRGB,
    )
    picture = read_picture(tmp_path / "a.tif")
    assert picture.bit_depth == 16
    assert picture.is_grey == (channels == 1)
    assert picture.icc == SRGB
    np.testing.assert_array_equal(picture.pixels[..., :channels], samples[..., :channels])
    if has_alpha:
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, samples[..., -1])
    else:
        assert picture.alpha is None


def test_tiff_whose_white_is_zero_is_turned_round(tmp_path: Path) -> None:
    grey = photo(kind=np.uint16)[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", 65535 - grey, photometric="miniswhite", metadata=None)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").pixels[..., 1], grey)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_premultiplied_alpha_is_divided_out(tmp_path: Path, kind: type[np.unsignedinteger]) -> None:
    peak = float(np.iinfo(kind).max)
    alpha = ramp(37, 53, kind)
    premultiplied = np.rint(photo(kind=kind) * (alpha / peak)[..., None]).astype(kind)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.dstack([premultiplied, alpha]),
        photometric="rgb",
        extrasamples=["assocalpha"],
        metadata=None,
    )
    picture = read_picture(tmp_path / "a.tif")
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, alpha)
    solid = alpha > 0.5 * peak
    np.testing.assert_allclose(picture.pixels[solid].astype(float), photo(kind=kind)[solid], atol=1.01)


def test_a_fourth_channel_of_no_named_kind_is_no_alpha(tmp_path: Path) -> None:
    samples = np.dstack([photo(kind=np.uint16), ramp(37, 53, np.uint16)])
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["unspecified"], metadata=None)
    picture = read_picture(tmp_path / "a.tif")
    assert picture.alpha is None
    np.testing.assert_array_equal(picture.pixels, photo(kind=np.uint16))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_and_reset(tmp_path: Path, orientation: int, name: str) -> None:
    settings = {"lossless": True} if name == "WEBP" else {}
    stored = Image.open(BytesIO(encoded(Image.fromarray(photo()), name, **settings)))
    marked = Image.open(BytesIO(encoded(stored, "PNG", exif=exif(orientation))))
    prefix = b"Exif\0\0" if name == "JPEG" else b""
    picture = picture_of(tmp_path, encoded(Image.fromarray(photo()), name, exif=prefix + exif(orientation), **settings))
    np.testing.assert_array_equal(picture.pixels, np.asarray(ImageOps.exif_transpose(marked)))
    assert facts(picture.exif)["orientation"] == 1
    assert facts(picture.exif)["time"] == "2024:03:05 17:20:11"


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_orientation_of_16_bit_tiff_is_applied(tmp_path: Path, orientation: int) -> None:
    grey = photo(kind=np.uint16)[..., 0]
    tifffile.imwrite(
        tmp_path / "a.tif", grey, photometric="minisblack", metadata=None, extratags=[(274, 3, 1, orientation, True)]
    )
    expected = {1: grey, 6: np.rot90(grey, -1), 7: grey[::-1, ::-1].T}[orientation]
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels[..., 0], expected)
    assert facts(picture.exif)["orientation"] == 1


def test_exif_of_older_pngs_in_a_text_chunk_is_found(tmp_path: Path) -> None:
    raw = b"Exif\0\0" + exif(6)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n")
    picture = picture_of(tmp_path, encoded(Image.fromarray(photo()), "PNG", pnginfo=chunks))
    np.testing.assert_array_equal(picture.pixels, np.rot90(photo(), -1))
    assert facts(picture.exif)["maker"] == "A maker with a longer name"


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_costs_no_picture(tmp_path: Path, name: str) -> None:
    broken = (b"Exif\0\0" if name == "JPEG" else b"") + b"MM\0*" + bytes([255]) * 30
    picture = picture_of(tmp_path, encoded(Image.fromarray(photo()), name, exif=broken))
    assert picture.exif is None
    assert picture.pixels.shape == photo().shape


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_profiles_are_found(tmp_path: Path, name: str) -> None:
    assert picture_of(tmp_path, encoded(Image.fromarray(photo()), name, icc_profile=SRGB)).icc == SRGB


def test_the_main_picture_of_a_multi_picture_jpeg_is_read(tmp_path: Path) -> None:
    buffer = BytesIO()
    second = Image.fromarray(photo()[::2, ::2].copy())
    Image.fromarray(photo()).save(buffer, "MPO", save_all=True, append_images=[second], quality=95)
    assert Image.open(BytesIO(buffer.getvalue())).format == "MPO"
    picture = picture_of(tmp_path, buffer.getvalue())
    assert picture.pixels.shape == photo().shape
    assert np.abs(picture.pixels.astype(int) - photo()).mean() < 4


@pytest.mark.parametrize("height", [1, 2])
@pytest.mark.parametrize("width", [1, 700])
def test_tiny_and_narrow_pictures(tmp_path: Path, height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    for name in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(picture_of(tmp_path, encoded(Image.fromarray(pixels), name)).pixels, pixels)


def test_tall_pictures_are_put_together_from_their_strips(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1025, 3, 3)).astype(np.uint8)
    np.testing.assert_array_equal(picture_of(tmp_path, encoded(Image.fromarray(pixels), "PNG")).pixels, pixels)


def test_threads_that_read_leave_the_warnings_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(photo()), "PNG"))
    before = list(warnings.filters)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=lambda: [read_picture(path) for _ in range(15)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert list(warnings.filters) == before


def test_only_16_bit_and_tiff_files_need_their_decoders(tmp_path: Path) -> None:
    for suffix, name in ((".jpg", "JPEG"), (".png", "PNG"), (".webp", "WEBP"), (".bmp", "BMP")):
        (tmp_path / f"a{suffix}").write_bytes(encoded(Image.fromarray(photo()), name))
    program = (
        "import sys, pathlib; from derain.imaging.io import read_picture, write_picture\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()): write_picture(path, read_picture(path))\n"
        "print(*sorted({'tifffile', 'imagecodecs'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("", "")


def test_a_photo_with_an_odd_entry_in_its_exif_is_turned_upright_and_keeps_the_rest(tmp_path: Path) -> None:
    odd = bytearray(exif(6))
    at = odd.index(b"\x01\x10\x00\x02")  # the model, before the orientation
    odd[at + 2 : at + 4] = b"\x00\x81"
    (tmp_path / "a.jpg").write_bytes(encoded(Image.fromarray(photo()), "JPEG", exif=b"Exif\0\0" + odd))
    picture = read_picture(tmp_path / "a.jpg")
    assert (picture.width, picture.height) == (37, 53)
    assert facts(picture.exif)["time"] == "2024:03:05 17:20:11"
    assert facts(picture.exif)["orientation"] == 1


def test_a_tiff_with_smaller_copies_of_its_picture_is_read(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as tiff:
        tiff.write(photo(), photometric="rgb", subifds=1, metadata=None)
        tiff.write(photo()[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    np.testing.assert_array_equal(read_picture(tmp_path / "pyramid.tif").pixels, photo())
