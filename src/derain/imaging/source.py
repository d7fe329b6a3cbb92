"""Where a picture comes from: a path, bytes or a binary stream, with the same checks for each."""

import os
import stat
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeAlias

from derain.errors import DamagedImageError, ImageError
from derain.imaging.formats import FORMATS, SNIFFED_BYTES, Format, format_of_content

PictureSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A file's path, the content of a file, or a binary stream, which is read from where it stands to its end."""

_LARGEST_FILE_BYTES = 1 << 31
_SMALLEST_FILE_BYTES = 26
_STREAM_BYTES = 1 << 20
_GET_AGAIN = "get it again from where it came"


@dataclass(frozen=True)
class Source:
    """The content of a picture file in memory, its name for messages, and the warnings of its reader.

    name: the path, "the bytes given" or "the stream given"; pixel_limit: a larger picture is refused; warnings: grows
    while it is read.
    """

    name: str
    content: bytes
    format: Format
    pixel_limit: int
    allow_damaged: bool = False
    warnings: list[str] = field(default_factory=list)

    def stream(self) -> BinaryIO:
        """The content as a stream at its beginning; nothing is copied."""
        return BytesIO(self.content)

    def error(self, reason: str, remedy: str) -> ImageError:
        """The error to raise."""
        return ImageError(f"{self.name}: {reason}; {remedy}")

    def damaged(self, reason: str) -> None:
        """Some pixels are missing: refuse the picture, or note it where damaged ones are allowed."""
        if not self.allow_damaged:
            error = damaged_error(self, reason)
            error.is_decodable = True
            raise error
        self.warnings.append(f"damaged, pixels are missing ({reason})")

    def check(self, width: int, height: int, frames: int = 1) -> None:
        """Refuse by the header alone what shall not be decoded."""
        if width < 1 or height < 1:
            raise self.error(f"it is {width}x{height}, without a pixel", _GET_AGAIN)
        if width * height > self.pixel_limit:
            raise self.error(
                f"{width}x{height} is over the limit of {self.pixel_limit} pixels", "scale it down or raise the limit"
            )
        if frames > 1:
            kind = "pages" if self.format.name == "TIFF" else "frames"
            raise self.error(f"it holds {frames} {kind}, not one picture", "save the one you want as a still")


def damaged_error(source: Source, reason: str) -> DamagedImageError:
    """The error to raise where pixels are missing and damaged pictures are not allowed, or nothing can be decoded."""
    return DamagedImageError(
        f"{source.name}: this {source.format.name} file is truncated or damaged ({reason}); {_GET_AGAIN}"
    )


def open_source(given: PictureSource, pixel_limit: int, allow_damaged: bool = False) -> Source:
    """The content of a picture file and its format, which goes by the first bytes.

    Raises:
        ImageError: there is no such file; it is no regular file (such a one is never opened); it cannot be read, is
            empty, too large, or of a format that is not read.
    """
    name, content = _content_of(given)
    if not content:
        raise ImageError(f"{name}: it is empty; {_GET_AGAIN}")
    return Source(name, content, _format_of(name, content[:SNIFFED_BYTES]), pixel_limit, allow_damaged)


def irregular_kind(path: Path) -> str | None:
    """What stands there where it is no regular file: `folder`, `pipe`, `socket` or `device`; None for a regular file.

    Nothing is opened: opening a pipe waits for a writer, and a device may never end. OSError where nothing is there.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return None
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))
    return next((kind for is_kind, kind in kinds if is_kind(mode)), "device")


def check_regular_file(path: Path) -> None:
    """Refuse what is no regular file, without opening it.

    Raises:
        ImageError: nothing is there, or a folder, a pipe, a socket or a device.
        OSError: the system gives no answer.
    """
    try:
        kind = irregular_kind(path)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise ImageError(f"{path}: this link points to nothing; give the picture itself") from error
        raise ImageError(f"{path}: there is no such file; check the name") from error
    if kind == "folder":
        raise ImageError(f"{path}: this is a folder; name a picture in it")
    if kind is not None:
        raise ImageError(f"{path}: this is a {kind}, not a file; copy its content into a file")


def name_of_stream(stream: BinaryIO) -> str:
    """The name of the file behind a stream, where it has one."""
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) and name else "the stream given"


def _content_of(given: PictureSource) -> tuple[str, bytes]:
    if isinstance(given, bytes | bytearray | memoryview):
        return "the bytes given", bytes(given)
    if isinstance(given, str | os.PathLike):
        name, path = str(given), Path(given)
        try:
            check_regular_file(path)
            return name, path.read_bytes() if path.stat().st_size <= _LARGEST_FILE_BYTES else _too_large(name)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"{name}: cannot be opened ({brief(error)}); check the name and its permissions"
            ) from error
    if not hasattr(given, "read"):
        kind = type(given).__name__
        raise ImageError(f"wanted a picture's path, its bytes or a binary stream, got {kind}; give one of these")
    name = name_of_stream(given)
    try:
        return name, _read_to_end(name, given)
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be read ({brief(error)}); open it again in binary mode") from error


def _read_to_end(name: str, stream: BinaryIO) -> bytes:
    """All that a stream still gives; raw streams and sockets give less than they are asked for."""
    parts: list[bytes] = []
    size = 0
    while part := stream.read(_STREAM_BYTES):
        if not isinstance(part, bytes):
            raise ImageError(f"{name}: this stream gives {type(part).__name__}, not bytes; open it in binary mode")
        parts.append(part)
        size += len(part)
        if size > _LARGEST_FILE_BYTES:
            _too_large(name)
    return b"".join(parts)


def _too_large(name: str) -> NoReturn:
    raise ImageError(f"{name}: it holds over {_LARGEST_FILE_BYTES >> 30} GiB; save it smaller or compressed")


def brief(error: BaseException) -> str:
    """The system's message or the first line of an error's text, or its kind where it has none."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _format_of(name: str, head: bytes) -> Format:
    """The format by the first 32 bytes of a file."""
    if head.startswith((b"GIF87a", b"GIF89a")):
        raise ImageError(f"{name}: this is a GIF, a format for animation; save the frame you want as PNG")
    format = format_of_content(head)
    if format is None and head[4:12] == b"ftypcrx ":
        raise ImageError(f"{name}: this is a camera raw file (CR3); develop it and give the JPEG or TIFF")
    if format is None and head[4:8] == b"ftyp":
        raise ImageError(f"{name}: this is a video, not a picture; save the frame you want as PNG")
    if format is None:
        known = ", ".join(format.name for format in FORMATS)
        raise ImageError(f"{name}: this is not a picture of a kind that is read; give one of {known}")
    if len(head) < _SMALLEST_FILE_BYTES:
        raise ImageError(f"{name}: this {format.name} file is truncated, it ends after {len(head)} bytes; {_GET_AGAIN}")
    return format
