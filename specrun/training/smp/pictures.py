"""Pictures of a few images beside their labels and what the model makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from specrun.training.smp.data import IGNORED

_COLORS = ((6, 182, 212), (239, 68, 68), (34, 197, 94), (245, 158, 11), (139, 92, 246), (236, 72, 153), (132, 204, 22))
_TINT = 0.5
_GAP = 4


def save_rows(path: Path, rows: Sequence[Sequence[NDArray[np.uint8]]]) -> None:
    """One row an image, of (h, w, 3) pictures of one height."""
    heights = [row[0].shape[0] for row in rows]
    width = max(sum(part.shape[1] for part in row) + _GAP * (len(row) - 1) for row in rows)
    canvas = np.full((sum(heights) + _GAP * (len(rows) - 1), width, 3), 255, dtype=np.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for part in row:
            canvas[top : top + height, left : left + part.shape[1]] = part
            left += part.shape[1] + _GAP
        top += height + _GAP
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(canvas).save(path)


def tinted(
    image: NDArray[np.uint8], values: NDArray[np.uint8], background: int | None, colors: Sequence[Sequence[int]] = ()
) -> NDArray[np.uint8]:
    """values: class numbers, (h, w); the background and what is ignored keep the image's own colour."""
    palette = colors or _COLORS
    pixels = image.astype(np.float32)
    for value in np.unique(values):
        if value in (IGNORED, background):
            continue
        inside = values == value
        pixels[inside] = (1 - _TINT) * pixels[inside] + _TINT * np.asarray(palette[int(value) % len(palette)])
    return pixels.astype(np.uint8)
