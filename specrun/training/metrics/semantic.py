"""Per-pixel scores from counts by image and class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import Bitmap

IGNORED = -1
"""A pixel of the truth that counts for nothing."""

Counts = NDArray[np.int64]
"""(3, classes): pixels right, drawn, predicted. Of many images, (images, 3, classes)."""
RIGHT, DRAWN, PREDICTED = range(3)


@dataclass(frozen=True, slots=True)
class SemanticScores:
    """Means over the classes that occur in the truth or in the predictions; NaN for the others.

    class 0 is the background, which the means leave out and the pixel accuracy counts.
    """

    miou: float
    dice: float
    pixel_accuracy: float
    iou_by_class: dict[int, float]
    dice_by_class: dict[int, float]
    accuracy_by_class: dict[int, float]


def pixel_confusion(truth: NDArray[np.int32], predicted: NDArray[np.int32], classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts: row the truth, column the prediction. classes: the background included."""
    counted = truth != IGNORED
    codes = truth[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(codes, minlength=classes * classes).reshape(classes, classes)


def confusion_counts(confusion: NDArray[np.int64]) -> Counts:
    return np.stack([np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])


def overlapping_counts(
    truth: Mapping[int, Bitmap], predicted: Mapping[int, Bitmap], classes: int, ignored: Bitmap
) -> Counts:
    """Where a pixel may have several classes: each class by itself. Column 0, the background, holds all decisions
    (pixels times classes): right ones, and twice their number."""
    counts = np.zeros((3, classes), dtype=np.int64)
    counted = ~ignored
    pixels = int(np.count_nonzero(counted))
    nothing = np.zeros_like(ignored)
    wrong = 0
    for index in range(1, classes):
        drawn, found = (side.get(index, nothing) & counted for side in (truth, predicted))
        counts[:, index] = np.count_nonzero(drawn & found), np.count_nonzero(drawn), np.count_nonzero(found)
        wrong += int(np.count_nonzero(drawn ^ found))
    decisions = pixels * (classes - 1)
    counts[:, 0] = decisions - wrong, decisions, decisions
    return counts


def score_pixels(counts: NDArray[np.float64] | Counts, *, overlapping: bool = False) -> SemanticScores:
    """counts: (3, classes) of all images together. overlapping: they come from `overlapping_counts`."""
    right, drawn, predicted = counts.astype(np.float64)
    union = drawn + predicted - right
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(union > 0, right / union, np.nan)
        dice = np.where(union > 0, 2 * right / (drawn + predicted), np.nan)
        recall = np.where(drawn > 0, right / drawn, np.nan)
    correct, total = (right[0], drawn[0]) if overlapping else (right.sum(), drawn.sum())
    return SemanticScores(
        miou=_mean(iou[1:]),
        dice=_mean(dice[1:]),
        pixel_accuracy=float(correct / total) if total else float("nan"),
        iou_by_class=_by_class(iou),
        dice_by_class=_by_class(dice),
        accuracy_by_class=_by_class(recall),
    )


def _by_class(values: NDArray[np.float64]) -> dict[int, float]:
    return {index: float(value) for index, value in enumerate(values) if index}


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
