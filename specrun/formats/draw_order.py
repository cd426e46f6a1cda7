"""In which order shapes are painted over each other, wherever a pixel can have one class only."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from specrun.formats.geometry import polygon_area
from specrun.model.labels import AnyLabel, Box, Mask, Polygon


def in_draw_order(labels: Iterable[AnyLabel]) -> list[AnyLabel]:
    """By z-order, within one by area with the larger first: what lies nearer and what is small stays visible."""
    return sorted(labels, key=lambda label: (label.z_order, -_area(label)))


def _area(label: AnyLabel) -> float:
    match label:
        case Polygon():
            return polygon_area(label.parts)
        case Mask():
            return float(np.count_nonzero(label.bitmap))
        case Box():
            return label.width * label.height
        case _:
            return 0.0
