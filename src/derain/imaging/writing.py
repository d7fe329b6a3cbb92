"""Write still pictures to a path or a stream: in the format of the file extension, whole or not at all."""

import os
import stat
import struct
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
from PIL import Image, PngImagePlugin

from derain.errors import ImageError
from derain.files import atomic_write
from derain.imaging.exif import PREFIX, upright
from derain.imaging.formats import AVIF, FORMATS, HEIC, JPEG, WEBP, Format, format_of_name, known_suffixes
from derain.imaging.heif import write_heif
from derain.imaging.metadata import photoshop_segment
from derain.imaging.picture import Picture
from derain.imaging.pixels import PixelArray
from derain.imaging.png import metadata_chunks, write_png16
from derain.imaging.source import irregular_kind, name_of_stream
from derain.imaging.tiff import write_tiff

PictureTarget: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A file's path, or a binary stream, which is written to where it stands."""

_ROWS_AT_ONCE = 256
_LONGEST_JPEG_EXIF, _LONGEST_JPEG_XMP, _LONGEST_JPEG_COMMENT = 65_527, 65_504, 65_533


def write_picture(
    target: PictureTarget, picture: Picture, quality: int | None = None, format: str | None = None
) -> None:
    """Write a picture to a path or a binary stream, whole or not at all.

    The new file has the permissions of the one it replaces. PNG, TIFF and BMP are lossless. 16 bits are rounded to 8
    where the format holds no more. Grey is the BT.601 luma of the pixels. An alpha that is opaque everywhere is left
    out where the format has none. What each format keeps stands at the top of `derain.imaging.io`.

    Args:
        quality: of JPEG, WebP, HEIC and AVIF, 1 to 100, with colours at full resolution. None: a JPEG is compressed as
            the JPEG that the picture was read from, a WebP without loss if it was read from such a one; in all other
            cases 95, and 90 for HEIC and AVIF.
        format: a name or extension of `derain.imaging.formats`, as `png`; None: by the extension of the path. A
            stream needs it.

    Raises:
        ImageError: an unknown extension or format, no folder to write to, a target that is no regular file, alpha into
            JPEG or BMP, sides longer than the format can hold, or the encoder or the disk fails. A file that stood
            there before stays as it was, and a stream gets nothing.
    """
    path = Path(target) if isinstance(target, str | os.PathLike) else None
    name = str(path) if path is not None else name_of_stream(cast(BinaryIO, target))
    wanted = _format_to_write(path, name, format)
    try:
        if path is not None:
            _write_file(path, picture, wanted, quality)
        else:
            cast(BinaryIO, target).write(encode_picture(picture, wanted.name, quality))
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ImageError(
            f"{name}: cannot be written ({reason}); check the folder, its space and permissions"
        ) from error


def encode_picture(picture: Picture, format: str, quality: int | None = None) -> bytes:
    """The content of a picture file in the format named; see `write_picture`."""
    buffer = BytesIO()
    _encode(buffer, picture, _format_to_write(None, "", format), quality)
    return buffer.getvalue()


def check_writable(path: Path, picture: Picture) -> None:
    """Refuse, before any work is done on it, a picture that the format of a file's name cannot hold.

    Raises:
        ImageError: an unknown extension, alpha into JPEG or BMP, EXIF or sides longer than the format can hold.
    """
    format = _format_to_write(path, str(path), None)
    try:
        _check_fits(picture, format)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def losses(path: Path, picture: Picture) -> tuple[str, ...]:
    """What a file of this name would not hold of the picture, as warnings."""
    format = format_of_name(path)
    if format is None:
        return ()
    found = []
    if picture.bit_depth > 8 and not format.is_deep:
        found.append(f"16 bits written with 8, as {format.name} holds no more; PNG and TIFF keep 16")
    metadata = picture.metadata
    held = {
        "EXIF": picture.exif,
        "colour profile": picture.icc,
        "XMP": metadata.xmp,
        "IPTC": metadata.iptc,
        "comment": metadata.comment,
    }
    lost = [name for name in format.lacks if held[name] is not None]
    if format is JPEG:
        lost += _too_long_for_jpeg(picture)
    if lost:
        found.append(f"{', '.join(lost)} not kept, as {format.name} has no place for it; PNG and TIFF have")
    return tuple(found)


