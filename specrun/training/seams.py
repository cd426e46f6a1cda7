"""What was found in tiles of one image, as if it had been looked at whole.

An object that a tile's edge cuts is found in parts. Two parts in neighbouring tiles are the same object if they
cover the same pixels where both tiles look, or, where tiles only abut, the same stretch of the seam: they are
joined. Of what is left, a part that lies within an object of another tile is dropped, and so is whatever two
tiles found twice. Rotated boxes and keypoints have no union, so their parts are only dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from specrun.model.labels import AnyLabel, Box, Keypoints, Mask
from specrun.training.nms import area, by_score, hull, hulls, intersection, iou
from specrun.training.tiles import Window

SAME_IOU = 0.5
_PART_SHARE = 0.5
_EDGE_PIXELS = 1.5
"""Models put boxes near the edge rather than on it."""


@dataclass(frozen=True, eq=False)
class _Found:
    """A label in pixels of the image. windows: where it was seen. cut: inner edges that it reaches: of left, top,
    right and bottom."""

    label: AnyLabel
    windows: tuple[Window, ...]
    cut: frozenset[str]


def merged(
    tiles: Iterable[tuple[Window, Sequence[AnyLabel]]],
    image_wh: tuple[int, int],
    *,
    least_iou: float = SAME_IOU,
    class_wise: bool = True,
) -> list[AnyLabel]:
    """Labels in pixels of their tile → labels in pixels of the image, most certain first."""
    found = [_placed(label, window, image_wh) for window, labels in tiles for label in labels]
    joined = _joined(found)
    ranked = sorted(joined, key=lambda one: (bool(one.cut), len(one.windows) > 1, -(one.label.score or 0.0)))
    kept: list[_Found] = []
    for one in ranked:
        rivals = (k for k in kept if not class_wise or k.label.label == one.label.label)
        if not any(_same(rival, one, least_iou) for rival in rivals):
            kept.append(one)
    return by_score([one.label for one in kept])


def moved(label: AnyLabel, x: int, y: int) -> AnyLabel:
    match label:
        case Box():
            return replace(label, x=label.x + x, y=label.y + y)
        case Mask():
            return replace(label, left=label.left + x, top=label.top + y)
        case Keypoints():
            box = label.box and (label.box[0] + x, label.box[1] + y, *label.box[2:])
            return replace(label, points=label.points + np.array([x, y]), box=box)
        case _:
            return label


def _placed(label: AnyLabel, window: Window, image_wh: tuple[int, int]) -> _Found:
    left, top, right, bottom = hull(label)
    cut = {
        "left": window.left > 0 and left <= _EDGE_PIXELS,
        "top": window.top > 0 and top <= _EDGE_PIXELS,
        "right": window.left + window.width < image_wh[0] and right >= window.width - _EDGE_PIXELS,
        "bottom": window.top + window.height < image_wh[1] and bottom >= window.height - _EDGE_PIXELS,
    }
    sides = frozenset(side for side, reached in cut.items() if reached)
    return _Found(moved(label, window.left, window.top), (window,), sides)


def _joined(found: Sequence[_Found]) -> list[_Found]:
    """Parts of one object become one, through any number of tiles."""
    head = list(range(len(found)))

    def root(number: int) -> int:
        while head[number] != number:
            number = head[number]
        return number

    parts = [number for number, one in enumerate(found) if one.cut and _has_union(one.label)]
    corners = hulls([one.label for one in found])
    for place, number in enumerate(parts):
        later = np.array(parts[place + 1 :], dtype=int)
        near = (
            (corners[later, 0] <= corners[number, 2] + 2 * _EDGE_PIXELS)
            & (corners[later, 2] >= corners[number, 0] - 2 * _EDGE_PIXELS)
            & (corners[later, 1] <= corners[number, 3] + 2 * _EDGE_PIXELS)
            & (corners[later, 3] >= corners[number, 1] - 2 * _EDGE_PIXELS)
        )
        for other in later[near]:
            if root(number) != root(int(other)) and _are_parts(found[number], found[other]):
                head[root(int(other))] = root(number)
    groups: dict[int, list[_Found]] = {}
    for number, one in enumerate(found):
        groups.setdefault(root(number), []).append(one)
    return [members[0] if len(members) == 1 else _union(members) for members in groups.values()]


def _has_union(label: AnyLabel) -> bool:
    return isinstance(label, Mask) or (isinstance(label, Box) and not label.rotation)


def _are_parts(one: _Found, other: _Found) -> bool:
    first, second = one.windows[0], other.windows[0]
    if first == second or one.label.label != other.label.label or type(one.label) is not type(other.label):
        return False
    left, top = max(first.left, second.left), max(first.top, second.top)
    right = min(first.left + first.width, second.left + second.width)
    bottom = min(first.top + first.height, second.top + second.height)
    if left < right and top < bottom:
        a, b = (_restricted(part.label, left, top, right, bottom) for part in (one, other))
        if a is None or b is None:
            return False
        shared = intersection(a, b)
        return shared > 0 and shared / (area(a) + area(b) - shared) >= SAME_IOU
    return _meet(one, other, (left, top, right, bottom))


def _meet(one: _Found, other: _Found, gap: tuple[int, int, int, int]) -> bool:
    """Whether two parts in tiles that abut touch the seam along the same stretch."""
    left, top, right, bottom = gap
    if right == left and top < bottom:
        axis, sides = 1, ("right", "left")
    elif bottom == top and left < right:
        axis, sides = 0, ("bottom", "top")
    else:
        return False
    first, second = (one, other) if sides[0] in one.cut and sides[1] in other.cut else (other, one)
    if sides[0] not in first.cut or sides[1] not in second.cut:
        return False
    stretches = [_along_seam(first.label, sides[0], axis), _along_seam(second.label, sides[1], axis)]
    low, high = max(s[0] for s in stretches), min(s[1] for s in stretches)
    whole = max(s[1] for s in stretches) - min(s[0] for s in stretches)
    return whole > 0 and (high - low) / whole >= SAME_IOU


def _along_seam(label: AnyLabel, side: str, axis: int) -> tuple[float, float]:
    """From where to where a label lies at one of its sides."""
    corners = hull(label)
    if not isinstance(label, Mask):
        return corners[axis], corners[axis + 2]
    near = slice(-2, None) if side in ("right", "bottom") else slice(0, 2)
    line = label.bitmap[:, near].any(axis=1) if axis == 1 else label.bitmap[near].any(axis=0)
    places = np.flatnonzero(line)
    if not places.size:
        return corners[axis], corners[axis + 2]
    return corners[axis] + float(places[0]), corners[axis] + float(places[-1]) + 1


def _restricted(label: AnyLabel, left: int, top: int, right: int, bottom: int) -> AnyLabel | None:
    corners = hull(label)
    x, y = max(corners[0], left), max(corners[1], top)
    width, height = min(corners[2], right) - x, min(corners[3], bottom) - y
    if width <= 0 or height <= 0:
        return None
    if isinstance(label, Box):
        return replace(label, x=x, y=y, width=width, height=height)
    assert isinstance(label, Mask)
    column, row = int(x) - label.left, int(y) - label.top
    bitmap = label.bitmap[row : row + int(height), column : column + int(width)]
    return replace(label, bitmap=bitmap, left=int(x), top=int(y)) if bitmap.any() else None


def _union(members: Sequence[_Found]) -> _Found:
    """As certain as the most certain part. A side is still cut where no part that reaches it goes on to its end."""
    best = max(members, key=lambda one: one.label.score or 0.0).label
    corners = hulls([one.label for one in members])
    left, top = corners[:, :2].min(axis=0)
    right, bottom = corners[:, 2:].max(axis=0)
    windows = tuple(window for one in members for window in one.windows)
    cut = _still_cut(members)
    if isinstance(best, Box):
        whole = replace(best, x=float(left), y=float(top), width=float(right - left), height=float(bottom - top))
        return _Found(whole, windows, cut)
    assert isinstance(best, Mask)
    bitmap = np.zeros((int(bottom - top), int(right - left)), dtype=bool)
    for one in members:
        mask = one.label
        assert isinstance(mask, Mask)
        row, column = mask.top - int(top), mask.left - int(left)
        bitmap[row : row + mask.bitmap.shape[0], column : column + mask.bitmap.shape[1]] |= mask.bitmap
    return _Found(replace(best, bitmap=bitmap, left=int(left), top=int(top)), windows, cut)


def _still_cut(members: Sequence[_Found]) -> frozenset[str]:
    corners = hulls([one.label for one in members])
    outermost = *corners[:, :2].min(axis=0), *corners[:, 2:].max(axis=0)
    still = set()
    for place, side in enumerate(("left", "top", "right", "bottom")):
        reaching = np.flatnonzero(np.abs(corners[:, place] - outermost[place]) <= _EDGE_PIXELS).tolist()
        if all(side in members[int(number)].cut for number in reaching):
            still.add(side)
    return frozenset(still)


def _same(kept: _Found, one: _Found, least_iou: float) -> bool:
    """Labels of one tile have been compared by the model itself."""
    if set(kept.windows) & set(one.windows) and len(kept.windows) == len(one.windows) == 1:
        return False
    shared = intersection(kept.label, one.label)
    if not shared:
        return False
    own = area(one.label)
    if shared / (area(kept.label) + own - shared) >= least_iou:
        return True
    return shared / own >= _PART_SHARE and (bool(one.cut) or _notched(kept, one, least_iou))


def _notched(kept: _Found, one: _Found, least_iou: float) -> bool:
    """Whether joined parts are as wide and high as the whole, and only lack a piece inside that no part had."""
    if len(one.windows) == 1 or not isinstance(one.label, Mask):
        return False
    first, second = (_frame(found.label) for found in (kept, one))
    return iou(first, second) >= least_iou


def _frame(label: AnyLabel) -> Box:
    left, top, right, bottom = hull(label)
    return Box(label=label.label, x=left, y=top, width=right - left, height=bottom - top)
