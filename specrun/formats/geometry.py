"""Shapes in pixels: corners, boxes, areas, clipping and mending. The pixel rule stands in `raster`.

Rings are open (the first point is not repeated) and fill even-odd.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, hypot, radians, sin

import numpy as np

from specrun.formats.raster import bitmap_to_parts, open_ring, rasterize, ring_contains, signed_area
from specrun.formats.repair import repair_part, repair_ring
from specrun.model.labels import Box, Mask, Part, Points

__all__ = [
    "bitmap_to_parts",
    "box_corners",
    "box_to_part",
    "bridge_holes",
    "bridge_parts",
    "clip_box",
    "clip_parts",
    "clip_ring",
    "clip_to_image",
    "corners_to_box",
    "is_rectangle",
    "mask_box",
    "mask_to_parts",
    "open_ring",
    "parts_overlap",
    "points_box",
    "polygon_area",
    "polygon_box",
    "rasterize",
    "repair_part",
    "repair_ring",
    "ring_contains",
    "signed_area",
    "smallest_rectangle",
]

XYWH = tuple[float, float, float, float]
"""Left, top, width, height in pixels."""
_BLOCK = 1 << 22


def polygon_area(parts: Sequence[Part]) -> float:
    """Square pixels: the exteriors less their holes. Parts that overlap count twice."""
    return sum(
        abs(signed_area(part.exterior)) - sum(abs(signed_area(hole)) for hole in part.holes)
        for part in parts
        if len(part.exterior)
    )


def polygon_box(parts: Sequence[Part]) -> XYWH:
    """The box around all exteriors; raises ValueError when there are no points."""
    return points_box(np.concatenate([part.exterior for part in parts]) if parts else np.zeros((0, 2)))


def points_box(points: Points) -> XYWH:
    """The box around points; raises ValueError when there are none."""
    if not len(points):
        raise ValueError("no points, so no box")
    left, top = points.min(axis=0).tolist()
    right, bottom = points.max(axis=0).tolist()
    return left, top, right - left, bottom - top


def mask_box(mask: Mask) -> XYWH | None:
    """The box around the set pixels, in the image; None: no pixel is set."""
    rows = np.flatnonzero(mask.bitmap.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask.bitmap.any(axis=0))
    left, top = mask.left + int(columns[0]), mask.top + int(rows[0])
    return float(left), float(top), float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1)


def mask_to_parts(mask: Mask) -> tuple[Part, ...]:
    """The mask's outlines in the image, along the pixel borders."""
    moved = np.array([mask.left, mask.top], dtype=np.float64)
    return tuple(
        Part(part.exterior + moved, tuple(hole + moved for hole in part.holes)) for part in bitmap_to_parts(mask.bitmap)
    )


def box_corners(box: Box) -> Points:
    """(4, 2): top-left, top-right, bottom-right, bottom-left of the box before it was turned clockwise about
    its centre."""
    right, bottom = box.x + box.width, box.y + box.height
    upright = np.array([[box.x, box.y], [right, box.y], [right, bottom], [box.x, bottom]], dtype=np.float64)
    if not box.rotation % 360:
        return upright
    centre = np.array([box.x + box.width / 2, box.y + box.height / 2])
    angle = radians(box.rotation)
    # With y down, this matrix turns clockwise on the screen.
    turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
    turned: Points = (upright - centre) @ turn + centre
    return turned


def corners_to_box(corners: Points) -> tuple[float, float, float, float, float]:
    """x, y, width, height and rotation (degrees, [0, 360)) of a rectangle given as in `box_corners`."""
    across, down = corners[1] - corners[0], corners[3] - corners[0]
    width, height = hypot(*across), hypot(*down)
    centre = corners.mean(axis=0)
    rotation = float(np.degrees(np.arctan2(across[1], across[0]))) % 360
    return float(centre[0] - width / 2), float(centre[1] - height / 2), width, height, rotation


def is_rectangle(ring: Points, tolerance: float = 1e-6) -> bool:
    """Whether four points are a rectangle, turned or not. tolerance: relative to its longer side."""
    if len(ring) != 4:
        return False
    across, down = ring[1] - ring[0], ring[3] - ring[0]
    longest = max(hypot(*across), hypot(*down))
    closes = np.abs(ring[0] + across + down - ring[2]).max() <= tolerance * longest
    return bool(longest > 0 and closes and abs(float(across @ down)) <= tolerance * longest**2)


