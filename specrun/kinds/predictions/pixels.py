"""Windows of an image for a model that looks at tiles.

A TIFF is decoded strip by strip or tile by tile. Other formats cannot: a JPEG or PNG is decoded wholly, three
bytes a pixel, and stays so while its tiles are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specrun.errors import FormatError
from specrun.formats.tiff_windows import tiff_windows
from specrun.kinds.predictions.images import read_for_model
from specrun.training.tiles import ReadWindow, Window

_TIFF_SUFFIXES = (".tif", ".tiff")


@contextmanager
def open_for_model(path: Path) -> Iterator[tuple[tuple[int, int], ReadWindow]]:
    """Implements training.predictor.OpenImage: blue first. Raises FormatError."""
    if path.suffix.lower() not in _TIFF_SUFFIXES:
        yield _whole(path)
        return
    with tiff_windows(path) as tiff:
        if tiff is None:
            yield _whole(path)
            return

        def read(window: Window) -> NDArray[np.uint8]:
            try:
                rgb = tiff.read(window.left, window.top, window.width, window.height)
            except (OSError, ValueError) as error:
                raise FormatError(f"{path}: not a readable image ({error}).") from error
            return np.ascontiguousarray(rgb[:, :, ::-1])

        yield tiff.size_wh, read


def _whole(path: Path) -> tuple[tuple[int, int], ReadWindow]:
    pixels = read_for_model(path)

    def cut(window: Window) -> NDArray[np.uint8]:
        return pixels[window.top : window.top + window.height, window.left : window.left + window.width]

    return (pixels.shape[1], pixels.shape[0]), cut
