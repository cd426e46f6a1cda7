"""Classes of whole images: accuracy, top-5, precision, recall and F1 by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TOP = 5


@dataclass(frozen=True, slots=True)
class ImageClasses:
    """truth: class indices, usually one. predicted: class indices, most certain first."""

    truth: tuple[int, ...]
    predicted: tuple[int, ...]

    @property
    def right(self) -> bool:
        return bool(self.predicted) and self.predicted[0] in self.truth

    @property
    def row(self) -> int:
        """The truth that the first prediction is held against."""
        return self.predicted[0] if self.right else self.truth[0]


@dataclass(frozen=True, slots=True)
class ClassificationScores:
    """by_class: precision, recall, F1, truths; NaN where nothing says (no prediction, no truth).

    f1: mean over the classes that occur in the truth or in the predictions.
    """

    accuracy: float
    top5: float
    f1: float
    by_class: dict[int, tuple[float, float, float, int]]


def count_classes(images: Sequence[ImageClasses], classes: int) -> NDArray[np.int64]:
    """(images, 3, classes + 2): rows right, drawn, predicted. The last two columns of the first row: the image is
    right, is right among the first five."""
    counts = np.zeros((len(images), 3, classes + 2), dtype=np.int64)
    for place, image in enumerate(images):
        for index in image.truth:
            counts[place, 1, index] = 1
        if image.predicted:
            counts[place, 2, image.predicted[0]] = 1
            counts[place, 0, image.predicted[0]] = image.right
        counts[place, 0, classes] = image.right
        counts[place, 0, classes + 1] = any(index in image.truth for index in image.predicted[:TOP])
    return counts


def score_classes(counts: NDArray[np.int64], weights: Floats | None = None) -> ClassificationScores:
    """counts: by `count_classes`. weights: how often each image counts, default once."""
    images = float(len(counts)) if weights is None else float(weights.sum())
    total = counts.sum(axis=0) if weights is None else np.tensordot(weights, counts, axes=1)
    right, drawn, predicted = (row[:-2].astype(np.float64) for row in total)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall, f1 = right / predicted, right / drawn, 2 * right / (drawn + predicted)
    known = ~np.isnan(f1)
    return ClassificationScores(
        accuracy=float(total[0, -2] / images) if images else float("nan"),
        top5=float(total[0, -1] / images) if images else float("nan"),
        f1=float(f1[known].mean()) if known.any() else float("nan"),
        by_class={
            index: (float(precision[index]), float(recall[index]), float(f1[index]), int(drawn[index]))
            for index in range(len(f1))
        },
    )


def class_confusion(images: Sequence[ImageClasses], classes: int) -> NDArray[np.int64]:
    """(classes + 1, classes + 1): row the truth, column the prediction; the last column: none was predicted."""
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for image in images:
        matrix[image.row, image.predicted[0] if image.predicted else classes] += 1
    return matrix
