"""One decoder for each format: check the header, decode the pixels, collect metadata and warnings."""

import struct
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from derain.imaging import heif, jpeg, png
from derain.imaging.exif import from_tiff, upright
from derain.imaging.formats import TIFF
from derain.imaging.metadata import Compression, Metadata, clean_xmp, colour_warning, resolution
from derain.imaging.picture import Picture
from derain.imaging.pixels import PixelArray
from derain.imaging.samples import assemble, cmyk_to_srgb, plain, samples_of
from derain.imaging.source import Source, brief
from derain.imaging.tiff import TiffHeader, missing_segments, read_tiff, read_tiff_header, tiff_metadata


def decode(source: Source) -> Picture:
    """Decode a picture; warnings about its file are added to the source. Raises whatever the decoders raise."""
    return _READERS[source.format.name](source)


def check_jpeg(source: Source) -> None:
    """Whether the pixels of a JPEG are all there, as `decode` does, at an eighth of its size."""
    _jpeg_samples(source, _open_jpeg(source), scale=8)


def _read_jpeg(source: Source) -> Picture:
    image = _open_jpeg(source)
    samples = _jpeg_samples(source, image)
    orientation, exif = _exif_of(image)
    icc = image.info.get("icc_profile")
    if image.mode == "CMYK":
        ink = 255 - samples if "adobe" in image.info else samples  # Adobe's programs store them inverted
        converted, icc = cmyk_to_srgb(Image.fromarray(ink, "CMYK"), icc)
        samples = samples_of(converted)
    source.warnings.extend(jpeg.dropped_parts(image, source.content))
    picture = assemble(samples, orientation, exif, icc)
    return replace(picture, metadata=jpeg.metadata_of(image), compression=jpeg.compression_of(image, orientation))


def _open_jpeg(source: Source) -> JpegImagePlugin.JpegImageFile:
    """Parse the marker segments before the pixels."""
    image = JpegImagePlugin.JpegImageFile(source.stream())
    source.check(image.width, image.height)
    return image


def _jpeg_samples(source: Source, image: JpegImagePlugin.JpegImageFile, scale: int = 1) -> PixelArray:
    decoded = jpeg.decode_jpeg(source.content, jpeg.COLOURS[image.mode], scale)
    if decoded.damage is not None:
        source.damaged(decoded.damage)
    source.warnings.extend(decoded.notes)
    return decoded.samples


def _read_png(source: Source) -> Picture:
    width, height = struct.unpack_from(">II", source.content, 16)
    source.check(width, height)
    chunks, content = png.read_chunks(source.content), source.content
    source.warnings.extend(chunks.notes)
    if chunks.damage is not None:
        source.damaged(chunks.damage)
        content = png.repaired(chunks)
        chunks = png.read_chunks(content)
    if png.has_long_texts(chunks):
        content = png.without_texts(chunks)
    image = PngImagePlugin.PngImageFile(BytesIO(content))
    source.check(image.width, image.height, getattr(image, "n_frames", 1))
    if (warning := png.colour_warning_of(chunks)) is not None:
        source.warnings.append(warning)
    if chunks.header.bits < 16:
        picture = _from_pillow(source, image)
    else:
        samples, exif, icc = png.read_png16(chunks)
        orientation, exif = _reset(exif)
        picture = assemble(samples, orientation, exif, icc)
    return replace(picture, metadata=png.metadata_of(chunks))


def _read_webp(source: Source) -> Picture:
    image = WebPImagePlugin.WebPImageFile(source.stream())
    source.check(image.width, image.height, image.n_frames)
    picture = _from_pillow(source, image)
    xmp = clean_xmp(image.info.get("xmp"))
    is_lossless = b"VP8L" in (source.content[12:16], *_webp_chunks(source.content))
    return replace(picture, metadata=Metadata(xmp=xmp), compression=Compression(is_lossless=is_lossless))


def _webp_chunks(content: bytes) -> list[bytes]:
    """The names of the chunks."""
    names, at = [], 12
    while at + 8 <= len(content):
        names.append(content[at : at + 4])
        (size,) = struct.unpack_from("<I", content, at + 4)
        at += 8 + size + size % 2
    return names


def _read_bmp(source: Source) -> Picture:
    image = BmpImagePlugin.BmpImageFile(source.stream())
    source.check(image.width, image.height)
    codec, _, start, settings = image.tile[0]
    if codec == "raw" and isinstance(settings, tuple):
        missing = start + image.height * settings[1] - len(source.content)
        if start >= len(source.content):
            raise ValueError("its pixels are to begin behind its end")
        if missing > 0:
            source.damaged(f"{missing} bytes are missing at its end")
            image = BmpImagePlugin.BmpImageFile(BytesIO(source.content + bytes(missing)))
    dpi = resolution(*image.info.get("dpi", (0, 0)))
    return replace(_from_pillow(source, image), metadata=Metadata(dpi=dpi))


