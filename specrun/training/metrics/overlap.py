"""Intersection over union of boxes and of bitmaps that lie somewhere in an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import Bitmap

_Floats = NDArray[np.float64]
_Placed = tuple[Bitmap, int, int]
"""A bitmap with its left and top."""


def box_overlaps(boxes_xywh: _Floats, others_xywh: _Floats, crowd: NDArray[np.bool_]) -> _Floats:
    """(n, 4) and (m, 4) → (n, m). For a crowd among the others the union is the first box alone."""
    low = np.maximum(boxes_xywh[:, None, :2], others_xywh[None, :, :2])
    high = np.minimum(
        boxes_xywh[:, None, :2] + boxes_xywh[:, None, 2:], others_xywh[None, :, :2] + others_xywh[None, :, 2:]
    )
    shared = np.clip(high - low, 0, None).prod(axis=2)
    return _ratio(shared, boxes_xywh[:, 2:].prod(axis=1), others_xywh[:, 2:].prod(axis=1), crowd)


def mask_overlaps(masks: Sequence[_Placed], others: Sequence[_Placed], crowd: NDArray[np.bool_]) -> _Floats:
    """As `box_overlaps`, pixel by pixel; only the windows that two bitmaps share are compared."""
    shared = np.zeros((len(masks), len(others)))
    for i, mask in enumerate(masks):
        for j, other in enumerate(others):
            shared[i, j] = _shared_pixels(mask, other)
    areas = [np.array([np.count_nonzero(m[0]) for m in group], dtype=np.float64) for group in (masks, others)]
    return _ratio(shared, areas[0], areas[1], crowd)


def _shared_pixels(first: _Placed, second: _Placed) -> int:
    (a, a_left, a_top), (b, b_left, b_top) = first, second
    left, top = max(a_left, b_left), max(a_top, b_top)
    right = min(a_left + a.shape[1], b_left + b.shape[1])
    bottom = min(a_top + a.shape[0], b_top + b.shape[0])
    if right <= left or bottom <= top:
        return 0
    in_a = a[top - a_top : bottom - a_top, left - a_left : right - a_left]
    in_b = b[top - b_top : bottom - b_top, left - b_left : right - b_left]
    return int(np.count_nonzero(in_a & in_b))


def _ratio(shared: _Floats, areas: _Floats, other_areas: _Floats, crowd: NDArray[np.bool_]) -> _Floats:
    union = np.where(crowd[None, :], areas[:, None], areas[:, None] + other_areas[None, :] - shared)
    result: _Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result
