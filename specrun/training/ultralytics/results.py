"""Ultralytics' results as labels in pixels of the upright image."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, degrees, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Tag, Visibility

_Floats = NDArray[np.floating[Any]]
_SEEN_CONFIDENCE = 0.5
_MOST_CLASSES = 20
"""Of an image that are kept: more than top-5 needs, since a taxonomy may make one of several."""


def result_to_labels(result: Any, classes: Sequence[str], *, min_area: float = 0.0) -> tuple[AnyLabel, ...]:
    """Most certain first. result: `ultralytics.engine.results.Results`. min_area: square pixels."""
    height, width = result.orig_shape
    labels: Sequence[AnyLabel]
    if result.probs is not None:
        labels = [image_class(_array(result.probs.data), classes)]
    elif result.obb is not None:
        obb = result.obb
        labels = rotated_boxes(_array(obb.xywhr), _array(obb.conf), _array(obb.cls), classes, min_area=min_area)
    else:
        boxes = _array(result.boxes.xyxy), _array(result.boxes.conf), _array(result.boxes.cls)
        if result.masks is not None:
            bitmaps = _array(result.masks.data).astype(bool)
            labels = masks(*boxes, bitmaps, classes, min_area=min_area)
        elif result.keypoints is not None and len(boxes[0]):
            points = _array(result.keypoints.data)
            labels = keypoints(*boxes, points, classes, min_area=min_area)
        else:
            labels = upright_boxes(*boxes, classes, (width, height), min_area=min_area)
    return tuple(sorted(labels, key=lambda label: -(label.score or 0.0)))


def image_class(scores: _Floats, classes: Sequence[str]) -> Tag:
    """The most certain class and the next ones. scores: (classes,)."""
    first, *others = np.argsort(-scores, kind="stable")[:_MOST_CLASSES]
    return Tag(
        label=classes[first],
        score=float(scores[first]),
        others=tuple((classes[index], float(scores[index])) for index in others),
    )


def upright_boxes(
    boxes_xyxy: _Floats,
    scores: _Floats,
    class_indices: _Floats,
    classes: Sequence[str],
    size_wh: tuple[int, int],
    *,
    min_area: float = 0.0,
) -> list[AnyLabel]:
    found: list[AnyLabel] = []
    for box, score, index in zip(boxes_xyxy.astype(float), scores, class_indices, strict=True):
        left, top = max(box[0], 0.0), max(box[1], 0.0)
        width, height = min(box[2], size_wh[0]) - left, min(box[3], size_wh[1]) - top
        if width > 0 and height > 0 and width * height >= min_area:
            name = classes[int(index)]
            found.append(Box(label=name, score=float(score), x=left, y=top, width=width, height=height))
    return found


def masks(
    boxes_xyxy: _Floats,
    scores: _Floats,
    class_indices: _Floats,
    bitmaps: NDArray[np.bool_],
    classes: Sequence[str],
    *,
    min_area: float = 0.0,
) -> list[AnyLabel]:
    """bitmaps: (n, height, width) of the whole image. Each is cut to its box, widened to whole pixels, so that
    the label keeps the box that the model gave beside the mask."""
    height, width = bitmaps.shape[1:]
    found: list[AnyLabel] = []
    for box, score, index, bitmap in zip(boxes_xyxy, scores, class_indices, bitmaps, strict=True):
        left, top = max(floor(box[0]), 0), max(floor(box[1]), 0)
        window = bitmap[top : min(ceil(box[3]), height), left : min(ceil(box[2]), width)].copy()
        if window.any() and np.count_nonzero(window) >= min_area:
            name = classes[int(index)]
            found.append(Mask(label=name, score=float(score), bitmap=window, left=left, top=top))
    return found


def keypoints(
    boxes_xyxy: _Floats,
    scores: _Floats,
    class_indices: _Floats,
    points: _Floats,
    classes: Sequence[str],
    *,
    min_area: float = 0.0,
) -> list[AnyLabel]:
    """points: (n, k, 2) or (n, k, 3) with a confidence; a point below 0.5 counts as hidden."""
    found: list[AnyLabel] = []
    for box, score, index, rows in zip(boxes_xyxy.astype(float), scores, class_indices, points, strict=True):
        size = (float(box[2] - box[0]), float(box[3] - box[1]))
        if size[0] * size[1] < min_area:
            continue
        seen = rows[:, 2] >= _SEEN_CONFIDENCE if rows.shape[1] > 2 else np.ones(len(rows), dtype=bool)
        found.append(
            Keypoints(
                label=classes[int(index)],
                score=float(score),
                points=rows[:, :2].astype(np.float64),
                visibility=tuple(Visibility.VISIBLE if s else Visibility.OCCLUDED for s in seen),
                box=(float(box[0]), float(box[1]), *size),
            )
        )
    return found


def rotated_boxes(
    boxes_xywhr: _Floats,
    scores: _Floats,
    class_indices: _Floats,
    classes: Sequence[str],
    *,
    min_area: float = 0.0,
) -> list[AnyLabel]:
    """boxes_xywhr: centre, size, clockwise radians."""
    found: list[AnyLabel] = []
    for (x, y, w, h, turn), score, index in zip(boxes_xywhr.astype(float), scores, class_indices, strict=True):
        if w * h >= min_area:
            corner = {"x": x - w / 2, "y": y - h / 2, "width": w, "height": h, "rotation": degrees(turn)}
            found.append(Box(label=classes[int(index)], score=float(score), **corner))
    return found


def _array(tensor: Any) -> NDArray[Any]:
    return np.asarray(tensor.cpu().numpy() if hasattr(tensor, "cpu") else tensor)
