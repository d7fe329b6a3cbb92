"""Files that were cut off are told from whole ones by their last bytes."""

import io
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from derain.data.endings import ends_early

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


def encoded(kind: str) -> bytes:
    """A photograph with a thumbnail of its own in its header, as cameras write it, where the format has one."""
    whole = io.BytesIO()
    photo = Image.fromarray(skimage.data.coffee())
    if kind == "JPEG":
        small = io.BytesIO()
        photo.resize((60, 40)).save(small, "JPEG")
        photo.save(whole, kind, comment=small.getvalue())
    else:
        photo.save(whole, kind)
    return whole.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_whole_picture_has_its_end(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(kind))
    assert not ends_early(path)


@pytest.mark.parametrize("kind", FORMATS[:4])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.999])
def test_one_that_was_cut_off_has_not(kind: str, share: float, tmp_path: Path) -> None:
    path, whole = tmp_path / "picture", encoded(kind)
    path.write_bytes(whole[: int(share * len(whole))])
    assert ends_early(path)


def test_what_hangs_on_a_picture_makes_it_doubtful_and_few_bytes_do_not(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded("JPEG") + b"\0" * 100)
    assert not ends_early(path)
    path.write_bytes(encoded("JPEG") + b"film" * 5000)
    assert ends_early(path)


@pytest.mark.parametrize("content", [b"", b"BM", b"\xff\xd8", b"notes"])
def test_scraps_raise_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(content)
    assert ends_early(path) == content.startswith(b"\xff\xd8")
