"""Which predictions and truths of an image are alike: IoU of boxes or bitmaps, OKS of keypoints; all images at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

import numpy as np

from specrun.training.metrics.instances import (
    Bools,
    Floats,
    ImageInstances,
    Indices,
    Instance,
    Measure,
    Objects,
    Pairs,
    flat_objects,
)
from specrun.training.metrics.keypoints import Poses, keypoint_similarity

LEAST_OVERLAP = 0.5
_PAIRS_AT_ONCE = 2_000_000


def find_pairs(images: Sequence[ImageInstances], measure: Measure, sigmas: Floats | None = None) -> Pairs:
    """sigmas: (k,) of the keypoints, for OKS."""
    predictions = flat_objects([image.predictions for image in images], measure)
    truths = flat_objects([image.truth for image in images], measure)
    overlaps = _Overlaps(predictions, truths, measure, sigmas)
    parts: list[tuple[Indices, Indices, Floats]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for prediction, truth in _combinations(predictions, truths):
        overlap = overlaps(prediction, truth)
        near = overlap >= LEAST_OVERLAP
        parts.append((prediction[near], truth[near], overlap[near]))
    prediction, truth, overlap = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Pairs(predictions, truths, prediction, truth, overlap)


def _combinations(predictions: Objects, truths: Objects) -> Iterator[tuple[Indices, Indices]]:
    """Each prediction with each truth of its image, a bounded number at a time."""
    truth_starts = np.concatenate(([0], np.cumsum(truths.counts)))[:-1]
    partners = truths.counts[predictions.image]
    ends = np.cumsum(partners)
    start = 0
    while start < len(partners):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")), start + 1)
        counts = partners[start:stop]
        prediction = np.repeat(np.arange(start, stop), counts)
        within = np.arange(len(prediction)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield prediction, truth_starts[predictions.image[prediction]] + within
        start = stop


class _Overlaps:
    """(index of the prediction, index of the truth) of pairs → how alike they are."""

    def __init__(self, predictions: Objects, truths: Objects, measure: Measure, sigmas: Floats | None) -> None:
        self._predictions, self._truths, self._measure = predictions, truths, measure
        match measure:
            case Measure.BOX:
                self._boxes = _boxes(predictions.rows), _boxes(truths.rows)
            case Measure.MASK:
                self._windows = _windows(predictions.rows), _windows(truths.rows)
                self._areas = _areas(predictions.rows), _areas(truths.rows)
            case Measure.POINTS:
                assert sigmas is not None
                self._sigmas = sigmas
                self._poses = (
                    Poses.of(predictions.rows, len(sigmas)),
                    Poses.of(truths.rows, len(sigmas)),
                )
            case _:
                assert_never(measure)

    def __call__(self, prediction: Indices, truth: Indices) -> Floats:
        match self._measure:
            case Measure.BOX:
                return self._of_boxes(prediction, truth)
            case Measure.MASK:
                return self._of_masks(prediction, truth)
            case Measure.POINTS:
                return keypoint_similarity(self._poses[0], self._poses[1], prediction, truth, self._sigmas)
            case _:
                assert_never(self._measure)

    def _of_boxes(self, prediction: Indices, truth: Indices) -> Floats:
        first, second = self._boxes[0][prediction], self._boxes[1][truth]
        areas = first[:, 2:].prod(axis=1), second[:, 2:].prod(axis=1)
        return _ratio(_shared_areas(first, second), *areas, self._truths.crowd[truth])

    def _of_masks(self, prediction: Indices, truth: Indices) -> Floats:
        """Pixels are counted only where the windows allow the least overlap that is asked for."""
        areas, crowd = (self._areas[0][prediction], self._areas[1][truth]), self._truths.crowd[truth]
        bound = _shared_areas(self._windows[0][prediction], self._windows[1][truth])
        larger = np.where(crowd, areas[0], np.maximum(*areas))
        near = np.flatnonzero((bound > 0) & (bound >= LEAST_OVERLAP * larger))
        shared = np.zeros(len(prediction))
        for place in near.tolist():
            one, other = self._predictions.rows[prediction[place]], self._truths.rows[truth[place]]
            shared[place] = _shared_pixels(one, other)
        return _ratio(shared, *areas, crowd)


def _boxes(rows: Sequence[Instance]) -> Floats:
    return np.array([row.box_xywh for row in rows], dtype=np.float64).reshape(-1, 4)


def _windows(rows: Sequence[Instance]) -> Floats:
    sizes = ((0, 0) if row.bitmap is None else row.bitmap.shape for row in rows)
    windows = [(row.left, row.top, size[1], size[0]) for row, size in zip(rows, sizes, strict=True)]
    return np.array(windows, dtype=np.float64).reshape(-1, 4)


def _areas(rows: Sequence[Instance]) -> Floats:
    return np.array([0 if row.bitmap is None else np.count_nonzero(row.bitmap) for row in rows], dtype=np.float64)


def _shared_areas(first_xywh: Floats, second_xywh: Floats) -> Floats:
    low = np.maximum(first_xywh[:, :2], second_xywh[:, :2])
    high = np.minimum(first_xywh[:, :2] + first_xywh[:, 2:], second_xywh[:, :2] + second_xywh[:, 2:])
    shared: Floats = np.clip(high - low, 0, None).prod(axis=1)
    return shared


def _shared_pixels(one: Instance, other: Instance) -> int:
    a, b = one.bitmap, other.bitmap
    if a is None or b is None:
        return 0
    left, top = max(one.left, other.left), max(one.top, other.top)
    right = min(one.left + a.shape[1], other.left + b.shape[1])
    bottom = min(one.top + a.shape[0], other.top + b.shape[0])
    in_a = a[top - one.top : bottom - one.top, left - one.left : right - one.left]
    in_b = b[top - other.top : bottom - other.top, left - other.left : right - other.left]
    return int(np.count_nonzero(in_a & in_b))


def _ratio(shared: Floats, areas: Floats, other_areas: Floats, crowd: Bools) -> Floats:
    """For a crowd the union is the prediction alone."""
    union = np.where(crowd, areas, areas + other_areas - shared)
    result: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result