def _too_long_for_jpeg(picture: Picture) -> list[str]:
    """What does not fit into a segment of a JPEG, and is left out or cut."""
    metadata = picture.metadata
    is_too_long = {
        "XMP": len(metadata.xmp or b"") > _LONGEST_JPEG_XMP,
        "IPTC": metadata.iptc is not None and not photoshop_segment(metadata.iptc),
        "comment": len(metadata.comment or b"") > _LONGEST_JPEG_COMMENT,
    }
    return [f"{name} over 65 kB" for name, is_lost in is_too_long.items() if is_lost]


def _format_to_write(path: Path | None, name: str, format: str | None) -> Format:
    """The format that is asked for, else that of the path's extension."""
    if format is not None:
        if (wanted := format_of_name(format)) is None:
            names = ", ".join(known.name.lower() for known in FORMATS)
            raise ImageError(f"cannot write the format {format}; use {names}")
        return wanted
    if path is None:
        raise ImageError(f'{name}: a stream has no file extension; give the format, as format="png"')
    if (wanted := format_of_name(path)) is None:
        suffix = path.suffix or "a name without extension"
        raise ImageError(f"{name}: cannot write {suffix}; use {', '.join(known_suffixes())}")
    return wanted


def _write_file(path: Path, picture: Picture, format: Format, quality: int | None) -> None:
    """Replace a file atomically. The new one has the permissions of the old before anybody else can read it."""
    is_there = path.exists()
    if is_there and (kind := irregular_kind(path)) is not None:
        raise ImageError(f"cannot be written, a {kind} of this name is there; give another name")
    with atomic_write(path, durable=True) as part, part.open("xb") as file:
        if is_there:
            part.chmod(stat.S_IMODE(path.stat().st_mode))
        _encode(file, picture, format, quality)


def _encode(file: BinaryIO, picture: Picture, format: Format, quality: int | None) -> None:
    """Encode into a file or buffer; ImageError, without the target's name, where the format cannot hold the picture."""
    if quality is not None and not 1 <= quality <= 100:
        raise ImageError(f"wanted a quality from 1 to 100, got {quality}")
    _check_fits(picture, format)
    has_alpha = picture.alpha is not None and format.has_alpha
    samples = _samples_to_write(picture, picture.bit_depth if format.is_deep else 8, has_alpha)
    # A picture put together by hand may carry an orientation; its pixels are upright by contract.
    exif = upright(picture.exif)[1] if picture.exif else None
    try:
        _ENCODERS[format.name](file, samples, replace(picture, exif=exif), quality)
    except (ValueError, OverflowError, struct.error, RuntimeError) as error:
        raise ImageError(f"{format.name} cannot hold this picture ({error}); write another format") from error


def _check_fits(picture: Picture, format: Format) -> None:
    """ImageError, without the target's name, where the format cannot hold the picture."""
    if format.longest_side is not None and max(picture.width, picture.height) > format.longest_side:
        raise ImageError(
            f"{picture.width}x{picture.height} is more than the {format.longest_side} pixels a side that "
            f"{format.name} holds; write PNG or TIFF"
        )
    if format is JPEG and len(picture.exif or b"") > _LONGEST_JPEG_EXIF:
        raise ImageError("JPEG holds no EXIF over 65 kB and this picture has some; write another format")
    if picture.alpha is None or format.has_alpha:
        return
    if int(picture.alpha.min()) < np.iinfo(picture.alpha.dtype).max:
        raise ImageError(f"{format.name} holds no transparency and this picture has some; write PNG, WebP or TIFF")


