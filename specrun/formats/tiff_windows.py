"""Windows of a TIFF, decoding only the strips or tiles that they touch.

Pillow decodes a whole image or nothing. So each strip or tile is put behind a header of its own, as a small TIFF
of one strip, and Pillow decodes that, whatever the compression. What is not covered is left to a whole read:
several planes, other than 8 bits a channel, palettes, colours other than gray and RGB, an orientation.
Source: TIFF revision 6.0, and its Technical Note 2 for JPEG.
"""

from __future__ import annotations

import io
import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_Pixels = NDArray[np.uint8]
_CACHED_BYTES = 96 << 20
"""Neighbouring windows share segments."""
_GRAY, _RGB, _YCBCR = 1, 2, 6
_JPEG = 7
_COMPRESSIONS = frozenset((1, 5, 7, 8, 32773, 32946, 50000))
_SHORT, _LONG = 3, 4


@dataclass(frozen=True, slots=True)
class _Layout:
    """Of the file's segments. size_wh: of the image; segment_wh: of one of them."""

    size_wh: tuple[int, int]
    segment_wh: tuple[int, int]
    tiled: bool
    offsets: Sequence[int]
    lengths: Sequence[int]
    compression: int
    photometric: int
    samples: int
    predictor: int
    extra: Sequence[int]
    jpeg_tables: bytes
    subsampling: Sequence[int]


