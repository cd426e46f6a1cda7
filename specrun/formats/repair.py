"""Rings that cross or touch themselves, as simple ones that fill the same pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from specrun.formats.raster import nest_holes, open_ring, point_inside, ring_contains, signed_area, split_at_repeats
from specrun.model.labels import Part, Points

_BLOCK = 1 << 22
"""Pairs of edges looked at in one go; bounds the memory at about 200 MiB."""
_GRID = 2.0**-20
"""Pixels; a millionth."""
_BLUR = 1e-9
_ROUNDS = 8


def repair_ring(points: Points) -> tuple[Part, ...]:
    """A ring that crosses or touches itself, as simple parts with holes that fill the same (even-odd).

    Nothing is left of a ring without area. A simple ring comes back as it was, opened.
    """
    ring = open_ring(points)
    if len(ring) < 3:
        return ()
    crossed = _with_crossings(ring)
    simple = [loop for loop in _untangled(crossed) if abs(signed_area(loop)) > 0]
    if len(simple) == 1 and len(simple[0]) == len(crossed) == len(ring):
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
    """The ring with a point put in wherever two of its edges cross or one touches another's middle.

    Crossings are rounded to a grid, so that edges that meet in one point name it by the same floats; rounding
    moves edges a little, so it is done again until nothing new meets.
    """
    for _ in range(_ROUNDS):
        added: dict[int, list[tuple[float, tuple[float, float]]]] = {}
        ends = np.roll(ring, -1, axis=0)
        for i, j, t in _edge_meetings(ring, ends):
            where = _snapped(ring, ends, i, j, t)
            if where is not None:
                added.setdefault(i, []).append((t, where))
        if not added:
            break
        points: list[tuple[float, float]] = []
        for i, (x, y) in enumerate(ring.tolist()):
            points.append((x, y))
            points.extend(where for _, where in sorted(added.get(i, ())))
        ring = open_ring(np.array(points, dtype=np.float64))
    return ring


def _snapped(ring: Points, ends: Points, i: int, j: int, share: float) -> tuple[float, float] | None:
    """Where edge i is met: an end of edge j if it is as near as that, otherwise on the grid; None: at its own end."""
    exact = ring[i] + share * (ends[i] - ring[i])
    if min(np.abs(exact - ring[i]).max(), np.abs(exact - ends[i]).max()) < _GRID:
        return None
    for end in (ring[j], ends[j]):
        if np.abs(exact - end).max() < _GRID:
            return float(end[0]), float(end[1])
    x, y = (np.round(exact / _GRID) * _GRID).tolist()
    return x, y


def _edge_meetings(ring: Points, ends: Points) -> Iterator[tuple[int, int, float]]:
    """Edge i is met by edge j at share t of its length, ends included as far as rounding blurs them."""
    along = ends - ring
    block = max(1, _BLOCK // len(ring))
    for start in range(0, len(ring), block):
        p, r = ring[start : start + block, None, :], along[start : start + block, None, :]
        between, s = ring[None, :, :] - p, along[None, :, :]
        cross = r[..., 0] * s[..., 1] - r[..., 1] * s[..., 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (between[..., 0] * s[..., 1] - between[..., 1] * s[..., 0]) / cross
            u = (between[..., 0] * r[..., 1] - between[..., 1] * r[..., 0]) / cross
        for i, j in zip(*np.nonzero((cross != 0) & (t > 0) & (t < 1) & (u > -_BLUR) & (u < 1 + _BLUR)), strict=True):
            yield start + int(i), int(j), float(t[i, j])


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
