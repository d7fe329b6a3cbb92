"""Sizes by the header alone."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from imaging_samples import encoded, exif, photo
from PIL import Image

from derain.errors import ImageError
from derain.imaging.io import read_picture
from derain.imaging.sizes import header_size

CAT = Image.fromarray(photo(240, 350))


def heic(orientation: int = 1) -> bytes:
    buffer = BytesIO()
    data = np.asarray(CAT).tobytes()
    pillow_heif.encode("RGB", CAT.size, data, buffer, quality=90, exif=exif(orientation))
    return buffer.getvalue()


FILES = {
    "jpg": encoded(CAT, "JPEG", exif=exif(6)),
    "png": encoded(CAT, "PNG"),
    "lossy.webp": encoded(CAT, "WEBP"),
    "lossless.webp": encoded(CAT, "WEBP", lossless=True),
    "alpha.webp": encoded(CAT.convert("RGBA").rotate(10), "WEBP"),
    "bmp": encoded(CAT, "BMP"),
    "heic": heic(),
    "lying.heic": heic(8),
    "avif": encoded(CAT, "AVIF"),
    "lying.avif": encoded(CAT, "AVIF", exif=exif(8)),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_beginning_of_a_file_gives_the_size_as_the_picture_is_read(tmp_path: Path, kind: str) -> None:
    content = FILES[kind]
    picture = read_picture(content)
    file = tmp_path / f"picture.{kind}"
    for share in (1.0, 0.5):  # what is not there is not read
        file.write_bytes(content[: int(len(content) * share)])
        assert header_size(file) == (picture.width, picture.height)


def test_a_webp_with_exif_at_its_end_is_turned(tmp_path: Path) -> None:
    file = tmp_path / "lying.webp"
    file.write_bytes(encoded(CAT, "WEBP", exif=exif(6)))
    assert header_size(file) == (240, 350)


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "PNG"])
def test_no_size_is_given_of_what_is_not_read(tmp_path: Path, format: str) -> None:
    file = tmp_path / "moving"
    CAT.save(file, format, save_all=True, append_images=[CAT.rotate(90)])
    with pytest.raises(ImageError, match="frames"):
        read_picture(file)
    assert header_size(file) is None


@pytest.mark.parametrize("content", [b"", b"text", FILES["heic"][:20], b"\0\0\0\1ftypheic" + bytes(200)])
def test_broken_headers_have_no_size(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken"
    file.write_bytes(content)
    assert header_size(file) is None