def smallest_rectangle(points: Points) -> Points | None:
    """Corners of the turned rectangle of least area around points, as `box_corners`; None: they have no area.

    One side lies on an edge of the convex hull (Freeman and Shapira 1975); of equal ones the first.
    """
    hull = _convex_hull(points)
    if len(hull) < 3:
        return None
    along = np.roll(hull, -1, axis=0) - hull
    along /= np.hypot(along[:, 0], along[:, 1])[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    u, v = hull @ along.T, hull @ across.T
    low_u, high_u, low_v, high_v = u.min(axis=0), u.max(axis=0), v.min(axis=0), v.max(axis=0)
    i = int(np.argmin((high_u - low_u) * (high_v - low_v)))
    corners = np.array([[low_u[i], low_v[i]], [high_u[i], low_v[i]], [high_u[i], high_v[i]], [low_u[i], high_v[i]]])
    rectangle: Points = corners @ np.stack([along[i], across[i]])
    return rectangle


def box_to_part(box: Box) -> Part:
    """The box, turned or not, as a polygon of one part."""
    return Part(box_corners(box))


def clip_box(box: XYWH, size_wh: tuple[int, int]) -> XYWH | None:
    """The part of an upright box that lies in the image; None: nothing of it."""
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], float(size_wh[0])), min(box[1] + box[3], float(size_wh[1]))
    return (left, top, right - left, bottom - top) if left < right and top < bottom else None


def clip_ring(ring: Points, size_wh: tuple[int, int]) -> Points:
    """The part of a ring that lies in the image, by Sutherland and Hodgman; (0, 2) when nothing is left.

    Where a ring leaves and comes back several times the pieces stay joined along the border of the image,
    which has no area.
    """
    width, height = size_wh
    if (ring >= 0).all() and (ring[:, 0] <= width).all() and (ring[:, 1] <= height).all():
        return ring
    for axis, limit, sign in ((0, 0.0, 1.0), (0, float(width), -1.0), (1, 0.0, 1.0), (1, float(height), -1.0)):
        ring = _clip_half(ring, axis, limit, sign)
    return open_ring(ring)


def clip_parts(parts: Sequence[Part], size_wh: tuple[int, int]) -> tuple[Part, ...]:
    """Parts and holes cut at the image's border; what has no area afterwards is gone."""
    kept = []
    for part in parts:
        exterior = clip_ring(open_ring(part.exterior), size_wh)
        if len(exterior) < 3 or signed_area(exterior) == 0:
            continue
        holes = (clip_ring(open_ring(hole), size_wh) for hole in part.holes)
        kept.append(Part(exterior, tuple(hole for hole in holes if len(hole) >= 3 and signed_area(hole) != 0)))
    return tuple(kept)


def clip_to_image(points: Points, size_wh: tuple[int, int]) -> Points:
    """Each point moved to the nearest one inside the image, for lines and keypoints."""
    return np.clip(points, 0.0, np.array(size_wh, dtype=np.float64))


def parts_overlap(parts: Sequence[Part], size_wh: tuple[int, int]) -> bool:
    """Whether two parts share a pixel, so that filling all rings even-odd would make a hole of it."""
    boxes = [points_box(part.exterior) for part in parts]
    for i, a in enumerate(boxes):
        for j in range(i):
            b = boxes[j]
            meet = a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
            if meet and (rasterize(parts[i : i + 1], size_wh) & rasterize(parts[j : j + 1], size_wh)).any():
                return True
    return False


def bridge_holes(part: Part) -> Points:
    """One ring that goes into every hole and back through a slit without width; fills the same pixels.

    The slit runs left from the leftmost point of a hole to the nearest edge. Holes are taken from left to
    right, so that the edge belongs to the ring already and no slit crosses another.
    """
    ring = open_ring(part.exterior)
    clockwise = signed_area(ring) > 0
    turned = [hole if (signed_area(hole) > 0) != clockwise else hole[::-1] for hole in map(open_ring, part.holes)]
    starts = [np.roll(hole, -int(np.lexsort((hole[:, 1], hole[:, 0]))[0]), axis=0) for hole in turned if len(hole) > 2]
    for hole in sorted(starts, key=lambda hole: tuple(hole[0].tolist())):
        edge, point = _edge_left_of(ring, hole[0])
        ring = np.concatenate([ring[: edge + 1], [point], hole, hole[:1], [point], ring[edge + 1 :]])
    return _without_doubles(ring)


