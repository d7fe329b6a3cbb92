"""Read still pictures: which format by the first bytes, what may be decoded by the header, then the pixels."""

import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from derain.errors import DamagedImageError, ImageError
from derain.imaging.exif import from_tiff, upright
from derain.imaging.formats import JPEG, TIFF
from derain.imaging.jpeg import Colours, decode_jpeg
from derain.imaging.picture import Picture
from derain.imaging.pixels import PixelArray
from derain.imaging.png import read_chunks, read_png16, repaired
from derain.imaging.source import PictureSource, Source, damaged_error, open_source
from derain.imaging.tiff import missing_segments, read_tiff, read_tiff_header

DEFAULT_PIXEL_LIMIT = 150_000_000
"""Pictures of more pixels are refused before they are decoded."""

_ROWS_AT_ONCE = 256


def read_picture(source: PictureSource, pixel_limit: int = DEFAULT_PIXEL_LIMIT, allow_damaged: bool = False) -> Picture:
    """Read a still JPEG, PNG, WebP, TIFF or BMP from a path, bytes or a binary stream, whatever its name ends in.

    The orientation in EXIF is applied. Palettes become RGB (and alpha, where the palette has it). CMYK becomes sRGB
    through its profile, or by the plain complement where it has none that works. 16 bits stay 16 bits. Of a JPEG that
    holds several pictures (MPO), the first, main one is read. A stream is read from where it stands to its end.

    A picture whose pixels are all there is read, whatever else is irregular; its `warnings` say so. With
    `allow_damaged` what can be decoded of a damaged one is read too (WebP gives nothing), and `warnings` name it.

    Raises:
        DamagedImageError: pixels are missing or broken, and damaged pictures are not allowed or nothing can be decoded.
        ImageError: the file is missing, no regular file, unreadable, empty, of another format, without pixels, animated
            or of several pages, of more than `pixel_limit` pixels, or of a kind that is not read (camera raw, 32 bits,
            16-bit CMYK, Lab).
    """
    opened = open_source(source, pixel_limit, allow_damaged)
    with _named_errors(opened):
        picture = _READERS[opened.format.name](opened)
    return replace(picture, warnings=tuple(opened.warnings))


def find_damage(source: PictureSource, pixel_limit: int = DEFAULT_PIXEL_LIMIT) -> str | None:
    """Why pixels of a picture are missing or broken; None where all are there.

    A JPEG is decoded to an eighth of its size, which reads all of its data in half the time; others are read.

    Raises:
        ImageError: as `read_picture`, for every other reason.
    """
    opened = open_source(source, pixel_limit)
    try:
        with _named_errors(opened):
            if opened.format is JPEG:
                _decode_jpeg(opened, _open_jpeg(opened), scale=8)
            else:
                _READERS[opened.format.name](opened)
    except DamagedImageError as error:
        return str(error).removeprefix(f"{opened.name}: ")
    return None


@contextmanager
def _named_errors(source: Source) -> Iterator[None]:
    """Whatever decoders raise becomes an ImageError that names the source."""
    try:
        with QUIET:
            yield
    except ImageError:
        raise
    except MemoryError as error:
        raise source.refuse("decoding it needs more memory than there is", "scale it down first") from error
    except Image.DecompressionBombError as error:
        raise source.refuse(
            f"it is larger than Pillow decodes in this format ({_brief(error)})", "scale it down"
        ) from error
    except SyntaxError as error:  # Pillow's word for a header that it cannot use
        raise source.refuse(
            f"the header of this {source.format.name} file is damaged or announces no pixels ({_brief(error)})",
            "get it again from where it came",
        ) from error
    except Exception as error:  # decoders raise whatever they like on broken files
        raise damaged_error(source, _brief(error)) from error


