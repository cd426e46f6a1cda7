"""Labels drawn on the pixels as stored in the file, moved to the upright image (EXIF orientation applied).

Only the orientations that swap width and height matter here: the others cannot be told from the size that
an annotation file states, and tools that state a size either apply all of them or none.
Source: the EXIF specification 2.32, tag 0x0112.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from specrun.model.labels import AnyLabel, Bitmap, Box, Keypoints, Mask, Part, Points, Polygon, Polyline, Tag

TURNED = (5, 6, 7, 8)
"""Orientations that swap width and height."""
_MIRRORED = (5, 7)


def labels_to_upright(label: AnyLabel, orientation: int, stored_wh: tuple[int, int]) -> AnyLabel:
    """orientation: one of `TURNED`. stored_wh: size before it is applied."""

    def turn(points: Points) -> Points:
        return points_to_upright(points, orientation, stored_wh)

    match label:
        case Tag():
            return label
        case Box():
            x, y, width, height = _turn_box((label.x, label.y, label.width, label.height), orientation, stored_wh)
            rotation = -label.rotation if orientation in _MIRRORED else label.rotation
            return replace(label, x=x, y=y, width=width, height=height, rotation=rotation)
        case Polygon():
            parts = (Part(turn(part.exterior), tuple(turn(hole) for hole in part.holes)) for part in label.parts)
            return replace(label, parts=tuple(parts))
        case Mask():
            height_px, width_px = label.bitmap.shape
            left, top, _, _ = _turn_box((label.left, label.top, width_px, height_px), orientation, stored_wh)
            return replace(label, bitmap=_turn_bitmap(label.bitmap, orientation), left=int(left), top=int(top))
        case Polyline():
            return replace(label, points=turn(label.points))
        case Keypoints():
            box = None if label.box is None else _turn_box(label.box, orientation, stored_wh)
            return replace(label, points=turn(label.points), box=box)


def points_to_upright(points: Points, orientation: int, stored_wh: tuple[int, int]) -> Points:
    """(n, 2) pixels of the stored image → (n, 2) pixels of the upright one."""
    width, height = stored_wh
    x, y = points[:, 0], points[:, 1]
    turned = {
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }[orientation]
    return np.stack(turned, axis=1)


def _turn_box(
    box: tuple[float, float, float, float], orientation: int, stored_wh: tuple[int, int]
) -> tuple[float, float, float, float]:
    x, y, width, height = box
    corners = points_to_upright(np.array([[x, y], [x + width, y + height]], dtype=np.float64), orientation, stored_wh)
    left, top = corners.min(axis=0).tolist()
    return left, top, height, width


def _turn_bitmap(bitmap: Bitmap, orientation: int) -> Bitmap:
    turned = {
        5: lambda b: b.T,
        6: lambda b: np.rot90(b, -1),
        7: lambda b: np.rot90(b, 2).T,
        8: lambda b: np.rot90(b, 1),
    }[orientation](bitmap)
    return np.ascontiguousarray(turned)
