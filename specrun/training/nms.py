"""Labels that say the same: suppressed, or fused into one.

Boxes, rotated boxes and masks are compared by their own area, keypoints by their box.
Source of the fusion: Solovyev, Wang, Gabruseva, "Weighted boxes fusion", 2021; masks are fused by the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Tag

Corners = NDArray[np.float64]
"""(n, 4): left, top, right, bottom."""


def hull(label: AnyLabel) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of an upright rectangle around the label; of a tag, an empty one."""
    match label:
        case Mask():
            height, width = label.bitmap.shape
            return label.left, label.top, label.left + width, label.top + height
        case Box(rotation=0):
            return label.x, label.y, label.x + label.width, label.y + label.height
        case Box():
            turn = np.deg2rad(label.rotation)
            half_w = (abs(label.width * np.cos(turn)) + abs(label.height * np.sin(turn))) / 2
            half_h = (abs(label.width * np.sin(turn)) + abs(label.height * np.cos(turn))) / 2
            x, y = label.x + label.width / 2, label.y + label.height / 2
            return float(x - half_w), float(y - half_h), float(x + half_w), float(y + half_h)
        case Keypoints(box=None):
            low, high = label.points.min(axis=0), label.points.max(axis=0)
            return float(low[0]), float(low[1]), float(high[0]), float(high[1])
        case Keypoints():
            assert label.box is not None
            left, top, width, height = label.box
            return left, top, left + width, top + height
        case _:
            return 0.0, 0.0, 0.0, 0.0


def area(label: AnyLabel) -> float:
    match label:
        case Mask():
            return float(np.count_nonzero(label.bitmap))
        case Box():
            return label.width * label.height
        case _:
            left, top, right, bottom = hull(label)
            return (right - left) * (bottom - top)


def intersection(one: AnyLabel, other: AnyLabel) -> float:
    """Square pixels that both cover."""
    first, second = hull(one), hull(other)
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right, bottom = min(first[2], second[2]), min(first[3], second[3])
    if left >= right or top >= bottom:
        return 0.0
    if isinstance(one, Mask) and isinstance(other, Mask):
        place = int(left), int(top), int(right), int(bottom)
        return float(np.count_nonzero(_inside(one, place) & _inside(other, place)))
    if isinstance(one, Box) and isinstance(other, Box) and (one.rotation or other.rotation):
        return _rotated_intersection(one, other)
    return (right - left) * (bottom - top)


def iou(one: AnyLabel, other: AnyLabel) -> float:
    shared = intersection(one, other)
    return shared / (area(one) + area(other) - shared) if shared else 0.0


def suppressed(labels: Sequence[AnyLabel], least_iou: float, *, class_wise: bool) -> list[AnyLabel]:
    """Most certain first, without those that overlap a more certain one by more than `least_iou`."""

    def same(kept: AnyLabel, other: AnyLabel) -> bool:
        return iou(kept, other) > least_iou

    return greedy(by_score(labels), same, class_wise=class_wise)


def by_score(labels: Sequence[AnyLabel]) -> list[AnyLabel]:
    return sorted(labels, key=lambda label: -(label.score or 0.0))


def greedy(
    labels: Sequence[AnyLabel], same: Callable[[AnyLabel, AnyLabel], bool], *, class_wise: bool
) -> list[AnyLabel]:
    """Those that are not the same as an earlier one that was kept."""
    corners = hulls(labels)
    kept: list[int] = []
    for number, label in enumerate(labels):
        near = [earlier for earlier in kept if _touch(corners[earlier], corners[number])]
        rivals = (labels[earlier] for earlier in near if not class_wise or labels[earlier].label == label.label)
        if not any(same(rival, label) for rival in rivals):
            kept.append(number)
    return [labels[number] for number in kept]


def hulls(labels: Sequence[AnyLabel]) -> Corners:
    return np.array([hull(label) for label in labels], dtype=np.float64).reshape(-1, 4)


def _touch(one: Any, other: Any) -> bool:
    return bool(one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3])


def fused(seen: Sequence[Sequence[AnyLabel]], least_iou: float, *, class_wise: bool) -> list[AnyLabel]:
    """What several views of one image agree on, most certain first; the score is the mean over all views, those
    that did not see it included. Labels of one view are different things: the model has compared them itself. Classes
    of images are one label, by the mean of all classes."""
    tags = [label for labels in seen for label in labels if isinstance(label, Tag)]
    if tags and len(tags) == sum(map(len, seen)):
        return [_mean_tag(tags, len(seen))]
    clusters: list[list[AnyLabel]] = []
    for labels in seen:
        places = _partners(labels, [cluster[0] for cluster in clusters], least_iou, class_wise=class_wise)
        for label, place in zip(by_score(labels), places, strict=True):
            if place is None:
                clusters.append([label])
            else:
                clusters[place].append(label)
    return by_score([_fuse(by_score(cluster), len(seen)) for cluster in clusters])


