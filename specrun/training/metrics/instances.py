"""Average precision of boxes and masks, equal to pycocotools' numbers (area `all`, 100 detections an image).

Ours instead of pycocotools: the same matching also gives the mistakes by image, the confusion matrix and the
precision-recall curves, and the extra needs no compiled dependency. A test holds it against pycocotools.
Source: `pycocotools/cocoeval.py`, functions evaluateImg and accumulate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import Bitmap
from specrun.training.metrics.overlap import box_overlaps, mask_overlaps

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
_MAX_DETECTIONS = 100
_ALMOST_ONE = 1 - 1e-10

_Floats = NDArray[np.float64]
_Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One object. class_index: into the classes. box_xywh: pixels. bitmap lies at (left, top); None: box only."""

    class_index: int
    box_xywh: tuple[float, float, float, float]
    bitmap: Bitmap | None = None
    left: int = 0
    top: int = 0
    score: float = 1.0
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class ImageInstances:
    """What was drawn and what was predicted on one image."""

    truth: Sequence[Instance]
    predictions: Sequence[Instance]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """map: mean over IoU 0.5 to 0.95. curve: precision at 101 recalls, IoU 0.5. truths: without crowds."""

    map50: float
    map: float
    truths: int
    curve: _Floats


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """by_class: class index → scores, only classes that occur in the truth; NaN when there is none.

    precision, recall: at the confidence where their harmonic mean is highest, IoU 0.5, all classes together.
    """

    map50: float
    map: float
    precision: float
    recall: float
    confidence: float
    by_class: dict[int, ClassScores]


@dataclass(frozen=True, slots=True)
class _Matches:
    """One class on one image. scores: (d,), highest first. matched, ignored: (IoU thresholds, d).
    truths: without crowds."""

    scores: _Floats
    matched: _Bools
    ignored: _Bools
    truths: int


def score_instances(images: Sequence[ImageInstances], *, masks: bool) -> InstanceScores:
    """masks: compare bitmaps, else boxes."""
    by_class: dict[int, list[_Matches]] = {}
    for image in images:
        for class_index in {i.class_index for i in (*image.truth, *image.predictions)}:
            by_class.setdefault(class_index, []).append(_match(image, class_index, masks=masks))
    scores = {index: _accumulate(found) for index, found in sorted(by_class.items())}
    known = {index: found for index, found in scores.items() if found is not None}
    precision, recall, confidence = _best_point([m for found in by_class.values() for m in found])
    return InstanceScores(
        map50=float(np.mean([s.map50 for s in known.values()])) if known else float("nan"),
        map=float(np.mean([s.map for s in known.values()])) if known else float("nan"),
        precision=precision,
        recall=recall,
        confidence=confidence,
        by_class=known,
    )


def overlaps(predictions: Sequence[Instance], truth: Sequence[Instance], *, masks: bool) -> _Floats:
    """(predictions, truth) IoU; against a crowd, the share of the prediction that lies in it."""
    crowd = np.array([t.crowd for t in truth], dtype=bool)
    if masks:
        return mask_overlaps([_window(p) for p in predictions], [_window(t) for t in truth], crowd)
    boxes = [np.array([i.box_xywh for i in group], dtype=np.float64).reshape(-1, 4) for group in (predictions, truth)]
    return box_overlaps(boxes[0], boxes[1], crowd)


def _window(instance: Instance) -> tuple[Bitmap, int, int]:
    if instance.bitmap is None:
        return np.zeros((0, 0), dtype=bool), 0, 0
    return instance.bitmap, instance.left, instance.top


def _match(image: ImageInstances, class_index: int, *, masks: bool) -> _Matches:
    truth = sorted((t for t in image.truth if t.class_index == class_index), key=lambda t: t.crowd)
    predictions = [p for p in image.predictions if p.class_index == class_index]
    order = np.argsort([-p.score for p in predictions], kind="mergesort")[:_MAX_DETECTIONS]
    predictions = [predictions[i] for i in order]
    crowd = np.array([t.crowd for t in truth], dtype=bool)
    matrix = overlaps(predictions, truth, masks=masks)
    matched = np.zeros((len(IOU_THRESHOLDS), len(predictions)), dtype=bool)
    ignored = np.zeros_like(matched)
    for row, threshold in enumerate(IOU_THRESHOLDS):
        taken = np.zeros(len(truth), dtype=bool)
        for column in range(len(predictions)):
            best = _best_truth(matrix[column], taken, crowd, min(threshold, _ALMOST_ONE))
            if best is not None:
                taken[best] = True
                matched[row, column], ignored[row, column] = True, crowd[best]
    scores = np.array([p.score for p in predictions], dtype=np.float64)
    return _Matches(scores, matched, ignored, int((~crowd).sum()))


def _best_truth(row: _Floats, taken: _Bools, crowd: _Bools, threshold: float) -> int | None:
    """The free truth with the highest IoU, the last of equal ones; a crowd only when there is no other."""
    for group in (~crowd & ~taken, crowd):
        fits = group & (row >= threshold)
        if fits.any():
            return int(np.flatnonzero(fits & (row == row[fits].max()))[-1])
    return None


def _accumulate(found: Sequence[_Matches]) -> ClassScores | None:
    """None: the class is nowhere in the truth."""
    truths = sum(m.truths for m in found)
    if truths == 0:
        return None
    order = np.argsort(-np.concatenate([m.scores for m in found]), kind="mergesort")
    matched = np.concatenate([m.matched for m in found], axis=1)[:, order]
    ignored = np.concatenate([m.ignored for m in found], axis=1)[:, order]
    curves = np.stack([_precision_at_recalls(matched[t], ignored[t], truths) for t in range(len(IOU_THRESHOLDS))])
    return ClassScores(map50=float(curves[0].mean()), map=float(curves.mean()), truths=truths, curve=curves[0])


def _precision_at_recalls(matched: _Bools, ignored: _Bools, truths: int) -> _Floats:
    true = np.cumsum(matched & ~ignored, dtype=np.float64)
    false = np.cumsum(~matched & ~ignored, dtype=np.float64)
    recall = true / truths
    precision = true / np.maximum(true + false, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALL_THRESHOLDS, side="left")
    curve = np.zeros(len(RECALL_THRESHOLDS))
    inside = at < len(envelope)
    curve[inside] = envelope[at[inside]]
    return curve


def _best_point(found: Sequence[_Matches]) -> tuple[float, float, float]:
    """Precision, recall and confidence where F1 is highest."""
    truths = sum(m.truths for m in found)
    scores = np.concatenate([m.scores for m in found]) if found else np.zeros(0)
    if not truths or not scores.size:
        return 0.0, 0.0, 0.0
    order = np.argsort(-scores, kind="mergesort")
    matched = np.concatenate([m.matched[0] for m in found])[order]
    counted = ~np.concatenate([m.ignored[0] for m in found])[order]
    true, all_ = np.cumsum(matched & counted), np.cumsum(counted)
    f1 = 2 * true / np.maximum(all_ + truths, 1)
    # Predictions of equal confidence stand or fall together.
    last_of_equal = np.append(scores[order][1:] != scores[order][:-1], True)
    best = int(np.argmax(np.where(last_of_equal, f1, -1)))
    return float(true[best] / max(all_[best], 1)), float(true[best] / truths), float(scores[order][best])
