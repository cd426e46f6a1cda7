"""Images: which files count, how large they are, and their pixels as upright 8-bit RGB.

One policy for every reader and writer:

- **Which files**: the suffixes of `image_names.IMAGE_SUFFIXES`, upper or lower case.
- **Orientation**: EXIF orientation is applied; sizes and coordinates are those of the upright image.
- **Grayscale**: the one channel is repeated.
- **RGBA and other transparency**: the alpha channel is dropped, the colours beneath are kept (as OpenCV does).
- **Palette**: the palette's colours.
- **16 bits a channel**: the high byte (value // 256), never stretched, so that values stay comparable
  between images. 32-bit integers are taken if they fit 16 bits. Floating point has no defined range: refused.
- **CMYK, YCbCr, Lab**: converted to RGB without a colour profile.
- **Broken or truncated files**: FormatError that names the file; `read_size` reads the header alone, so a
  truncated body shows only when pixels are read.
- **Huge images**: up to `MAX_PIXELS`; Pillow's own guard (179 million) is below one orthomosaic.
- **Several frames**: animated PNG and WebP are refused; of TIFF pages and of the pictures in a
  multi-picture JPEG the first is the image.
- **Names**: any Unicode (bytes that are none are refused); compared in NFC (`image_names.name_key`), while
  the path is used as it is on disk.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from specrun.errors import FormatError
from specrun.formats.image_names import is_unicode
from specrun.formats.plain_text import plain_text

MAX_PIXELS = 1 << 30

_ORIENTATION_TAG = 0x0112
_TURNED = (5, 6, 7, 8)
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""JPEG covers multi-picture files, which Pillow opens through the same reader."""


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright image, from the header alone. Raises FormatError."""
    with _opened(path) as image:
        width, height = image.size
        return (height, width) if _orientation(image) in _TURNED else (width, height)


def read_orientation(path: Path) -> int:
    """EXIF orientation, 1 to 8; 1 when none is given. Raises FormatError."""
    with _opened(path) as image:
        return _orientation(image)


def read_upright_rgb(path: Path) -> NDArray[np.uint8]:
    """(height, width, 3) uint8, upright. Raises FormatError."""
    with _opened(path) as image:
        turn = _TRANSPOSE.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        return _to_rgb(upright, path)


def read_indices(path: Path) -> NDArray[np.int64]:
    """(height, width) of a mask whose pixel values are class indices; a palette's colours are ignored.

    Raises FormatError: more than one channel.
    """
    with _opened(path) as image:
        if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
            raise FormatError(
                f"{path}: a mask must have one channel whose values are class indices, this one is {image.mode}.",
                hint="Save it as an 8- or 16-bit grayscale or palette PNG; masks in colours need a labelmap.txt beside "
                "them, and no `classes`.",
            )
        turn = _TRANSPOSE.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        return np.asarray(upright).astype(np.int64)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Pillow raises many types for broken files; whatever it raises names the file."""
    if not is_unicode(str(path)):
        raise FormatError(f"{plain_text(str(path))}: the name is not valid Unicode.", hint="Rename the file.")
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            # Pillow only warns between its limit and twice of it; _refuse_unusable is strict.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_FORMATS)
        with image:
            _refuse_unusable(image, path)
            yield image
    except FileNotFoundError:
        raise FormatError(f"{path}: no such image.") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        hint = "Replace the file, or exclude it."
        raise FormatError(f"{path}: not a readable image ({_reason(error, path)}).", hint=hint) from error


def _reason(error: Exception, path: Path) -> str:
    text = str(error).replace(repr(str(path)), "").replace(str(path), "").strip()
    return "cannot identify its format" if "cannot identify" in text else text or type(error).__name__


def _refuse_unusable(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise FormatError(
            f"{path}: {width} x {height} pixels are more than {MAX_PIXELS}.", hint="Cut the image into tiles."
        )
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise FormatError(f"{path}: an animation, not an image.", hint="Save the wanted frames as single images.")


def _orientation(image: Image.Image) -> int:
    # Pillow decodes a whole PNG to look for EXIF behind the pixels; only what stands before them counts.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    value = image.getexif().get(_ORIENTATION_TAG, 1)
    return value if value in _TRANSPOSE else 1


def _to_rgb(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    if image.mode == "F":
        raise FormatError(
            f"{path}: floating-point pixels have no defined range.", hint="Convert it to 8 or 16 bits first."
        )
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
            raise FormatError(f"{path}: pixel values beyond 16 bits.", hint="Convert it to 8 or 16 bits first.")
        return np.repeat((values // 256).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)
