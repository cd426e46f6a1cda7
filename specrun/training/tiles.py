"""Images in tiles, and class probabilities of tiles blended without seams, in rows that are done with at once.

The weight of a tile falls towards its edges and is scaled so that all weights of a pixel add up to one. It is a
product of a row's and a column's share, so no sum of weights is kept, and only the rows of one row of tiles are
held: an image of any height takes classes x tile height x image width x 4 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

Probabilities = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(n, h, w, 3) uint8, blue first → (n, classes, h, w) float32 in [0, 1]."""
_LEAST_WEIGHT = 1e-3
"""Of the tile's middle: a pixel that only the edge of a tile covers still has a weight to be divided by."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """size_wh: pixels. overlap: in [0, 1), the least share of a tile that its neighbour covers too."""

    size_wh: tuple[int, int]
    overlap: float


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of whole pixels inside an image."""

    left: int
    top: int
    width: int
    height: int


ReadWindow = Callable[[Window], NDArray[np.uint8]]
"""(height, width, 3) uint8, blue first."""


def tile_starts(length: int, tile: int, overlap: float) -> tuple[int, ...]:
    """Where the tiles begin along one axis: as few as keep the overlap, evenly spread, the last one at the end."""
    if length <= tile:
        return (0,)
    step = max(1, round(tile * (1 - overlap)))
    gaps = -(-(length - tile) // step)
    return tuple(round(number * (length - tile) / gaps) for number in range(gaps + 1))


def windows(image_wh: tuple[int, int], tiling: Tiling) -> tuple[Window, ...]:
    """Row by row. A tile is smaller than its size only where the image is."""
    (width, height), (tile_w, tile_h) = image_wh, tiling.size_wh
    size = min(width, tile_w), min(height, tile_h)
    rows = tile_starts(height, tile_h, tiling.overlap)
    columns = tile_starts(width, tile_w, tiling.overlap)
    return tuple(Window(left, top, *size) for top in rows for left in columns)


def axis_weights(starts: Sequence[int], tile: int, length: int) -> tuple[NDArray[np.float32], ...]:
    """For each tile along one axis (tile,) weights, which add up to one at each of the `length` pixels."""
    places = np.arange(tile) + 0.5
    falling = np.maximum(np.sin(np.pi * places / tile) ** 2, _LEAST_WEIGHT)
    total = np.zeros(length)
    for start in starts:
        total[start : start + tile] += falling
    return tuple((falling / total[start : start + tile]).astype(np.float32) for start in starts)


def blended_bands(
    read: ReadWindow, image_wh: tuple[int, int], tiling: Tiling, probabilities: Probabilities, *, batch: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(top, (classes, rows, image width)) from top to bottom, each row once. A band is valid until the next one."""
    width, height = image_wh
    tile_w, tile_h = min(width, tiling.size_wh[0]), min(height, tiling.size_wh[1])
    tops = tile_starts(height, tile_h, tiling.overlap)
    lefts = tile_starts(width, tile_w, tiling.overlap)
    across = dict(zip(lefts, axis_weights(lefts, tile_w, width), strict=True))
    down = dict(zip(tops, axis_weights(tops, tile_h, height), strict=True))
    band: NDArray[np.float32] | None = None
    rows = groupby(windows(image_wh, tiling), key=lambda window: window.top)
    for (top, row), bottom in zip(rows, (*tops[1:], height), strict=True):
        for window, found in _in_batches(read, list(row), probabilities, batch):
            if band is None:
                band = np.zeros((found.shape[0], tile_h, width), dtype=np.float32)
            weights = down[top][:, None] * across[window.left]
            band[:, :, window.left : window.left + tile_w] += found * weights
        assert band is not None
        done = bottom - top
        yield top, band[:, :done]
        left = tile_h - done
        band[:, :left] = band[:, done:].copy()
        band[:, left:] = 0


def _in_batches(
    read: ReadWindow, row: Sequence[Window], probabilities: Probabilities, batch: int
) -> Iterator[tuple[Window, NDArray[np.float32]]]:
    for start in range(0, len(row), batch):
        members = row[start : start + batch]
        yield from zip(members, probabilities(np.stack([read(window) for window in members])), strict=True)
