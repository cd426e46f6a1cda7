"""Pictures as the server keeps and hands them out: EXIF orientation, the compressed look, previews."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFile, ImageOps

ORIENTATION_TAG = 274
PREVIEW_SIZE = (256, 256)


def upright_size(content: bytes) -> tuple[int, int]:
    """Width and height after the EXIF orientation; raises PIL.UnidentifiedImageError."""
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(ORIENTATION_TAG, 1) > 4 else (width, height)


def served_original(content: bytes) -> bytes:
    """The bytes that came, unless EXIF turns the image: then it is turned and encoded again at full quality."""
    with Image.open(io.BytesIO(content)) as image:
        if image.getexif().get(ORIENTATION_TAG, 1) == 1 and image.format != "TIFF":
            return content
        _load(image)
        upright = ImageOps.exif_transpose(image)
        target = io.BytesIO()
        if image.format == "TIFF":
            upright.save(target, format="TIFF", compression="tiff_lzw")
        else:
            upright.save(target, format=image.format or "jpeg", quality=100, subsampling=0)
        return target.getvalue()


def compressed(content: bytes, quality: int) -> bytes:
    """A JPEG of the upright image; 16-bit grey is stretched and equalized, everything but grey becomes RGB."""
    with Image.open(io.BytesIO(content)) as image:
        _load(image)
        upright: Image.Image = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            upright = _to_eight_bits(upright)
        if upright.mode not in ("RGB", "L"):
            upright = upright.convert("RGB")
        target = io.BytesIO()
        upright.save(target, format="JPEG", quality=quality, optimize=True)
        return target.getvalue()


def _load(image: Image.Image) -> None:
    """The server takes images that end too early: what is missing is grey."""
    try:
        image.load()
    except OSError:
        # A switch of the whole process, which code under test must not notice: on for this one image.
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            image.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False


def _to_eight_bits(image: Image.Image) -> Image.Image:
    levels = np.asarray(image).astype(np.float64)
    levels -= levels.min()
    if peak := levels.max():
        levels *= 255 / peak
    return ImageOps.equalize(Image.fromarray(levels.astype(np.uint8)))


def preview(content: bytes) -> bytes:
    """A JPEG of at most 256 × 256."""
    with Image.open(io.BytesIO(content)) as image:
        _load(image)
        small = ImageOps.exif_transpose(image).convert("RGB")
        small.thumbnail(PREVIEW_SIZE)
        target = io.BytesIO()
        small.save(target, format="JPEG")
        return target.getvalue()
