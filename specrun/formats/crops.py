"""Resizing, padding and cropping an image together with its label map.

Always in this order: resize, pad, center crop, grid crop. Sizes are width, height in pixels. What is added is
black in the image and `ignore_index` in the label map, at the right and the bottom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specrun.formats.masks_write import Indices, LabelMap

Pixels = NDArray[np.uint8]
"""(height, width, 3) uint8."""


@dataclass(frozen=True)
class Pair:
    """An image and its label map, and where in the transformed image they were cut out."""

    image: Pixels
    labels: LabelMap
    left: int = 0
    top: int = 0


@dataclass(frozen=True)
class Grid:
    """threshold: percent of a window's pixels that must be foreground (neither background nor ignored)."""

    size_wh: tuple[int, int]
    stride_xy: tuple[int, int]
    threshold: float = 0.0


def resize(pair: Pair, size_wh: tuple[int, int]) -> Pair:
    """Pillow's antialiased bilinear filter for the image, the nearest pixel for the labels."""
    # Pillow is needed only where images are written.
    from PIL import Image

    image = Image.fromarray(pair.image).resize(size_wh, Image.Resampling.BILINEAR)
    labels = Image.fromarray(pair.labels).resize(size_wh, Image.Resampling.NEAREST)
    return Pair(np.asarray(image), np.asarray(labels))


def fit(size_wh: tuple[int, int], longer: int) -> tuple[int, int]:
    """The size with its longer side as given and the same proportions."""
    scale = longer / max(size_wh)
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def pad(pair: Pair, size_wh: tuple[int, int], ignore_index: int) -> Pair:
    """At least this large."""
    height, width = pair.labels.shape
    right, bottom = max(0, size_wh[0] - width), max(0, size_wh[1] - height)
    if not right and not bottom:
        return pair
    image = np.pad(pair.image, ((0, bottom), (0, right), (0, 0)))
    return Pair(image, np.pad(pair.labels, ((0, bottom), (0, right)), constant_values=ignore_index))


def center_crop(pair: Pair, size_wh: tuple[int, int]) -> Pair:
    """At most this large, from the middle."""
    height, width = pair.labels.shape
    left, top = max(0, (width - size_wh[0]) // 2), max(0, (height - size_wh[1]) // 2)
    rows, columns = slice(top, top + size_wh[1]), slice(left, left + size_wh[0])
    return Pair(pair.image[rows, columns], pair.labels[rows, columns], left, top)


def grid_crops(pair: Pair, grid: Grid, indices: Indices) -> Iterator[Pair]:
    """Windows from the top left, row by row; the last of a row or column is moved inwards to end with the
    image, so that every pixel is in one. Windows below the threshold are left out."""
    padded = pad(pair, grid.size_wh, indices.ignore)
    height, width = padded.labels.shape
    for top in _starts(height, grid.size_wh[1], grid.stride_xy[1]):
        for left in _starts(width, grid.size_wh[0], grid.stride_xy[0]):
            rows, columns = slice(top, top + grid.size_wh[1]), slice(left, left + grid.size_wh[0])
            labels = padded.labels[rows, columns]
            foreground = np.count_nonzero((labels != indices.empty) & (labels != indices.ignore))
            if 100 * foreground >= grid.threshold * labels.size:
                yield Pair(padded.image[rows, columns], labels, left, top)


def _starts(length: int, size: int, stride: int) -> list[int]:
    starts = list(range(0, length - size + 1, stride))
    if starts[-1] + size < length:
        starts.append(length - size)
    return starts
