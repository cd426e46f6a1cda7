"""Keypoints: object keypoint similarity (OKS) as COCO defines it, and the share of correct points (PCK).

Source: `pycocotools/cocoeval.py`, function computeOks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specrun.training.metrics.instances import Bools, Floats, ImageInstances, Indices, Instance

COCO_POINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)
COCO_SIGMAS = np.array(
    [0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89]
) / 10.0  # fmt: skip
DEFAULT_SIGMA = 0.05
"""Of a point that nobody gave one: between COCO's for eyes (0.025) and for wrists (0.062)."""
PCK_REACH = 0.2


@dataclass(frozen=True, slots=True)
class Poses:
    """points_xy: (n, k, 2). seen: (n, k), marked as in the image. areas, boxes_xywh: of the objects."""

    points_xy: Floats
    seen: Bools
    areas: Floats
    boxes_xywh: Floats

    @classmethod
    def of(cls, rows: Sequence[Instance], points: int) -> Poses:
        """An object without points, or with fewer, has unseen ones in their places."""
        values = np.zeros((len(rows), points, 3))
        for place, row in enumerate(rows):
            if row.points is not None:
                values[place, : len(row.points)] = row.points
        boxes = np.array([row.box_xywh for row in rows], dtype=np.float64).reshape(-1, 4)
        given = np.array([np.nan if row.area is None else row.area for row in rows], dtype=np.float64)
        areas = np.where(np.isnan(given), boxes[:, 2:].prod(axis=1), given)
        return cls(values[:, :, :2], values[:, :, 2] > 0, areas, boxes)


@dataclass(frozen=True, slots=True)
class PointShares:
    """Correct points. right, drawn: (images, k) counts, of what is marked in the truth."""

    right: NDArray[np.int64]
    drawn: NDArray[np.int64]

    @property
    def pck(self) -> float:
        total = self.drawn.sum()
        return float(self.right.sum() / total) if total else float("nan")

    def by_point(self) -> list[float]:
        right, drawn = self.right.sum(axis=0), self.drawn.sum(axis=0)
        return [float(r / d) if d else float("nan") for r, d in zip(right, drawn, strict=True)]


def keypoint_similarity(
    predictions: Poses, truths: Poses, prediction: Indices, truth: Indices, sigmas: Floats
) -> Floats:
    """OKS of pairs. A truth without any marked point is held against the surroundings of its box."""
    variances = (sigmas * 2) ** 2
    seen: Bools = truths.seen[truth]
    places = predictions.points_xy[prediction]
    any_seen: Bools = np.asarray(seen.any(axis=1))
    distance = places - truths.points_xy[truth]
    box = truths.boxes_xywh[truth]
    low, high = (box[:, :2] - box[:, 2:])[:, None], (box[:, :2] + 2 * box[:, 2:])[:, None]
    outside = np.maximum(0, np.maximum(low - places, places - high))
    squares = (np.where(any_seen[:, None, None], distance, outside) ** 2).sum(axis=2)
    error = squares / variances / (truths.areas[truth, None] + np.spacing(1)) / 2
    counted = np.where(any_seen[:, None], seen, True)
    similarity: Floats = (np.exp(-error) * counted).sum(axis=1) / counted.sum(axis=1)
    return similarity


def correct_points(
    images: Sequence[ImageInstances], pairs: Sequence[Sequence[tuple[int, int]]], points: int
) -> PointShares:
    """pairs: by image, (index in the truth, index in the predictions); the points of other truths are missed.

    A point is correct within a fifth of the longer side of the object's box.
    """
    right = np.zeros((len(images), points), dtype=np.int64)
    drawn = np.zeros_like(right)
    for row, (image, found) in enumerate(zip(images, pairs, strict=True)):
        truths = Poses.of([t for t in image.truth if not t.crowd], points)
        drawn[row] = truths.seen.sum(axis=0)
        chosen = [(t, p) for t, p in found if not image.truth[t].crowd]
        first = Poses.of([image.truth[t] for t, _ in chosen], points)
        second = Poses.of([image.predictions[p] for _, p in chosen], points)
        distance = np.sqrt(((first.points_xy - second.points_xy) ** 2).sum(axis=2))
        reach = PCK_REACH * first.boxes_xywh[:, 2:].max(axis=1, initial=0)
        right[row] = (first.seen & (distance <= reach[:, None])).sum(axis=0)
    return PointShares(right, drawn)


def sigmas_of(names: Sequence[str], given: dict[str, float], count: int) -> Floats:
    """Those given by name, else COCO's for people's 17 points, else the default."""
    if tuple(names) == COCO_POINTS and not given:
        return COCO_SIGMAS
    if not names:
        return np.full(count, DEFAULT_SIGMA)
    return np.array([given.get(name, DEFAULT_SIGMA) for name in names])
