"""Rings that cross or touch themselves, as simple ones that fill the same pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from specrun.formats.raster import nest_holes, open_ring, point_inside, ring_contains, signed_area, split_at_repeats
from specrun.model.labels import Part, Points

_BLOCK = 1 << 22
"""Pairs of edges looked at in one go; bounds the memory at about 200 MiB."""


def repair_ring(points: Points) -> tuple[Part, ...]:
    """A ring that crosses or touches itself, as simple parts with holes that fill the same (even-odd).

    Nothing is left of a ring without area. A simple ring comes back as it was, opened.
    """
    ring = open_ring(points)
    if len(ring) < 3:
        return ()
    simple = [loop for loop in _untangled(_with_crossings(ring)) if abs(signed_area(loop)) > 0]
    if len(simple) == 1 and len(simple[0]) == len(ring):
        return (Part(ring),)
    exteriors: list[Points] = []
    holes: list[Points] = []
    simple.sort(key=lambda loop: -abs(signed_area(loop)))
    for i, loop in enumerate(simple):
        inside = point_inside(loop)
        depth = sum(ring_contains(other, inside) for other in simple[:i])
        (holes if depth % 2 else exteriors).append(loop)
    return nest_holes(exteriors, holes)


def repair_part(part: Part) -> tuple[Part, ...]:
    """A part whose rings may cross themselves, as simple ones; a hole stays with the piece around it."""
    pieces = repair_ring(part.exterior)
    holes = [piece for hole in part.holes for piece in repair_ring(hole)]
    if not holes:
        return pieces
    nested = nest_holes([piece.exterior for piece in pieces], [hole.exterior for hole in holes])
    merged = [Part(n.exterior, (*p.holes, *n.holes)) for p, n in zip(pieces, nested, strict=True)]
    islands = [Part(inner) for hole in holes for inner in hole.holes]
    return (*merged, *islands)


def _with_crossings(ring: Points) -> Points:
    """The ring with a point put in wherever two of its edges cross or one touches another's middle."""
    added: dict[int, list[tuple[float, tuple[float, float]]]] = {}
    ends = np.roll(ring, -1, axis=0)
    for i, j, t, u in _edge_meetings(ring, ends):
        # Both edges must name the crossing by the same floats, or the loops would not meet.
        where = ring[j] if u == 0 else ends[j] if u == 1 else _crossing(ring, ends, *sorted((i, j)))
        added.setdefault(i, []).append((t, (float(where[0]), float(where[1]))))
    if not added:
        return ring
    points: list[tuple[float, float]] = []
    for i, point in enumerate(ring.tolist()):
        points.append((point[0], point[1]))
        points.extend(where for _, where in sorted(added.get(i, ())))
    return open_ring(np.array(points, dtype=np.float64))


def _edge_meetings(ring: Points, ends: Points) -> Iterator[tuple[int, int, float, float]]:
    """Edge i is met strictly inside, at share t, by edge j at its share u in [0, 1]."""
    along = ends - ring
    block = max(1, _BLOCK // len(ring))
    for start in range(0, len(ring), block):
        p, r = ring[start : start + block, None, :], along[start : start + block, None, :]
        between, s = ring[None, :, :] - p, along[None, :, :]
        cross = r[..., 0] * s[..., 1] - r[..., 1] * s[..., 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (between[..., 0] * s[..., 1] - between[..., 1] * s[..., 0]) / cross
            u = (between[..., 0] * r[..., 1] - between[..., 1] * r[..., 0]) / cross
        for i, j in zip(*np.nonzero((cross != 0) & (t > 0) & (t < 1) & (u >= 0) & (u <= 1)), strict=True):
            yield start + int(i), int(j), float(t[i, j]), float(u[i, j])


def _crossing(ring: Points, ends: Points, i: int, j: int) -> Points:
    r, s = ends[i] - ring[i], ends[j] - ring[j]
    between = ring[j] - ring[i]
    share = (between[0] * s[1] - between[1] * s[0]) / (r[0] * s[1] - r[1] * s[0])
    where: Points = ring[i] + share * r
    return where


def _untangled(ring: Points) -> list[Points]:
    """A ring whose crossings are points of it, as simple loops that touch but do not cross.

    At each point the edges are sorted by angle and neighbours joined; edges walked twice cancel out.
    """
    unique, nodes = np.unique(ring, axis=0, return_inverse=True)
    walked: set[tuple[int, int]] = set()
    for edge in zip(nodes.tolist(), np.roll(nodes, -1).tolist(), strict=True):
        walked ^= {(min(edge), max(edge))}
    around: dict[int, list[int]] = {}
    for a, b in sorted(walked):
        around.setdefault(a, []).append(b)
        around.setdefault(b, []).append(a)
    onward: dict[tuple[int, int], int] = {}
    for node, others in around.items():
        directions = unique[others] - unique[node]
        order = np.argsort(np.arctan2(directions[:, 1], directions[:, 0]), kind="stable")
        ordered = [others[k] for k in order]
        for a, b in zip(ordered[0::2], ordered[1::2], strict=True):
            onward[a, node], onward[b, node] = b, a
    loops: list[Points] = []
    while walked:
        start, at = min(walked)
        before, path = start, [start]
        while True:
            walked.discard((min(before, at), max(before, at)))
            before, at = at, onward[before, at]
            path.append(before)
            if (min(before, at), max(before, at)) not in walked:
                break
        loops += split_at_repeats(unique[path])
    return loops
