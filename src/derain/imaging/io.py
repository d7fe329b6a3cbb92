"""Still pictures from paths, bytes and streams, and into paths and streams.

A `Picture` holds integers, so that 50 megapixels stay at 150 MB (300 MB at 16 bits), and what has to be in the file
that is written: alpha, EXIF, ICC profile and other metadata, whether it is grey, how its file was compressed.

What a file holds that is written, by format:

| format | bits | alpha | grey | EXIF, ICC | XMP | IPTC, comment | dpi |
|---|---|---|---|---|---|---|---|
| PNG, TIFF | 8, 16 | yes | yes | yes | yes | yes | yes |
| JPEG | 8 | refused | yes | EXIF to 65 kB | to 65 kB | to 65 kB | whole numbers |
| WebP | 8 | yes | as RGB | yes | yes | no | no |
| HEIC | 8, 10 | yes | without alpha | yes | yes | no | no |
| AVIF | 8 | yes | yes | yes | yes | no | no |
| BMP | 8 | refused | yes | no | no | no | yes |

A JPEG written from a JPEG has its quantisation tables and subsampling, and a WebP written from a lossless one is
lossless, unless a quality is given. EXIF is written as it was read, with its orientation applied and reset and without
its thumbnail, which shows the rain. TIFF takes of it the descriptive tags, the camera's directory and the GPS
directory; offsets inside a maker note are not adjusted.

Not kept, and named in `Picture.warnings`: gain maps, depth maps, films, previews, further pictures in the file,
extended XMP of a JPEG, EXIF, XMP and IPTC of a BigTIFF, and brightness coded for HDR screens. Not kept, without a
warning: texts of a PNG other than its comment, and JPEG segments of single programs.
"""

from torch import Tensor

from derain.imaging.formats import DEEP_SUFFIXES, IMAGE_SUFFIXES
from derain.imaging.picture import Picture
from derain.imaging.pixels import to_pixels, to_tensor
from derain.imaging.reading import DEFAULT_PIXEL_LIMIT, find_damage, read_picture
from derain.imaging.source import PictureSource
from derain.imaging.writing import PictureTarget, check_writable, encode_picture, losses, write_picture

__all__ = [
    "DEEP_SUFFIXES",
    "DEFAULT_PIXEL_LIMIT",
    "IMAGE_SUFFIXES",
    "Picture",
    "PictureSource",
    "PictureTarget",
    "check_writable",
    "encode_picture",
    "find_damage",
    "losses",
    "read_image",
    "read_picture",
    "to_pixels",
    "to_tensor",
    "write_image",
    "write_picture",
]


def read_image(source: PictureSource, pixel_limit: int = DEFAULT_PIXEL_LIMIT) -> Tensor:
    """The picture as an image (1, 3, H, W), float32 in [0, 1]; alpha, EXIF and profile are left behind."""
    return read_picture(source, pixel_limit).to_tensor()


def write_image(target: PictureTarget, image: Tensor, format: str | None = None) -> None:
    """Write an image (1, 3, H, W) or (3, H, W) with 8 bits, in the format given or that of the file extension."""
    write_picture(target, Picture(to_pixels(image)), format=format)
