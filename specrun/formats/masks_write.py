"""Label maps: one class index a pixel, as MMSegmentation and others read them.

Polygons and masks are drawn by z-order, within one by area with the larger first, so that what lies nearer
and what is small stays visible. Everything else has no area and is counted.

    background: 0      pixels without a label are 0, classes are 1, 2, …
    background: null   pixels without a label are `ignore_index`, classes are 0, 1, …

Any other value puts the background there and the classes around it. A class named "background" is the
background itself.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specrun.errors import FormatError
from specrun.formats.draw_order import in_draw_order
from specrun.formats.nouns import noun_of, unknown_class
from specrun.formats.raster import rasterize_part
from specrun.formats.tally import Tally
from specrun.model.labels import Mask, Polygon, Sample

LabelMap = NDArray[np.uint8]
"""(height, width) uint8, class indices."""
RGB = tuple[int, int, int]
_BACKGROUND = "background"
_MOST_VALUES = 256


@dataclass(frozen=True)
class Indices:
    """names: by pixel value, the background among them. values: class → pixel value.
    empty: the value of pixels without a label."""

    names: tuple[str, ...]
    values: Mapping[str, int]
    empty: int
    ignore: int


def class_indices(classes: Sequence[str], background: int | None, ignore_index: int) -> Indices:
    """Raises FormatError: more classes than a byte holds, or one that falls on `ignore_index`."""
    names = list(classes)
    values: dict[str, int] = {}
    if background is not None:
        names = [name for name in names if name.casefold() != _BACKGROUND]
        if background > len(names):
            raise FormatError(f"background: {background} leaves a gap after {len(names)} classes; use 0 or null.")
        values = {name: background for name in classes if name.casefold() == _BACKGROUND}
        names.insert(background, _BACKGROUND)
    if len(names) > _MOST_VALUES or ignore_index < len(names):
        raise FormatError(
            f"{len(names)} classes leave no room for ignore_index {ignore_index} in a byte a pixel.",
            hint="Merge classes in the taxonomy, or change ignore_index.",
        )
    values |= {name: value for value, name in enumerate(names) if value != background}
    return Indices(tuple(names), values, ignore_index if background is None else background, ignore_index)


def draw_label_map(sample: Sample, indices: Indices, tally: Tally) -> LabelMap:
    """The classes of a sample's polygons and masks. Raises FormatError: a class that is not known."""
    width, height = sample.size_wh
    drawn = np.full((height, width), indices.empty, dtype=np.uint8)
    for label in in_draw_order(sample.labels):
        if not isinstance(label, Polygon | Mask):
            tally.add(noun_of(label), "{are} not part of label maps")
            continue
        if label.label not in indices.values:
            raise unknown_class(sample, label)
        _draw(drawn, label, indices.values[label.label])
    return drawn


def palette(names: Sequence[str], colors: Mapping[str, str], ignore_index: int) -> list[RGB]:
    """256 colours: the declared ones, black for the background, white for `ignore_index`, and for the rest
    those of PASCAL VOC, which spread the bits of the index over the channels."""
    chosen = [_voc_color(i) for i in range(_MOST_VALUES)]
    for i, name in enumerate(names):
        if name in colors:
            chosen[i] = _parse_color(colors[name])
        elif name == _BACKGROUND:
            chosen[i] = (0, 0, 0)
    chosen[ignore_index] = (255, 255, 255)
    return chosen


def encode_png(label_map: LabelMap, colors: Sequence[RGB]) -> bytes:
    """A palette PNG whose pixel values are the indices."""
    # Pillow is needed only where files are written.
    from PIL import Image

    image = Image.fromarray(label_map, mode="P")
    image.putpalette([channel for color in colors for channel in color])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _draw(drawn: LabelMap, shape: Polygon | Mask, value: int) -> None:
    height, width = drawn.shape
    if isinstance(shape, Polygon):
        for part in shape.parts:
            if (placed := rasterize_part(part, (width, height))) is not None:
                left, top, inside = placed
                drawn[top : top + inside.shape[0], left : left + inside.shape[1]][inside] = value
        return
    rows, columns = shape.bitmap.shape
    left, top = max(shape.left, 0), max(shape.top, 0)
    right, bottom = min(shape.left + columns, width), min(shape.top + rows, height)
    if left < right and top < bottom:
        inside = shape.bitmap[top - shape.top : bottom - shape.top, left - shape.left : right - shape.left]
        drawn[top:bottom, left:right][inside] = value


def _voc_color(index: int) -> RGB:
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= ((index >> channel) & 1) << (7 - bit)
        index >>= 3
    return channels[0], channels[1], channels[2]


def _parse_color(text: str) -> RGB:
    digits = text.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    try:
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        raise FormatError(f'"{text}" is not a color; write it like "#e6194b".') from None
    return red, green, blue
