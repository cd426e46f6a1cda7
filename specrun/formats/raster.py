"""Polygons to bitmaps and back, both exact.

The pixel rule: the pixel in column c and row r is inside when its centre (c + 0.5, r + 0.5) is inside;
a centre that lies on an edge counts when the edge is a left or upper one. So a box (0, 0, w, h) covers
w x h pixels, as in COCO. A ring fills even-odd, like COCO's API, OpenCV's fillPoly and FiftyOne.
OpenCV was not used to draw: fillPoly paints the outline as well, half a pixel too much on every side;
COCO's API rounds to fifths of a pixel. OpenCV was not used to trace: findContours follows pixel
centres, so that single pixels and thin lines have no area.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import Bitmap, Part, Points

_Index = NDArray[np.int64]


def rasterize(parts: Sequence[Part], size_wh: tuple[int, int]) -> Bitmap:
    """The pixels inside any part and in none of that part's holes, as a bitmap of the whole image.

    Anything outside the image is cut off.
    """
    bitmap = np.zeros((size_wh[1], size_wh[0]), dtype=bool)
    for part in parts:
        if (placed := rasterize_part(part, size_wh)) is not None:
            left, top, inside = placed
            bitmap[top : top + inside.shape[0], left : left + inside.shape[1]] |= inside
    return bitmap


def rasterize_part(part: Part, size_wh: tuple[int, int]) -> tuple[int, int, Bitmap] | None:
    """Left, top and the pixels of one part in its own window of the image; None: it lies outside."""
    window = _window(part.exterior, size_wh)
    if window is None:
        return None
    inside = _fill(part.exterior, window)
    for hole in part.holes:
        inside &= ~_fill(hole, window)
    return window[0], window[1], inside


def bitmap_to_parts(bitmap: Bitmap) -> tuple[Part, ...]:
    """The outlines along the pixel borders, so that `rasterize` gives the same bitmap again.

    One part for each 4-connected region, ordered by its topmost corner; pixels that touch at a corner only
    are parts of their own. Rings are simple; exteriors run clockwise on the screen, holes the other way.
    """
    pixels = np.pad(np.asarray(bitmap, dtype=bool), 1)
    rings = [simple for ring in _border_rings(pixels) for simple in split_at_repeats(ring)]
    exteriors: list[Points] = []
    holes: list[Points] = []
    for ring in rings:
        column, row = _topmost_corner(ring)
        is_exterior = bool(pixels[int(row) + 1, int(column) + 1])
        oriented = ring if (signed_area(ring) > 0) == is_exterior else ring[::-1]
        (exteriors if is_exterior else holes).append(oriented)
    exteriors.sort(key=lambda ring: _topmost_corner(ring)[::-1])
    holes.sort(key=lambda ring: _topmost_corner(ring)[::-1])
    return nest_holes(exteriors, holes)


def nest_holes(exteriors: Sequence[Points], holes: Sequence[Points]) -> tuple[Part, ...]:
    """Each hole put into the smallest exterior around it; a hole outside all of them is left out."""
    owned: list[list[Points]] = [[] for _ in exteriors]
    areas = [abs(signed_area(ring)) for ring in exteriors]
    boxes = [(*ring.min(axis=0), *ring.max(axis=0)) for ring in exteriors]
    for hole in holes:
        left, top = hole.min(axis=0)
        right, bottom = hole.max(axis=0)
        point = point_inside(hole)
        size = abs(signed_area(hole))
        around = [
            i
            for i, box in enumerate(boxes)
            if box[0] <= left and box[1] <= top and box[2] >= right and box[3] >= bottom and areas[i] > size
            if ring_contains(exteriors[i], point)
        ]
        if around:
            owned[min(around, key=lambda i: areas[i])].append(hole)
    return tuple(Part(ring, tuple(inner)) for ring, inner in zip(exteriors, owned, strict=True))


def open_ring(points: Points) -> Points:
    """Without repeated neighbours and without a last point that repeats the first."""
    if len(points) < 2:
        return points
    differs = np.any(points != np.roll(points, 1, axis=0), axis=1)
    if not differs.any():
        return points[:1]
    return points[differs] if differs[0] else np.roll(points[differs], 1, axis=0)


def signed_area(ring: Points) -> float:
    """Shoelace area; positive for rings that run clockwise on the screen (y down)."""
    moved = ring - ring[0]
    x, y = moved[:, 0], moved[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def ring_contains(ring: Points, point: tuple[float, float]) -> bool:
    """Even-odd, with the edges' half-open rule of `rasterize`."""
    px, py = point
    x0, y0 = ring[:, 0], ring[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    crosses = (y0 <= py) != (y1 <= py)
    if not crosses.any():
        return False
    x0, y0, x1, y1 = x0[crosses], y0[crosses], x1[crosses], y1[crosses]
    return bool(np.count_nonzero(x0 + (py - y0) * (x1 - x0) / (y1 - y0) <= px) % 2)


def split_at_repeats(ring: Points) -> list[Points]:
    """A ring that comes back to one of its points, as the simple rings between; fills the same even-odd."""
    if len(np.unique(ring, axis=0)) == len(ring):
        return [ring]
    simple: list[Points] = []
    path: list[tuple[float, float]] = []
    seen: dict[tuple[float, float], int] = {}
    for point in map(tuple, ring.tolist()):
        if point in seen:
            start = seen[point]
            loop = path[start:]
            if len(loop) >= 3:
                simple.append(np.array(loop, dtype=np.float64))
            for gone in path[start + 1 :]:
                del seen[gone]
            del path[start + 1 :]
        else:
            seen[point] = len(path)
            path.append(point)
    if len(path) >= 3:
        simple.append(np.array(path, dtype=np.float64))
    return simple


def _window(ring: Points, size_wh: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """left, top, right, bottom of the pixels that a ring can touch; None: none of the image's."""
    if len(ring) < 3:
        return None
    low = np.floor(ring.min(axis=0))
    high = np.ceil(ring.max(axis=0))
    left, top = int(max(low[0], 0)), int(max(low[1], 0))
    right, bottom = int(min(high[0], size_wh[0])), int(min(high[1], size_wh[1]))
    return (left, top, right, bottom) if left < right and top < bottom else None


def _fill(ring: Points, window: tuple[int, int, int, int]) -> Bitmap:
    """Even-odd: every edge toggles, in each row whose centre line it crosses, all pixels right of it."""
    left, top, right, bottom = window
    width, height = right - left, bottom - top
    x0, y0 = ring[:, 0] - left, ring[:, 1] - top
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(np.int64)
    lengths = last - first
    edges = np.repeat(np.arange(len(ring)), lengths)
    rows = np.arange(edges.size) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[edges]
    slopes = (x1 - x0)[edges] / (y1 - y0)[edges]
    crossings = x0[edges] + (rows + 0.5 - y0[edges]) * slopes
    columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
    toggles = np.bincount(rows * (width + 1) + columns, minlength=height * (width + 1)).astype(np.uint8) & 1
    flags: Bitmap = np.bitwise_xor.accumulate(toggles.reshape(height, width + 1)[:, :-1], axis=1).astype(bool)
    return flags


def _border_rings(pixels: Bitmap) -> list[Points]:
    """Every border of a padded bitmap, as its corners alone.

    A corner is a lattice point whose four pixels hold one or three set ones, or two diagonal ones (then it is
    two corners). Within a row the corners pair up to horizontal edges, within a column to vertical ones.
    """
    a, b, c, d = pixels[:-1, :-1], pixels[:-1, 1:], pixels[1:, :-1], pixels[1:, 1:]
    odd = a ^ b ^ c ^ d
    falling = a & d & ~b & ~c
    rising = b & c & ~a & ~d
    ys, xs = np.nonzero(odd | falling | rising)
    double = (falling | rising)[ys, xs]
    origin = np.repeat(np.arange(ys.size), np.where(double, 2, 1))
    ys, xs, is_rising = ys[origin], xs[origin], rising[ys, xs][origin]
    second = np.zeros(origin.size, dtype=bool)
    second[1:] = origin[1:] == origin[:-1]
    # The first copy of a double corner owns its left edge. With set pixels at top-left and bottom-right it
    # goes on upwards, otherwise downwards, so that an outline stays with its own pixel.
    lower = np.where(double[origin], second ^ is_rising, False)
    across = _pairs(np.arange(ys.size))
    down = _pairs(np.lexsort((lower, ys, xs)))
    return _walk(np.stack([xs, ys], axis=1).astype(np.float64), across.tolist(), down.tolist())


def _pairs(order: _Index) -> _Index:
    partner = np.empty(order.size, dtype=np.int64)
    partner[order[0::2]] = order[1::2]
    partner[order[1::2]] = order[0::2]
    return partner


def _walk(corners: Points, across: list[int], down: list[int]) -> list[Points]:
    unseen = bytearray(b"\1" * len(across))
    rings: list[Points] = []
    for start in range(len(across)):
        if not unseen[start]:
            continue
        path: list[int] = []
        at = start
        while unseen[at]:
            other = across[at]
            path += (at, other)
            unseen[at] = unseen[other] = 0
            at = down[other]
        rings.append(corners[path])
    return rings


def _topmost_corner(ring: Points) -> tuple[float, float]:
    """The leftmost of the topmost points, as x, y."""
    i = np.lexsort((ring[:, 0], ring[:, 1]))[0]
    return float(ring[i, 0]), float(ring[i, 1])


def point_inside(ring: Points) -> tuple[float, float]:
    """Some point strictly inside a simple ring: the middle of the widest run along one scan line."""
    ys = np.unique(ring[:, 1])
    y = float((ys[0] + ys[1]) / 2) if len(ys) > 1 else float(ys[0])
    x0, y0 = ring[:, 0], ring[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    crosses = (y0 <= y) != (y1 <= y)
    if not crosses.any():
        return float(ring[0, 0]), float(ring[0, 1])
    x0, y0, x1, y1 = x0[crosses], y0[crosses], x1[crosses], y1[crosses]
    xs = np.sort(x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    widest = int(np.argmax(xs[1::2] - xs[0::2])) * 2
    return float((xs[widest] + xs[widest + 1]) / 2), y
