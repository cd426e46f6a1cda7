"""Rings with fewer points: outlines along pixel borders have a corner at every step."""

from __future__ import annotations

import numpy as np

from specrun.formats.raster import signed_area
from specrun.model.labels import Points


def simplify_ring(ring: Points, tolerance: float) -> Points:
    """The ring without points that lie within `tolerance` pixels of it; the ring itself where nothing would be left.

    Douglas and Peucker 1973, on the two chains between the first point and the one farthest from it.
    """
    if tolerance <= 0 or len(ring) <= 4:
        return ring
    far = int(np.argmax(((ring - ring[0]) ** 2).sum(axis=1)))
    closed = np.concatenate([ring, ring[:1]])
    keep = np.zeros(len(closed), dtype=bool)
    keep[[0, far, len(ring)]] = True
    spans = [(0, far), (far, len(ring))]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        offsets = _distances(closed[start + 1 : end], closed[start], closed[end])
        worst = int(np.argmax(offsets))
        if offsets[worst] > tolerance:
            middle = start + 1 + worst
            keep[middle] = True
            spans += [(start, middle), (middle, end)]
    simple: Points = closed[:-1][keep[:-1]]
    return simple if len(simple) >= 3 and signed_area(simple) else ring


def _distances(points: Points, start: Points, end: Points) -> Points:
    """From points to the segment between two ends; (n,) float64."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    distances: Points = np.hypot(*(points - (start + share[:, None] * along)).T)
    return distances
