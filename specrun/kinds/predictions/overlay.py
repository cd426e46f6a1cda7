"""The image with what was found drawn over it, for people to look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from specrun.formats.geometry import box_corners
from specrun.kinds.predictions.images import mask_window
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Polygon, Tag
from specrun.training.lettering import Color, Plates, font, letter_height

_COLORS = ("#06b6d4", "#ef4444", "#22c55e", "#f59e0b", "#8b5cf6", "#ec4899", "#84cc16", "#3b82f6")
_TINT = 0.45
_READABLE, _MOST_TIMES = 512, 4
"""Smaller images are enlarged about to this, and no more often: names would cover what they name."""


def overlay(rgb: NDArray[np.uint8], labels: Iterable[AnyLabel], classes: Sequence[str]) -> Image.Image:
    """The image with tinted masks, outlines of boxes, points, and the name and confidence of each."""
    drawn = list(labels)
    picture, times = _enlarged(_tinted(rgb, drawn, classes))
    pen = ImageDraw.Draw(picture)
    width = max(2, round(max(picture.size) / 400))
    for label in drawn:
        _outline(pen, label, _rgb(label, classes), width, times)
    # After all outlines, so that none crosses a name; the most certain, which come last, first.
    plates = Plates(pen, font(letter_height(picture.size)))
    for label in reversed(drawn):
        corner = _corner(label, times)
        if corner is not None:
            score = "" if label.score is None else f" {label.score:.2f}"
            plates.put(f"{label.label}{score}", corner, _rgb(label, classes))
    return picture


def _tinted(rgb: NDArray[np.uint8], labels: Iterable[AnyLabel], classes: Sequence[str]) -> Image.Image:
    pixels = rgb.astype(np.float32)
    for label in labels:
        if isinstance(label, Mask) and (inside := mask_window(label, (rgb.shape[1], rgb.shape[0]))) is not None:
            bitmap, left, top = inside
            window = pixels[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
            window[bitmap] = (1 - _TINT) * window[bitmap] + _TINT * np.array(_rgb(label, classes))
    return Image.fromarray(pixels.astype(np.uint8))


def _enlarged(picture: Image.Image) -> tuple[Image.Image, int]:
    times = min(_MOST_TIMES, max(1, round(_READABLE / max(picture.size))))
    if times == 1:
        return picture, 1
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC), times


def _outline(pen: Any, label: AnyLabel, color: Color, width: int, times: int) -> None:
    match label:
        case Box():
            pen.polygon([tuple(corner * times) for corner in box_corners(label)], outline=color, width=width)
        case Mask():
            bottom, right = label.top + label.bitmap.shape[0], label.left + label.bitmap.shape[1]
            box = [label.left * times, label.top * times, right * times - 1, bottom * times - 1]
            pen.rectangle(box, outline=color, width=width)
        case Polygon():
            for part in label.parts:
                for ring in (part.exterior, *part.holes):
                    pen.polygon([tuple(point * times) for point in ring], outline=color, width=width)
        case Keypoints():
            for x, y in label.points * times:
                pen.ellipse([x - 2 * width, y - 2 * width, x + 2 * width, y + 2 * width], fill=color)


def _corner(label: AnyLabel, times: int) -> tuple[float, float] | None:
    """Where its name stands: at the left end of its upper edge; None: it has no place."""
    match label:
        case Box():
            points = np.asarray(box_corners(label))
        case Mask():
            return label.left * times, label.top * times
        case Polygon():
            points = np.concatenate([part.exterior for part in label.parts])
        case Tag():
            return 0, 0
        case _:
            return None
    left, top = points.min(axis=0) * times
    return float(left), float(top)


def _rgb(label: AnyLabel, classes: Sequence[str]) -> Color:
    color = _COLORS[classes.index(label.label) % len(_COLORS)]
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
