"""Broken files, hundreds of each format: a picture or a named refusal, soon and in little memory, nothing else."""

import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from imaging_samples import SRGB, encoded, exif, photo
from PIL import Image

from derain.errors import ImageError
from derain.imaging.formats import FORMATS
from derain.imaging.io import Picture, encode_picture, find_damage, read_picture
from derain.imaging.metadata import Metadata

LIMIT_PIXELS = 1_000_000
LIMIT_BYTES = 60_000_000
LIMIT_S = 5.0

METADATA = Metadata(b"<x:xmpmeta/>", b"\x1c\x02\x78\x00\x07caption", (72.0, 72.0), b"comment")
KINDS = [
    *(format.name for format in FORMATS),
    "16-bit PNG",
    "16-bit TIFF",
    "progressive JPEG",
    "palette PNG",
    "LZW TIFF",
]


@cache
def sample(kind: str) -> bytes:
    cat = photo(24, 32)
    image = Image.fromarray(cat)
    match kind:
        case "progressive JPEG":
            return encoded(image, "JPEG", progressive=True)
        case "palette PNG":
            return encoded(image.quantize(8), "PNG")
        case "LZW TIFF":
            return encoded(image, "TIFF", compression="tiff_lzw")
        case "16-bit PNG" | "16-bit TIFF":
            return encode_picture(Picture(photo(24, 32, np.uint16), metadata=METADATA), kind.split()[1])
    return encode_picture(Picture(cat, exif=exif(6), icc=SRGB, metadata=METADATA), kind)


def count(kind: str) -> int:
    """Of each format some hundreds; its parser in Python makes TIFF slower than the others, and it has three kinds."""
    return 100 if "TIFF" in kind else 200


def mutants(kind: str) -> Iterator[bytes]:
    """Cut, with bytes changed anywhere or in the header, with bytes put in, and with a stretch of zeros."""
    rng = np.random.default_rng(KINDS.index(kind))
    for number in range(count(kind)):
        content = bytearray(sample(kind))
        at = int(rng.integers(len(content)))
        match number % 5:
            case 0:
                del content[at:]
            case 1:
                for where in rng.integers(len(content), size=rng.integers(1, 8)):
                    content[where] = rng.integers(256)
            case 2:
                content[at:at] = rng.bytes(rng.integers(1, 200))
            case 3:
                for where in rng.integers(min(400, len(content)), size=4):
                    content[where] = rng.choice([0, 1, 127, 128, 255])
            case 4:
                content[at : at + 100] = bytes(len(content[at : at + 100]))
        yield bytes(content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_file_is_a_picture_or_a_named_refusal(kind: str) -> None:
    refusals: list[str] = []
    tracemalloc.start()
    try:
        for content in mutants(kind):
            started = time.process_time()
            for allow_damaged in (False, True):
                try:
                    picture = read_picture(content, LIMIT_PIXELS, allow_damaged)
                except ImageError as error:
                    refusals.append(str(error))
                else:
                    assert picture.width * picture.height <= LIMIT_PIXELS
            assert time.process_time() - started < LIMIT_S
        assert tracemalloc.get_traced_memory()[1] < LIMIT_BYTES
    finally:
        tracemalloc.stop()
    assert len(refusals) > count(kind) / 10
    for text in refusals:
        assert text.startswith("the bytes given: ")
        assert "; " in text
        assert "\n" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_where_reading_finds_it(kind: str) -> None:
    for content in list(mutants(kind))[::3]:
        try:
            damage = find_damage(content, LIMIT_PIXELS)
        except ImageError as error:
            damage = str(error)
        try:
            read_picture(content, LIMIT_PIXELS)
        except ImageError:
            assert damage is not None
        else:
            assert damage is None


def tiff(data: bytes, **changes: int) -> bytes:
    """A TIFF of one Deflate strip, 32x32 in grey, with other values for some of its tags."""
    tags = {
        "t256": 32,
        "t257": 32,
        "t258": 8,
        "t259": 8,
        "t262": 1,
        "t273": 8,
        "t277": 1,
        "t278": 32,
        "t279": len(data),
    }
    entries = {int(name[1:]): value for name, value in (tags | changes).items()}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    start = 8 + len(data) + len(data) % 2
    return (
        struct.pack("<2sHI", b"II", 42, start)
        + data.ljust(start - 8, b"\0")
        + struct.pack("<H", len(entries))
        + directory
        + bytes(4)
    )


@cache
def greedy_files() -> dict[str, bytes]:
    image = Image.fromarray(photo(24, 32))
    packed = zlib.compress(bytes(1024))
    bmp = bytearray(encoded(image, "BMP"))
    bmp[10:14] = b"\xf0\xff\xff\xff"
    jpeg = encoded(image, "JPEG", progressive=True)
    scan = jpeg.rindex(b"\xff\xda")
    return {
        "a bitmap that begins 4 GB on": bytes(bmp),
        "a strip that grows to 200 MB": tiff(zlib.compress(bytes(200_000_000), 9)),
        "numbers without end for each pixel": tiff(packed, t277=60_000),
        "many planes": tiff(packed, t32997=100_000),
        "tiles larger than the picture": tiff(packed, t322=1 << 20, t323=1 << 20, t324=8, t325=len(packed)),
        "scans without end": jpeg[:-2] + (jpeg[scan:-2]) * 200 + jpeg[-2:],
    }


@pytest.mark.parametrize("name", greedy_files())
def test_what_a_file_declares_costs_no_memory(name: str) -> None:
    content = greedy_files()[name]
    tracemalloc.start()
    try:
        with pytest.raises(ImageError):
            read_picture(content)
        assert tracemalloc.get_traced_memory()[1] < LIMIT_BYTES
    finally:
        tracemalloc.stop()
