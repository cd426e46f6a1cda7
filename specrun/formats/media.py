"""Which images a trainer reads as they are, told from the first bytes, and upright copies of the rest.

Trainers read with OpenCV or Pillow, which differ in what they do with EXIF orientation, CMYK, 16 bits,
transparent palettes, TIFF pages and animations. Those become 8-bit RGB PNG by `images.read_upright_rgb`, so
that every trainer sees the pixels that the labels were drawn on. Ultralytics rewrites JPEGs without an end
marker in place, so those are copied too: a source is never altered. A PNG without its end is read to tell
whether pixels are missing, which is an error, or only the end.
Opening each image with Pillow costs 60 to 100 microseconds; the headers of JPEG and PNG are read by hand.
"""

from __future__ import annotations

import io
import os
from enum import StrEnum
from pathlib import Path
from struct import unpack, unpack_from

_HEAD_BYTES = 2048
_ORIENTATION_TAG = 0x0112
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_JPEG_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8), 0xFF))
_JPEG_FRAMES = frozenset(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC})
_PLAIN_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp"))


class Reason(StrEnum):
    """Why an image is written as an upright RGB PNG."""

    ORIENTATION = "EXIF orientation"
    CMYK = "CMYK"
    DEPTH = "more than 8 bits a channel"
    PALETTE = "a palette with transparency"
    FORMAT = "a format that trainers read differently"
    CUT_OFF = "a JPEG without its end"
    CUT_OFF_PNG = "a PNG without its end"


def reason_to_convert(path: Path | str) -> Reason | None:
    """None: a trainer reads the file as specrun does. Raises OSError."""
    file = os.open(path, os.O_RDONLY)
    try:
        head = os.pread(file, _HEAD_BYTES, 0)
        if head.startswith(b"\xff\xd8"):
            return _jpeg_reason(file, head)
        if head.startswith(_PNG_START):
            return _png_reason(file, head)
    finally:
        os.close(file)
    if head.startswith(b"BM") and os.path.splitext(path)[1].lower() == ".bmp":
        return None
    return Reason.FORMAT


def upright_png(path: Path) -> bytes:
    """The image as an upright 8-bit RGB PNG. Raises FormatError."""
    # Pillow and numpy are needed for converted images only.
    from PIL import Image

    from specrun.formats.images import read_upright_rgb

    buffer = io.BytesIO()
    Image.fromarray(read_upright_rgb(path)).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def linked_suffix(path: Path | str) -> str:
    """The suffix of a link to an image that needs no conversion."""
    suffix = "." + str(path).rpartition(".")[2].lower()
    return suffix if suffix in _PLAIN_SUFFIXES else ".jpg"


def _jpeg_reason(file: int, head: bytes) -> Reason | None:
    """Walks the segments up to the frame header. Source: ITU-T T.81, annex B."""
    at = 2
    while True:
        segment = head[at : at + 18] if at + 18 <= len(head) else os.pread(file, 18, at)
        if len(segment) < 4 or segment[0] != 0xFF:
            return Reason.FORMAT
        marker = segment[1]
        if marker in _JPEG_WITHOUT_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(segment[2:4], "big")
        if marker in _JPEG_FRAMES:
            return _frame_reason(file, segment)
        if marker == 0xDA:
            return Reason.FORMAT
        if marker == 0xE1 and segment[4:10] == b"Exif\0\0":
            body = head[at + 10 : at + 2 + length]
            if len(body) < length - 8:
                body = os.pread(file, length - 8, at + 10)
            if exif_orientation(body) != 1:
                return Reason.ORIENTATION
        at += 2 + length


def _frame_reason(file: int, segment: bytes) -> Reason | None:
    if segment[4] != 8:
        return Reason.DEPTH
    if segment[9] == 4:
        return Reason.CMYK
    end = os.fstat(file).st_size
    return None if os.pread(file, 2, end - 2) == b"\xff\xd9" else Reason.CUT_OFF


def _png_reason(file: int, head: bytes) -> Reason | None:
    """Walks the chunks before the pixels. Source: the PNG specification, third edition."""
    if len(head) < 33 or head[12:16] != b"IHDR":
        return Reason.FORMAT
    if head[24] > 8:
        return Reason.DEPTH
    at = 33
    while True:
        chunk = head[at : at + 8] if at + 8 <= len(head) else os.pread(file, 8, at)
        if len(chunk) < 8:
            return Reason.FORMAT
        length, name = unpack(">I4s", chunk)
        if name == b"IDAT":
            end = os.fstat(file).st_size
            return None if os.pread(file, len(_PNG_END), end - len(_PNG_END)) == _PNG_END else Reason.CUT_OFF_PNG
        if name == b"tRNS" and head[25] == 3:
            return Reason.PALETTE
        if name == b"acTL":
            return Reason.FORMAT
        if name == b"eXIf" and exif_orientation(os.pread(file, length, at + 8)) != 1:
            return Reason.ORIENTATION
        at += 12 + length


def exif_orientation(tiff: bytes) -> int:
    """1 to 8 out of an EXIF block that starts at its TIFF header; 1 when it says none or is broken."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 14:
        return 1
    (first,) = unpack_from(order + "I", tiff, 4)
    if first + 2 > len(tiff):
        return 1
    (count,) = unpack_from(order + "H", tiff, first)
    for entry in range(first + 2, min(first + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = unpack_from(order + "HH", tiff, entry)
        if tag == _ORIENTATION_TAG and kind == 3:
            (value,) = unpack_from(order + "H", tiff, entry + 8)
            return value if 1 <= value <= 8 else 1
    return 1