class TiffWindows:
    """An open TIFF. Thread-unsafe: one file position, one cache."""

    def __init__(self, file: BinaryIO, layout: _Layout) -> None:
        self._file = file
        self._layout = layout
        self._cache: OrderedDict[int, _Pixels] = OrderedDict()
        self._held = 0
        self.size_wh = layout.size_wh

    def read(self, left: int, top: int, width: int, height: int) -> _Pixels:
        """(height, width, 3) uint8 RGB. Raises OSError: a segment cannot be decoded."""
        layout = self._layout
        made = np.empty((height, width, 3), dtype=np.uint8)
        seg_w, seg_h = layout.segment_wh
        across = -(-layout.size_wh[0] // seg_w)
        for row in range(top // seg_h, -(-(top + height) // seg_h)):
            for column in range(left // seg_w, -(-(left + width) // seg_w)):
                x, y = column * seg_w, row * seg_h
                x0, y0 = max(left, x), max(top, y)
                x1, y1 = min(left + width, x + seg_w), min(top + height, y + seg_h)
                pixels = self._segment(row * across + column, row)
                made[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0 - y : y1 - y, x0 - x : x1 - x]
        return made

    def _segment(self, number: int, row: int) -> _Pixels:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        layout = self._layout
        height = layout.segment_wh[1]
        if not layout.tiled:  # the last strip ends with the image
            height = min(height, layout.size_wh[1] - row * height)
        self._file.seek(layout.offsets[number])
        content = self._file.read(layout.lengths[number])
        with Image.open(io.BytesIO(_single_strip(layout, height, content)), formats=("TIFF",)) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
        self._cache[number] = pixels
        self._held += pixels.nbytes
        while self._held > _CACHED_BYTES and len(self._cache) > 1:
            self._held -= self._cache.popitem(last=False)[1].nbytes
        return pixels


@contextmanager
def tiff_windows(path: Path) -> Iterator[TiffWindows | None]:
    """None: not a TIFF that can be read in windows."""
    layout = _layout_of(path)
    if layout is None:
        yield None
        return
    with open(path, "rb") as file:
        yield TiffWindows(file, layout)


def _layout_of(path: Path) -> _Layout | None:
    try:
        with Image.open(path, formats=("TIFF",)) as image:
            tags: Any = image.tag_v2  # type: ignore[attr-defined]
            size_wh = image.size
            usable = image.mode in ("RGB", "L", "RGBA", "RGBX")
            layout = _layout(tags, size_wh) if usable else None
    except (OSError, SyntaxError, ValueError, KeyError, TypeError):
        return None
    return layout


def _layout(tags: Any, size_wh: tuple[int, int]) -> _Layout | None:
    bits, photometric, compression = _values(tags, 258, (1,)), tags.get(262), tags.get(259, 1)
    plain = set(bits) == {8} and tags.get(274, 1) == 1 and tags.get(284, 1) == 1 and tags.get(266, 1) == 1
    colors = photometric in (_GRAY, _RGB) or (photometric == _YCBCR and compression == _JPEG)
    if not plain or not colors or compression not in _COMPRESSIONS:
        return None
    tiled = 324 in tags
    if tiled:
        segment_wh = int(tags[322]), int(tags[323])
    else:
        segment_wh = size_wh[0], min(int(tags.get(278, size_wh[1])), size_wh[1])
    offsets, lengths = _values(tags, 324 if tiled else 273), _values(tags, 325 if tiled else 279)
    count = -(-size_wh[0] // segment_wh[0]) * -(-size_wh[1] // segment_wh[1])
    if len(offsets) != count or len(lengths) != count or not all(lengths):
        return None
    return _Layout(
        size_wh=size_wh,
        segment_wh=segment_wh,
        tiled=tiled,
        offsets=offsets,
        lengths=lengths,
        compression=compression,
        photometric=photometric,
        samples=int(tags.get(277, 1)),
        predictor=int(tags.get(317, 1)),
        extra=_values(tags, 338),
        jpeg_tables=bytes(tags.get(347, b"")),
        subsampling=_values(tags, 530),
    )


def _values(tags: Any, tag: int, otherwise: tuple[int, ...] = ()) -> tuple[int, ...]:
    found = tags.get(tag, otherwise)
    return tuple(int(value) for value in found) if isinstance(found, tuple | list) else (int(found),)


def _single_strip(layout: _Layout, height: int, content: bytes) -> bytes:
    """A TIFF whose only strip is one segment of the file."""
    entries: dict[int, tuple[int, Sequence[int]]] = {
        256: (_LONG, [layout.segment_wh[0]]),
        257: (_LONG, [height]),
        258: (_SHORT, [8] * layout.samples),
        259: (_SHORT, [layout.compression]),
        262: (_SHORT, [layout.photometric]),
        273: (_LONG, [0]),
        277: (_SHORT, [layout.samples]),
        278: (_LONG, [height]),
        279: (_LONG, [len(content)]),
        284: (_SHORT, [1]),
    }
    if layout.predictor != 1:
        entries[317] = (_SHORT, [layout.predictor])
    if layout.extra:
        entries[338] = (_SHORT, layout.extra)
    if layout.jpeg_tables:
        entries[347] = (7, layout.jpeg_tables)
    if layout.subsampling:
        entries[530] = (_SHORT, layout.subsampling)
    return _write_tiff(entries, content)


def _write_tiff(entries: dict[int, tuple[int, Sequence[int]]], content: bytes) -> bytes:
    """Little-endian, the strip behind the directory and its longer values."""
    codes = {_SHORT: "H", _LONG: "I", 7: "B"}
    after = 8 + 2 + 12 * len(entries) + 4
    packed = {tag: struct.pack(f"<{len(values)}{codes[kind]}", *values) for tag, (kind, values) in entries.items()}
    longer = sum(len(value) + len(value) % 2 for value in packed.values() if len(value) > 4)
    packed[273] = struct.pack("<I", after + longer)
    directory, values = b"", b""
    for tag in sorted(entries):
        kind, numbers = entries[tag]
        place = packed[tag].ljust(4, b"\0")
        if len(packed[tag]) > 4:
            place = struct.pack("<I", after + len(values))
            values += packed[tag] + b"\0" * (len(packed[tag]) % 2)
        directory += struct.pack("<HHI", tag, kind, len(numbers)) + place
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return head + directory + struct.pack("<I", 0) + values + content
