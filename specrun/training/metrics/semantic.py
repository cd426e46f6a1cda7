"""Per-pixel scores from a confusion matrix of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED = -1
"""A pixel of the truth that counts for nothing."""


@dataclass(frozen=True, slots=True)
class SemanticScores:
    """Means over the classes that occur in the truth or in the predictions; NaN for the others.

    class 0 is the background, which the means leave out and the pixel accuracy counts.
    """

    miou: float
    dice: float
    pixel_accuracy: float
    iou_by_class: dict[int, float]


def pixel_confusion(truth: NDArray[np.int32], predicted: NDArray[np.int32], classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts: row the truth, column the prediction. classes: the background included."""
    counted = truth != IGNORED
    codes = truth[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(codes, minlength=classes * classes).reshape(classes, classes)


def score_pixels(confusion: NDArray[np.int64]) -> SemanticScores:
    right = np.diag(confusion).astype(np.float64)
    drawn, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    union = drawn + predicted - right
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(union > 0, right / union, np.nan)
        dice = np.where(union > 0, 2 * right / (drawn + predicted), np.nan)
    total = confusion.sum()
    return SemanticScores(
        miou=_mean(iou[1:]),
        dice=_mean(dice[1:]),
        pixel_accuracy=float(right.sum() / total) if total else float("nan"),
        iou_by_class={index: float(value) for index, value in enumerate(iou) if index},
    )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