def _read_tiff(source: Source) -> Picture:
    header = read_tiff_header(source.stream())
    _check_tiff(source, header)
    exif, metadata = from_tiff(source.content), tiff_metadata(source.content)
    if header.previews:
        source.warnings.append("smaller copies of the picture on further pages are not kept")
    if header.has_unread_metadata:
        source.warnings.append("its EXIF, XMP and IPTC are not kept, as those of a BigTIFF are not read")
    if header.bits >= 8 and header.is_grey_or_rgb:
        samples, orientation, icc = _tiff_samples(source)
        return replace(assemble(samples, orientation, exif, icc), metadata=metadata)
    picture = _from_pillow(source, TiffImagePlugin.TiffImageFile(source.stream()))
    return replace(picture, exif=exif, metadata=metadata)


def _check_tiff(source: Source, header: TiffHeader) -> None:
    if header.is_camera_raw:
        raise source.error(
            "this is a camera raw file (as NEF, DNG, ARW or CR2), whose first picture is a preview or a sensor's data",
            "develop it with a raw converter and give the JPEG, PNG or TIFF that it writes",
        )
    source.check(header.width, header.height, header.pages)
    if header.bits not in (1, 2, 4, 8, 16) or not header.is_integer:
        kind = "integer" if header.is_integer else "floating"
        raise source.error(f"its samples are {header.bits}-bit {kind} numbers", "save it with 8 or 16 bits per channel")
    if header.bits == 16 and not header.is_grey_or_rgb:
        raise source.error("16 bits are read in grey and RGB, with at most one alpha channel", "save it as 16-bit RGB")


def _tiff_samples(source: Source) -> tuple[PixelArray, int, bytes | None]:
    damage = missing_segments(source.stream())
    if damage is None:
        try:
            return read_tiff(source.stream())
        except Exception as error:  # whatever the codec of a broken strip raises
            damage = brief(error)
    source.damaged(damage)
    return read_tiff(source.stream(), allow_damaged=True)


def _read_heic(source: Source) -> Picture:
    opened = heif.open_heif(source.content)
    source.check(*opened.size)
    _, exif = _reset(opened.info.get("exif"))
    source.warnings.extend(heif.heif_warnings(opened))
    _warn_of_colours(source, opened.info.get("icc_profile"))
    picture = assemble(heif.heif_samples(opened), 1, exif, opened.info.get("icc_profile"))
    return replace(picture, metadata=Metadata(xmp=clean_xmp(opened.info.get("xmp"))))


def _read_avif(source: Source) -> Picture:
    from PIL import AvifImagePlugin

    image = AvifImagePlugin.AvifImageFile(source.stream())
    source.check(image.width, image.height, image.n_frames)
    bits, is_grey = heif.avif_coding(source.content)
    orientation, exif = _exif_of(image)
    icc, xmp = image.info.get("icc_profile"), image.info.get("xmp")
    _warn_of_colours(source, icc)
    if bits == 8:
        image.load()
        samples: PixelArray = samples_of(image)
    else:
        samples = heif.deep_avif_samples(source.content, bits)
    if is_grey and samples.shape[2] >= 3:
        samples = samples[..., [0, *range(3, samples.shape[2])]]
    return replace(assemble(samples, orientation, exif, icc), metadata=Metadata(xmp=clean_xmp(xmp)))


def _read_avif_or_fail(source: Source) -> Picture:
    try:
        return _read_avif(source)
    except SyntaxError as error:  # Pillow raises it for truncated data here, not only for headers
        raise ValueError(brief(error)) from error


def _warn_of_colours(source: Source, icc: bytes | None) -> None:
    primaries, transfer = heif.coded_colours(source.content)
    warning = colour_warning(2 if icc is not None else primaries, transfer)
    if warning is not None:
        source.warnings.append(warning)


_READERS: dict[str, Callable[[Source], Picture]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "WebP": _read_webp,
    "BMP": _read_bmp,
    "TIFF": _read_tiff,
    "HEIC": _read_heic,
    "AVIF": _read_avif_or_fail,
}


def _from_pillow(source: Source, image: ImageFile.ImageFile) -> Picture:
    """Decode an opened picture of at most 8 bits per sample."""
    image.load()
    orientation, exif = _exif_of(image)
    if source.format is TIFF:
        orientation = 1  # Pillow turns a TIFF upright by itself
    flat, icc = plain(source, image, image.info.get("icc_profile"))
    if flat is not image:
        image.close()  # frees the pixels
    samples = samples_of(flat)
    flat.close()
    return assemble(samples, orientation, exif, icc)


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