class _Quiet:
    """Python's warnings are off while any thread is inside.

    What Pillow warns of is harmless here or checked by name. `warnings.catch_warnings` alone, entered by two threads
    that leave in another order, would leave the warnings off for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(None, None, None)


QUIET = _Quiet()


# Readers, one for each format.


def _read_jpeg(source: Source) -> Picture:
    image = _open_jpeg(source)
    samples = _decode_jpeg(source, image)
    orientation, exif = _exif_of(image)
    icc = image.info.get("icc_profile")
    if image.mode == "CMYK":
        ink = 255 - samples if "adobe" in image.info else samples  # Adobe's programs store them inverted
        plain, icc = _cmyk_to_srgb(Image.fromarray(ink, "CMYK"), icc)
        samples = _samples_of(plain)
    return _assemble(samples, orientation, exif, icc)


def _open_jpeg(source: Source) -> JpegImagePlugin.JpegImageFile:
    """What the markers before the pixels say."""
    image = JpegImagePlugin.JpegImageFile(source.stream())
    source.check(image.width, image.height)
    return image


def _decode_jpeg(source: Source, image: JpegImagePlugin.JpegImageFile, scale: int = 1) -> PixelArray:
    decoded = decode_jpeg(source.content, _JPEG_COLOURS[image.mode], scale)
    if decoded.damage is not None:
        source.damaged(decoded.damage)
    source.warnings.extend(decoded.notes)
    return decoded.samples


_JPEG_COLOURS: dict[str, Colours] = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def _read_png(source: Source) -> Picture:
    width, height = struct.unpack_from(">II", source.content, 16)
    source.check(width, height)
    chunks = read_chunks(source.content)
    source.warnings.extend(chunks.notes)
    content = source.content
    if chunks.damage is not None:
        source.damaged(chunks.damage)
        content = repaired(chunks)
        chunks = read_chunks(content)
    image = PngImagePlugin.PngImageFile(BytesIO(content))
    source.check(image.width, image.height, getattr(image, "n_frames", 1))
    if chunks.header.bits < 16:
        return _from_pillow(source, image)
    samples, exif, icc = read_png16(chunks)
    orientation, exif = _reset(exif)
    return _assemble(samples, orientation, exif, icc)


def _read_webp(source: Source) -> Picture:
    image = WebPImagePlugin.WebPImageFile(source.stream())
    source.check(image.width, image.height, image.n_frames)
    return _from_pillow(source, image)


def _read_bmp(source: Source) -> Picture:
    image = BmpImagePlugin.BmpImageFile(source.stream())
    source.check(image.width, image.height)
    codec, _, start, settings = image.tile[0]
    if codec == "raw" and isinstance(settings, tuple):
        missing = start + image.height * settings[1] - len(source.content)
        if missing > 0:
            source.damaged(f"{missing} bytes are missing at its end")
            image = BmpImagePlugin.BmpImageFile(BytesIO(source.content + bytes(missing)))
    return _from_pillow(source, image)


def _read_tiff(source: Source) -> Picture:
    header = read_tiff_header(source.stream())
    if header.is_camera_raw:
        raise source.refuse(
            "this is a camera raw file (as NEF, DNG, ARW or CR2), whose first picture is a preview or a sensor's data",
            "develop it with a raw converter and give the JPEG, PNG or TIFF that it writes",
        )
    source.check(header.width, header.height, header.pages)
    if header.bits not in (1, 2, 4, 8, 16) or not header.is_integer:
        kind = "integer" if header.is_integer else "floating"
        raise source.refuse(
            f"its samples are {header.bits}-bit {kind} numbers", "save it with 8 or 16 bits per channel"
        )
    if header.bits == 16 and not header.is_grey_or_rgb:
        raise source.refuse("16 bits are read in grey and RGB, with at most one alpha channel", "save it as 16-bit RGB")
    exif = from_tiff(source.content)
    if header.bits >= 8 and header.is_grey_or_rgb:
        samples, orientation, icc = _decode_tiff(source)
        return _assemble(samples, orientation, exif, icc)
    return replace(_from_pillow(source, TiffImagePlugin.TiffImageFile(source.stream())), exif=exif)


def _decode_tiff(source: Source) -> tuple[PixelArray, int, bytes | None]:
    damage = missing_segments(source.stream())
    if damage is None:
        try:
            return read_tiff(source.stream())
        except Exception as error:  # whatever the codec of a broken strip raises
            damage = _brief(error)
    source.damaged(damage)
    return read_tiff(source.stream(), allow_damaged=True)


_READERS = {"JPEG": _read_jpeg, "PNG": _read_png, "WebP": _read_webp, "BMP": _read_bmp, "TIFF": _read_tiff}


def _from_pillow(source: Source, image: ImageFile.ImageFile) -> Picture:
    """Decode an opened picture of at most 8 bits per sample."""
    image.load()
    orientation, exif = _exif_of(image)
    if source.format is TIFF:
        orientation = 1  # Pillow turns a TIFF upright by itself
    plain, icc = _plain(source, image, image.info.get("icc_profile"))
    if plain is not image:
        image.close()  # frees the pixels
    samples = _samples_of(plain)
    plain.close()
    return _assemble(samples, orientation, exif, icc)


def _exif_of(image: ImageFile.ImageFile) -> tuple[int, bytes | None]:
    """Orientation and reset EXIF of a decoded picture; what cannot be parsed counts as absent."""
    if "exif" in image.info:
        return _reset(image.info["exif"])
    if "Raw profile type exif" not in image.info:
        return 1, None
    try:
        return _reset(image.getexif().tobytes())  # the text chunk in which older PNGs keep EXIF
    except Exception:  # Pillow's parser raises whatever it likes, and broken EXIF is no reason to lose the picture
        return 1, None


def _reset(exif: bytes | None) -> tuple[int, bytes | None]:
    return upright(exif) if exif else (1, None)


def _plain(source: Source, image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """The picture in mode L, LA, RGB or RGBA, and the profile that is right for it then."""
    mode, has_key = image.mode, "transparency" in image.info
    if mode == "CMYK":
        return _cmyk_to_srgb(image, icc)
    if mode in ("LA", "RGBA") or (mode in ("L", "RGB") and not has_key):
        return image, icc
    grey = {"1": "LA" if has_key else "L", "L": "LA", "La": "LA"}
    colour = {
        "P": "RGBA" if has_key else "RGB",
        "RGB": "RGBA",
        "PA": "RGBA",
        "RGBa": "RGBA",
        "RGBX": "RGB",
        "YCbCr": "RGB",
    }
    target = (grey | colour).get(mode)
    if target is None:
        raise source.refuse(f"pixels of mode {mode} are not read", "save it as RGB with 8 or 16 bits per channel")
    return image.convert(target), icc


def _cmyk_to_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    if icc is not None:
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        try:
            converted = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(BytesIO(icc)), srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a profile that is broken or not for CMYK
        if converted is not None:
            return converted, srgb.tobytes()
    return image.convert("RGB"), None


def _samples_of(image: Image.Image) -> npt.NDArray[np.uint8]:
    """(H, W, S); strip by strip, because Pillow's own way holds two more copies."""
    samples = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    for top in range(0, image.height, _ROWS_AT_ONCE):
        strip = image.crop((0, top, image.width, min(top + _ROWS_AT_ONCE, image.height)))
        samples[top : top + _ROWS_AT_ONCE] = np.atleast_3d(np.asarray(strip))
    return samples


def _assemble(samples: PixelArray, orientation: int, exif: bytes | None, icc: bytes | None) -> Picture:
    """A picture from stored samples (H, W, S): grey, grey and alpha, RGB, or RGB and alpha."""
    samples = _turned(samples, orientation)
    channels = samples.shape[2]
    is_grey = channels < 3
    pixels = np.repeat(samples[..., :1], 3, axis=2) if is_grey else np.ascontiguousarray(samples[..., :3])
    alpha = np.ascontiguousarray(samples[..., -1]) if channels in (2, 4) else None
    return Picture(pixels, alpha, is_grey, exif, icc)


def _turned(samples: PixelArray, orientation: int) -> PixelArray:
    """Stored samples as they are to be looked at; orientation 1 to 8 after EXIF 2.32, 4.6.4 A."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return samples[rows, columns]


def _brief(error: BaseException) -> str:
    """The system's word or the first line of an error's text, or its kind where it has none."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
