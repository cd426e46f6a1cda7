"""Shapes of the API as pixels and as outlines. Masks come as run lengths, row by row, with their box at the end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from tests.doubles.cvat.state import Json

Pixels = npt.NDArray[np.uint8]


def mask_pixels(points: list[float], size_wh: tuple[int, int]) -> Pixels:
    """(height, width) of 0 and 1. The runs start with background."""
    width, height = size_wh
    left, top, right, bottom = (int(value) for value in points[-4:])
    runs = [int(value) for value in points[:-4]]
    flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
    box = (bottom - top + 1, right - left + 1)
    window = np.resize(np.pad(flat, (0, max(0, box[0] * box[1] - flat.size))), box)
    whole: Pixels = np.zeros((height, width), np.uint8)
    visible = window[max(0, -top) : height - top, max(0, -left) : width - left]
    y, x = max(0, top), max(0, left)
    whole[y : y + visible.shape[0], x : x + visible.shape[1]] = visible
    return whole


def mask_points(pixels: Pixels) -> list[float]:
    """Run lengths within the tight box, then left, top, right, bottom (inclusive)."""
    rows, columns = np.nonzero(pixels)
    left, top, right, bottom = columns.min(), rows.min(), columns.max(), rows.max()
    flat = pixels[top : bottom + 1, left : right + 1].ravel().astype(np.int64)
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate(([0], changes, [flat.size]))
    runs = np.diff(edges)
    if flat[0]:
        runs = np.concatenate(([0], runs))
    return [float(value) for value in (*runs, left, top, right, bottom)]


def ellipse_pixels(shape: Json, size_wh: tuple[int, int]) -> Pixels:
    """Half a pixel wider than the curve, as the server draws it."""
    cx, cy, right, top = shape["points"]
    angle = np.deg2rad(shape.get("rotation", 0))
    y, x = np.mgrid[: size_wh[1], : size_wh[0]]
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    inside = (along / (right - cx + 0.5)) ** 2 + (across / (cy - top + 0.5)) ** 2 <= 1
    return np.asarray(inside, np.uint8)


def corners(shape: Json) -> list[float]:
    """The outline of a rectangle (turned by its rotation, clockwise in degrees) or a polygon: x, y, x, y, …"""
    points = [float(value) for value in shape["points"]]
    if shape["type"] != "rectangle":
        return points
    x0, y0, x1, y1 = points
    box = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    angle = np.deg2rad(shape.get("rotation", 0))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = box.mean(axis=0)
    return [float(value) for value in ((box - centre) @ turn + centre).ravel()]


def polygons_pixels(polygons: list[list[float]], size_wh: tuple[int, int]) -> Pixels:
    width, height = size_wh
    return np.asarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))), np.uint8)


def polygons_area(polygons: list[list[float]], size_wh: tuple[int, int]) -> float:
    """In pixels, as COCO counts them."""
    width, height = size_wh
    return float(coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))))


def pixels(shape: Json, size_wh: tuple[int, int]) -> Pixels:
    """Of a mask, ellipse, rectangle or polygon."""
    match shape["type"]:
        case "mask":
            return mask_pixels(shape["points"], size_wh)
        case "ellipse":
            return ellipse_pixels(shape, size_wh)
        case _:
            return polygons_pixels([corners(shape)], size_wh)


def uncompressed(mask: Pixels) -> dict[str, list[int]]:
    """COCO run lengths, column by column."""
    flat = mask.ravel(order="F").astype(np.int64)
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate(([0], changes, [flat.size])))
    counts = [int(run) for run in runs]
    return {"counts": [0, *counts] if flat[0] else counts, "size": list(mask.shape)}


def tight_box_xywh(mask: Pixels) -> list[float]:
    found = coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask)))
    return [float(value) for value in found]


def outline(mask: Pixels) -> list[list[float]]:
    """Outer borders of the connected parts (8 neighbours) through the centres of their border pixels.

    Counter-clockwise from the uppermost pixel back to itself, as the server's. Its outlines have fewer points.
    """
    left = mask.astype(bool).copy()
    found = []
    while left.any():
        row, column = np.argwhere(left)[0]
        border = _follow(left, int(row), int(column))
        first, *others = _straightened(border)
        around = (first, *reversed(others), first)
        found.append([float(value) for x, y in around for value in (x, y)])
        _erase(left, int(row), int(column))
    return found


_AROUND = ((0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1))


def _follow(mask: npt.NDArray[np.bool_], row: int, column: int) -> list[tuple[int, int]]:
    """Moore's neighbour tracing from the first pixel in reading order: (x, y) of the border pixels."""

    def is_set(y: int, x: int) -> bool:
        return 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and bool(mask[y, x])

    border, came_from = [(column, row)], 0
    y, x = row, column
    first_step = None
    while True:
        for turn in range(8):
            direction = (came_from + turn) % 8
            dy, dx = _AROUND[direction]
            if is_set(y + dy, x + dx):
                break
        else:
            return border
        if (y, x) == (row, column):
            if first_step is None:
                first_step = direction
            elif first_step == direction:
                return border[:-1]
        y, x = y + dy, x + dx
        border.append((x, y))
        came_from = (direction + 6) % 8 if direction % 2 == 0 else (direction + 5) % 8


def _straightened(border: list[tuple[int, int]]) -> list[tuple[int, int]]:
    count = len(border)
    kept = []
    for number, (x, y) in enumerate(border):
        (x0, y0), (x1, y1) = border[number - 1], border[(number + 1) % count]
        if (x - x0, y - y0) != (x1 - x, y1 - y):
            kept.append((x, y))
    return kept or border


def _erase(mask: npt.NDArray[np.bool_], row: int, column: int) -> None:
    waiting = [(row, column)]
    while waiting:
        y, x = waiting.pop()
        if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]:
            mask[y, x] = False
            waiting.extend((y + dy, x + dx) for dy, dx in _AROUND)
