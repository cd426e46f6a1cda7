"""Where a track of CVAT is between two keyframes, as the server's own exports have it.

Shapes are the server's JSON (`type`, `points` as a flat list, `rotation`, `outside`, `frame`, …). Boxes, ellipses,
cuboids and single points move linearly, several points stay. Outlines are matched vertex to vertex by how far along
the outline they lie, since two keyframes seldom have equally many: see `morph`. An `outside` keyframe is moved
towards, and ends the track until the next keyframe that is inside. Keyframes on deleted frames do not count.
Source: the behaviour of CVAT 2.73 (`dataset_manager`), compared with its exports.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import Points

Shape = Mapping[str, Any]
_LINEAR = frozenset(("rectangle", "ellipse", "cuboid"))
_OUTLINES = frozenset(("polygon", "polyline"))


@dataclass(frozen=True)
class Motion:
    """A track's keyframes, ascending, each with the mutable attributes of those before it."""

    numbers: tuple[int, ...]
    keyframes: tuple[Shape, ...]

    @classmethod
    def of(cls, shapes: Sequence[Shape], deleted: Collection[int] = ()) -> Motion:
        known: dict[int, Any] = {}
        keyframes: list[Shape] = []
        for shape in sorted(shapes, key=lambda shape: int(shape["frame"])):
            if shape["frame"] in deleted:
                continue
            known |= {value["spec_id"]: value["value"] for value in shape.get("attributes", ())}
            carried = [{"spec_id": spec, "value": value} for spec, value in known.items()]
            keyframes.append({**shape, "attributes": carried})
        return cls(tuple(int(shape["frame"]) for shape in keyframes), tuple(keyframes))

    def at(self, frame: int) -> Shape | None:
        """The shape in that frame, perhaps `outside`; None: before the first keyframe."""
        i = bisect_right(self.numbers, frame) - 1
        if i < 0:
            return None
        before = self.keyframes[i]
        if self.numbers[i] == frame or i + 1 == len(self.numbers):
            return before
        share = (frame - self.numbers[i]) / (self.numbers[i + 1] - self.numbers[i])
        return between(before, self.keyframes[i + 1], share)


def between(before: Shape, after: Shape, share: float) -> Shape:
    """The shape that lies `share` (0 to 1) of the way; `before` where shapes of its type stay until the next."""
    kind, a, b = before["type"], before["points"], after["points"]
    if after["type"] != kind:
        return before
    if kind in _LINEAR or (kind == "points" and len(a) == len(b) == 2):
        if len(a) != len(b):
            return before
        points = [x + (y - x) * share for x, y in zip(a, b, strict=True)]
        start, end = float(before.get("rotation") or 0), float(after.get("rotation") or 0)
        rotation = (start + ((end - start + 180) % 360 - 180) * share) % 360
        return {**before, "points": points, "rotation": rotation}
    if kind in _OUTLINES:
        outline = morph(_pairs(a), _pairs(b), share, closed=kind == "polygon")
        return {**before, "points": outline.ravel().tolist()}
    return before


def morph(left: Points, right: Points, share: float, *, closed: bool) -> Points:
    """The outline that lies `share` of the way from `left` to `right`: (n, 2), n up to both counts together.

    Each vertex goes to the one of the other outline that lies nearest along the outline's length; where several
    vertices of one outline share a partner, those that come too close to each other are thinned out.
    """
    if closed:
        left, right = np.vstack([left, left[:1]]), np.vstack([right, right[:1]])
    along_left, along_right = _along(left), _along(right)
    if along_left is None or along_right is None:
        return left[:-1] if closed else left
    partners = _partners(along_left, along_right)
    moved = [left[i] + (right[partners[i]] - left[i]) * share for i in range(len(left))]
    kept: list[Points] = []
    for start, stop in _runs(partners):
        run = np.vstack(moved[start : stop + 1])
        if len(run) == 1:
            kept.append(run)
            continue
        if start == stop:
            first, last = partners[start][0], partners[start][-1]
            kept.append(_thinned(run, _length(right[first : last + 1]) / (2 * (last - first + 1))))
        else:
            kept.append(_thinned(run, _length(left[start : stop + 1]) / (2 * (stop - start + 1))))
    outline: Points = np.vstack(kept)
    return outline[:-1] if closed else outline


def _pairs(flat: Sequence[float]) -> Points:
    return np.asarray(flat, dtype=np.float64).reshape(-1, 2)


def _steps(points: Points) -> NDArray[np.float64]:
    x, y = np.diff(points, axis=0).T
    steps: NDArray[np.float64] = np.hypot(x, y)
    return steps


def _length(points: Points) -> float:
    return float(_steps(points).sum())


def _along(points: Points) -> NDArray[np.float64] | None:
    """How far along the outline each vertex lies, in [0, 1]; None: the outline has no length."""
    steps = _steps(points)
    total = float(steps.sum())
    if not total:
        return None
    return np.concatenate(([0.0], np.cumsum(steps))) / total


def _partners(along_left: NDArray[np.float64], along_right: NDArray[np.float64]) -> list[list[int]]:
    """For each vertex of the left outline its vertices of the right one, ascending; all of them are somewhere."""
    distances = np.abs(along_left[:, None] - along_right[None, :])
    partners = [[int(j)] for j in distances.argmin(axis=1)]
    missing = set(range(len(along_right))) - {found[0] for found in partners}
    for j in sorted(missing):
        partners[int(distances[:, j].argmin())].append(j)
    return [sorted(found) for found in partners]


def _runs(partners: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """First and last vertex of each stretch whose vertices have the same only partner; others stand alone."""
    runs: list[tuple[int, int]] = []
    for i, found in enumerate(partners):
        if runs and len(found) == 1 and partners[runs[-1][0]] == found:
            runs[-1] = (runs[-1][0], i)
        else:
            runs.append((i, i))
    return runs


def _thinned(run: Points, threshold: float) -> Points:
    """Its ends, and what lies at least `threshold` from the one kept before; ends that are closer become one."""
    kept = [run[0]]
    for point in run[1:-1]:
        if np.hypot(*(point - kept[-1])) >= threshold:
            kept.append(point)
    if len(kept) == 1 and np.hypot(*(run[-1] - run[0])) < threshold:
        middle: Points = (run[:1] + run[-1:]) / 2
        return middle
    thinned: Points = np.vstack([*kept, run[-1]])
    return thinned
