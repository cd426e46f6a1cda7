"""Shapes of CVAT's API within the image: its server takes what reaches beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from specrun.formats.geometry import box_corners, clip_box, clip_ring, clip_to_image, polygon_area
from specrun.formats.tally import Tally
from specrun.model.labels import Box, Part, Points

Json = dict[str, Any]
_CUT = "{were} cut off at the border of the image"
_NOTHING_LEFT = "without anything to draw in the image {were} left out"


def inside_image(shape: Json, noun: str, size_wh: tuple[int, int], lost: Tally) -> Json | None:
    """The part of a shape that lies in the image; None: there is none, or it has no area or length."""
    if shape["type"] == "mask":
        return shape
    if shape["type"] == "skeleton":
        return {**shape, "elements": [_inside_element(element, size_wh, lost) for element in shape["elements"]]}
    points = np.array(shape["points"], dtype=np.float64).reshape(-1, 2)
    kept = _kept(shape, points, size_wh)
    if kept is None:
        lost.add(noun, _NOTHING_LEFT)
        return None
    if kept.shape == points.shape and np.array_equal(kept, points):
        return shape
    lost.add(noun, _CUT)
    return {**shape, "points": _flat(kept)}


def _kept(shape: Json, points: Points, size_wh: tuple[int, int]) -> Points | None:
    if not np.isfinite(points).all():
        return None
    match shape["type"]:
        case "polygon":
            ring = clip_ring(points, size_wh)
            return ring if len(ring) >= 3 and polygon_area((Part(ring),)) > 0 else None
        case "rectangle":
            return _kept_rectangle(shape, points, size_wh)
        case "points":
            inside = points[_within(points, size_wh)]
            return inside if len(inside) else None
        case _:
            reaches = (points.max(axis=0) >= 0).all() and (points.min(axis=0) <= np.array(size_wh)).all()
            line = clip_to_image(points, size_wh)
            return line if reaches and len(points) >= 2 and len(np.unique(line, axis=0)) >= 2 else None


def _kept_rectangle(shape: Json, points: Points, size_wh: tuple[int, int]) -> Points | None:
    """A turned one is kept whole where a part of it shows, since cut off it would be none."""
    (left, top), (right, bottom) = points
    if shape.get("rotation"):
        box = Box(label="", x=left, y=top, width=right - left, height=bottom - top, rotation=shape["rotation"])
        ring = clip_ring(box_corners(box), size_wh)
        return points if len(ring) >= 3 and polygon_area((Part(ring),)) > 0 else None
    cut = clip_box((left, top, right - left, bottom - top), size_wh)
    if cut is None:
        return None
    inside = points if _within(points, size_wh).all() else clip_to_image(points, size_wh)
    return inside


def _within(points: Points, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    within: NDArray[np.bool_] = np.all((points >= 0) & (points <= np.array(size_wh)), axis=1)
    return within


def _inside_element(element: Json, size_wh: tuple[int, int], lost: Tally) -> Json:
    """A skeleton keeps all its points: one beyond the image is on its border, unseen."""
    points = np.array([element["points"]], dtype=np.float64)
    if _within(points, size_wh).all():
        return element
    moved = clip_to_image(np.nan_to_num(points), size_wh)
    if not element["outside"]:
        lost.add("point", "of skeletons {lie} beyond the image and {were} sent as outside")
    return {**element, "points": _flat(moved), "outside": True}


def _flat(points: Points) -> list[float]:
    values: list[float] = np.asarray(points, dtype=np.float64).ravel().tolist()
    return values