def bridge_parts(parts: Sequence[Part]) -> Points:
    """All parts in one ring, joined there and back by the shortest lines between their points; holes bridged.

    Even-odd, the lines have no area; a program that paints outlines draws them one pixel wide. Only parts whose boxes
    are near enough to be the next are measured point by point, since masks of pixels have thousands of parts.
    """
    rings = [bridge_holes(part) for part in parts]
    ring, others = rings[0], rings[1:]
    boxes = np.array([_bounds(other) for other in others]).reshape(-1, 2, 2)
    distances = _gaps(_bounds(ring), boxes)
    measured = np.zeros(len(others), dtype=bool)  # else the distance is that of boxes: the least that it can be
    waiting = np.arange(len(others))
    while len(waiting):
        chosen = int(waiting[np.argmin(distances[waiting])])
        while not measured[waiting[distances[waiting] == distances[chosen]]].all():
            candidates = waiting[~measured[waiting] & (distances[waiting] == distances[chosen])]
            distances[candidates] = [_nearest(ring, others[i], boxes[i])[0] for i in candidates.tolist()]
            measured[candidates] = True
            chosen = int(waiting[np.argmin(distances[waiting])])
        _, here, there = _nearest(ring, others[chosen], boxes[chosen])
        added = np.roll(others[chosen], -there, axis=0)
        ring = np.concatenate([ring[: here + 1], added, added[:1], ring[here:]])
        waiting = waiting[waiting != chosen]
        gaps = _gaps(_bounds(added), boxes)
        measured &= gaps >= distances
        distances = np.minimum(distances, gaps)
    return ring


def _convex_hull(points: Points) -> Points:
    """Clockwise on the screen, without points on its edges (Andrew's monotone chain)."""
    ordered = np.unique(points, axis=0).tolist()

    def chain(walk: list[list[float]]) -> list[list[float]]:
        kept: list[list[float]] = []
        for x, y in walk:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2], kept[-1]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                kept.pop()
            kept.append([x, y])
        return kept[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]), dtype=np.float64).reshape(-1, 2)


def _clip_half(ring: Points, axis: int, limit: float, sign: float) -> Points:
    if not len(ring):
        return ring
    depth = sign * (ring[:, axis] - limit)
    inside = depth >= 0
    if inside.all():
        return ring
    after, depth_after = np.roll(ring, -1, axis=0), np.roll(depth, -1)
    clipped: list[Points] = []
    for i in range(len(ring)):
        if inside[i]:
            clipped.append(ring[i])
        if inside[i] != (depth_after[i] >= 0):
            share = depth[i] / (depth[i] - depth_after[i])
            crossing = ring[i] + share * (after[i] - ring[i])
            crossing[axis] = limit
            clipped.append(crossing)
    return np.array(clipped, dtype=np.float64).reshape(-1, 2)


def _edge_left_of(ring: Points, point: Points) -> tuple[int, Points]:
    """The edge of a ring that a ray to the left meets first, and where; the nearest point if none does."""
    x, y = point.tolist()
    x0, y0 = ring[:, 0], ring[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    crosses = np.flatnonzero((y0 <= y) != (y1 <= y))
    xs = x0[crosses] + (y - y0[crosses]) * (x1 - x0)[crosses] / (y1 - y0)[crosses]
    reachable = np.flatnonzero(xs <= x)
    if not reachable.size:
        nearest = int(np.argmin(((ring - point) ** 2).sum(axis=1)))
        return nearest, ring[nearest]
    best = reachable[np.argmax(xs[reachable])]
    return int(crosses[best]), np.array([xs[best], y])


def _without_doubles(ring: Points) -> Points:
    keep = np.any(ring != np.roll(ring, 1, axis=0), axis=1)
    return ring[keep]


def _bounds(points: Points) -> Points:
    """(2, 2): the least and the greatest x and y."""
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _gaps(box: Points, boxes: Points) -> Points:
    """Squared distances of boxes (2, 2) and (n, 2, 2), or of a box and (n, 1, 2) points."""
    apart = np.maximum(0, np.maximum(boxes[:, 0] - box[1], box[0] - boxes[:, -1]))
    squares: Points = (apart * apart).sum(axis=1)
    return squares


def _squares(ring: Points, other: Points) -> Points:
    """(n, m): squared distances of each point of one ring to each of another."""
    x, y = (ring[:, None, axis] - other[None, :, axis] for axis in (0, 1))
    squares: Points = x * x + y * y
    return squares


def _nearest(ring: Points, other: Points, box: Points) -> tuple[float, int, int]:
    """Squared distance and the indices of the nearest pair of points of two rings, the first of equal ones.

    box: of the other ring. Points farther from it than some pair is apart are left out.
    """
    near = np.flatnonzero(_gaps(box, ring[:, None]) <= _squares(ring, other[:1]).min())
    best = (float("inf"), 0, 0)
    block = max(1, _BLOCK // max(1, len(other)))
    for start in range(0, len(near), block):
        rows = near[start : start + block]
        distances = _squares(ring[rows], other)
        i, j = divmod(int(np.argmin(distances)), len(other))
        best = min(best, (float(distances[i, j]), int(rows[i]), j))
    return best
