"""A picture as bytes that every captioner takes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from specrun.formats.images import read_orientation, read_size, read_upright_rgb

LONG_SIDE = 1024
"""Pixels; captioners look at less."""
_KNOWN = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


def picture_bytes(path: Path, longest: int = LONG_SIDE) -> tuple[bytes, str]:
    """The bytes and their content type: the file itself where it is small, upright JPEG or PNG, else a JPEG.

    Raises FormatError: no readable image.
    """
    kind = _KNOWN.get(path.suffix.lower())
    if kind and max(read_size(path)) <= longest and read_orientation(path) == 1:
        read_upright_rgb(path)  # a truncated file shows here, and not as a strange caption
        return path.read_bytes(), kind
    return _jpeg(Image.fromarray(read_upright_rgb(path)), longest), "image/jpeg"


def _jpeg(image: Image.Image, longest: int) -> bytes:
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    file = BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()
