"""Read still pictures: which format by the first bytes, what may be decoded by the header, then the pixels."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from PIL import Image

from derain.errors import DamagedImageError, ImageError
from derain.imaging.decoders import check_jpeg, decode
from derain.imaging.formats import JPEG
from derain.imaging.picture import Picture
from derain.imaging.source import PictureSource, Source, brief, damaged_error, open_source

DEFAULT_PIXEL_LIMIT = 150_000_000
"""Pictures of more pixels are refused before they are decoded."""


def read_picture(source: PictureSource, pixel_limit: int = DEFAULT_PIXEL_LIMIT, allow_damaged: bool = False) -> Picture:
    """Read a still picture from a path, bytes or a binary stream, whatever its name ends in.

    The orientation in EXIF is applied. Palettes become RGB (and alpha, where the palette has it). CMYK becomes sRGB
    through its profile, or by the plain complement where it has none that works. 16 bits stay 16 bits, and 10 and 12
    become 16. Of a JPEG or HEIC that holds several pictures, the main one is read, and of a TIFF the one of full
    size. A stream is read from where it stands to its end.

    A picture whose pixels are all there is read, whatever else is irregular; `warnings` name it. With
    `allow_damaged` what can be decoded of a damaged one is read too (of WebP, HEIC and AVIF nothing), and `warnings`
    name it.

    Raises:
        DamagedImageError: pixels are missing or broken, and damaged pictures are not allowed or nothing can be decoded.
        ImageError: the file is missing, no regular file, unreadable, empty, of another format, without pixels, animated
            or of several pages, of more than `pixel_limit` pixels, or of a kind that is not read (camera raw, 32 bits,
            16-bit CMYK, Lab).
    """
    opened = open_source(source, pixel_limit, allow_damaged)
    with _named_errors(opened):
        picture = decode(opened)
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
                check_jpeg(opened)
            else:
                decode(opened)
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
        raise source.error("decoding it needs more memory than there is", "scale it down first") from error
    except Image.DecompressionBombError as error:
        raise source.error(
            f"it is larger than Pillow decodes in this format ({brief(error)})", "scale it down"
        ) from error
    except SyntaxError as error:  # Pillow raises it for a header that it cannot use
        raise source.error(
            f"the header of this {source.format.name} file is damaged or announces no pixels ({brief(error)})",
            "get it again from where it came",
        ) from error
    except Exception as error:  # decoders raise whatever they like on broken files
        raise damaged_error(source, brief(error)) from error


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
