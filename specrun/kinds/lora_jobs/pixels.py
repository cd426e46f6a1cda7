"""Pixels of the images that a LoRA job learns, and which of them labels cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from specrun.formats.geometry import box_to_part
from specrun.formats.images import read_upright_rgb
from specrun.formats.raster import rasterize
from specrun.model.labels import AnyLabel, Box, Mask, Polygon
from specrun.training.lora.pictures import Pixels


def pixels() -> Pixels:
    return Pixels(read_upright_rgb, covered)


def covered(labels: Sequence[AnyLabel], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """(h, w): inside any box, polygon or mask."""
    found = np.zeros((size_wh[1], size_wh[0]), dtype=bool)
    for label in labels:
        match label:
            case Mask():
                height, width = label.bitmap.shape
                found[label.top : label.top + height, label.left : label.left + width] |= label.bitmap
            case Polygon():
                found |= rasterize(label.parts, size_wh)
            case Box():
                found |= rasterize((box_to_part(label),), size_wh)
            case _:
                pass
    return found