def _mean_tag(tags: Sequence[Tag], view_count: int) -> Tag:
    sums: dict[str, float] = {}
    for tag in tags:
        for name, score in ((tag.label, tag.score or 0.0), *tag.others):
            sums[name] = sums.get(name, 0.0) + score
    means = [(name, total / view_count) for name, total in sums.items()]
    (first, score), *others = sorted(means, key=lambda entry: -entry[1])
    return replace(tags[0], label=first, score=score, others=tuple(others))


def _partners(
    labels: Sequence[AnyLabel], heads: Sequence[AnyLabel], least_iou: float, *, class_wise: bool
) -> list[int | None]:
    """For each label, most certain first, the head that it covers best; each head once."""
    ordered = by_score(labels)
    corners, of_heads = hulls(ordered), hulls(heads)
    overlaps: list[tuple[float, int, int]] = []
    for number, label in enumerate(ordered):
        for place, head in enumerate(heads):
            if class_wise and head.label != label.label:
                continue
            overlap = iou(head, label) if _touch(of_heads[place], corners[number]) else 0.0
            if overlap > least_iou:
                overlaps.append((overlap, number, place))
    found: list[int | None] = [None] * len(ordered)
    taken: set[int] = set()
    for _, number, place in sorted(overlaps, key=lambda entry: (-entry[0], entry[1], entry[2])):
        if found[number] is None and place not in taken:
            found[number] = place
            taken.add(place)
    return found


def _fuse(labels: Sequence[AnyLabel], view_count: int) -> AnyLabel:
    """Weighted by their scores; the most certain first."""
    weights = np.array([label.score or 0.0 for label in labels])
    score = float(weights.sum() / view_count)
    weights = weights / weights.sum() if weights.sum() else np.full(len(labels), 1 / len(labels))
    first = labels[0]
    if len(labels) == 1:
        return replace(first, score=score)
    match first:
        case Mask():
            return replace(_fused_mask([label for label in labels if isinstance(label, Mask)], weights), score=score)
        case Box():
            return replace(_fused_box([label for label in labels if isinstance(label, Box)], weights), score=score)
        case Keypoints():
            poses = [label for label in labels if isinstance(label, Keypoints)]
            points = np.tensordot(weights, np.stack([pose.points for pose in poses]), axes=1)
            return replace(first, points=points, score=score)
        case _:
            return replace(first, score=score)


def _fused_box(boxes: Sequence[Box], weights: NDArray[np.float64]) -> Box:
    """A rectangle can be written with four rotations: each is written as the one nearest to the first box's."""
    first = boxes[0]
    rows = []
    for box in boxes:
        quarters = round((box.rotation - first.rotation) / 90)
        width, height = (box.height, box.width) if quarters % 2 else (box.width, box.height)
        turn = box.rotation - first.rotation - 90 * quarters
        rows.append([box.x + box.width / 2, box.y + box.height / 2, width, height, turn])
    x, y, width, height, turn = (float(value) for value in weights @ np.array(rows))
    return replace(first, x=x - width / 2, y=y - height / 2, width=width, height=height, rotation=first.rotation + turn)


def _fused_mask(masks: Sequence[Mask], weights: NDArray[np.float64]) -> Mask:
    """Pixels that have at least half of the weight; the first mask where none has."""
    corners = hulls(masks)
    left, top = (int(value) for value in corners[:, :2].min(axis=0))
    right, bottom = (int(value) for value in corners[:, 2:].max(axis=0))
    votes = np.zeros((bottom - top, right - left))
    for mask, weight in zip(masks, weights, strict=True):
        height, width = mask.bitmap.shape
        votes[mask.top - top : mask.top - top + height, mask.left - left : mask.left - left + width] += (
            weight * mask.bitmap
        )
    bitmap = votes >= 0.5
    return replace(masks[0], bitmap=bitmap, left=left, top=top) if bitmap.any() else masks[0]


def _inside(mask: Mask, place: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    left, top, right, bottom = place
    return mask.bitmap[top - mask.top : bottom - mask.top, left - mask.left : right - mask.left]


def _rotated_intersection(one: Box, other: Box) -> float:
    import cv2  # comes with the libraries that predict

    def rotated(box: Box) -> Any:
        return (box.x + box.width / 2, box.y + box.height / 2), (box.width, box.height), box.rotation

    _, points = cv2.rotatedRectangleIntersection(rotated(one), rotated(other))
    if points is None:
        return 0.0
    return float(cv2.contourArea(cv2.convexHull(points)))