def _samples_to_write(picture: Picture, bit_depth: int, has_alpha: bool) -> PixelArray:
    """(H, W, S) of the wanted depth; the picture's own pixels where nothing has to change."""
    if not picture.is_grey and not has_alpha and picture.bit_depth == bit_depth:
        return np.ascontiguousarray(picture.pixels)
    colours = 1 if picture.is_grey else 3
    shape = (picture.height, picture.width, colours + has_alpha)
    samples: PixelArray = np.empty(shape, np.uint8 if bit_depth == 8 else np.uint16)
    for top in range(0, picture.height, _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        pixels = picture.pixels[rows]
        samples[rows, :, :colours] = _to_depth(_luma(pixels) if picture.is_grey else pixels, bit_depth)
        if has_alpha and picture.alpha is not None:
            samples[rows, :, -1] = _to_depth(picture.alpha[rows], bit_depth)
    return samples


def _luma(pixels: PixelArray) -> PixelArray:
    """BT.601 luma (H, W, 1) in integers; equal channels come out as they are, since the weights sum to 2^16."""
    r, g, b = (pixels[..., i : i + 1].astype(np.uint32) for i in range(3))
    return ((19595 * r + 38470 * g + 7471 * b + (1 << 15)) >> 16).astype(pixels.dtype)


def _to_depth(values: PixelArray, bit_depth: int) -> PixelArray:
    if bit_depth == 8 * values.dtype.itemsize:
        return values
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # round(v / 257), 257 = 65535 / 255


# Encoders, one for each format: samples (H, W, S) into a file, with what travels with the picture.


def _image(samples: PixelArray) -> Image.Image:
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def _write_jpeg(file: BinaryIO, samples: PixelArray, picture: Picture, quality: int | None) -> None:
    compression, metadata = picture.compression, picture.metadata
    settings: dict[str, Any] = {"quality": quality or JPEG.default_quality, "subsampling": 0}
    if quality is None and compression.jpeg_tables:
        tables = compression.jpeg_tables[:1] if picture.is_grey else compression.jpeg_tables
        settings = {"qtables": [list(table) for table in tables], "subsampling": compression.subsampling}
    _image(samples).save(
        file,
        "JPEG",
        exif=PREFIX + picture.exif if picture.exif else b"",
        icc_profile=picture.icc,
        xmp=metadata.xmp if metadata.xmp is not None and len(metadata.xmp) <= _LONGEST_JPEG_XMP else None,
        comment=metadata.comment[:_LONGEST_JPEG_COMMENT] if metadata.comment is not None else None,
        dpi=metadata.dpi or (0, 0),
        extra=photoshop_segment(metadata.iptc) if metadata.iptc is not None else b"",
        **settings,
    )


def _write_png(file: BinaryIO, samples: PixelArray, picture: Picture, _quality: int | None) -> None:
    if samples.dtype == np.uint16:
        write_png16(file, samples, picture.exif, picture.icc, picture.metadata)
        return
    chunks = PngImagePlugin.PngInfo()
    for name, data in metadata_chunks(replace(picture.metadata, dpi=None)):
        chunks.add(name, data)
    dpi = {"dpi": picture.metadata.dpi} if picture.metadata.dpi is not None else {}
    _image(samples).save(
        file, "PNG", compress_level=4, exif=picture.exif or b"", icc_profile=picture.icc, pnginfo=chunks, **dpi
    )


def _write_webp(file: BinaryIO, samples: PixelArray, picture: Picture, quality: int | None) -> None:
    is_lossless = quality is None and picture.compression.is_lossless
    _image(samples).save(
        file,
        "WEBP",
        lossless=is_lossless,
        quality=75 if is_lossless else quality or WEBP.default_quality,  # of lossless files, the effort
        exact=True,
        alpha_quality=100,
        exif=picture.exif or b"",
        icc_profile=picture.icc,
        xmp=picture.metadata.xmp or b"",
    )


def _write_tiff(file: BinaryIO, samples: PixelArray, picture: Picture, _quality: int | None) -> None:
    write_tiff(file, samples, picture.exif, picture.icc, picture.metadata)


def _write_bmp(file: BinaryIO, samples: PixelArray, picture: Picture, _quality: int | None) -> None:
    dpi = {"dpi": picture.metadata.dpi} if picture.metadata.dpi is not None else {}
    _image(samples).save(file, "BMP", **dpi)


def _write_heic(file: BinaryIO, samples: PixelArray, picture: Picture, quality: int | None) -> None:
    write_heif(file, samples, quality or HEIC.default_quality or 0, picture.exif, picture.icc, picture.metadata.xmp)


def _write_avif(file: BinaryIO, samples: PixelArray, picture: Picture, quality: int | None) -> None:
    _image(samples).save(
        file,
        "AVIF",
        quality=quality or AVIF.default_quality,
        subsampling="4:0:0" if picture.is_grey else "4:4:4",
        exif=picture.exif or b"",
        icc_profile=picture.icc,
        xmp=picture.metadata.xmp,
    )


_ENCODERS: dict[str, Callable[[BinaryIO, PixelArray, Picture, int | None], None]] = {
    "JPEG": _write_jpeg,
    "PNG": _write_png,
    "WebP": _write_webp,
    "TIFF": _write_tiff,
    "BMP": _write_bmp,
    "HEIC": _write_heic,
    "AVIF": _write_avif,
}
