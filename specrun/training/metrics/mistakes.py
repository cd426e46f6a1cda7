"""What was taken for what, and on which images most went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specrun.training.metrics.instances import ImageInstances, overlaps

MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class ImageMatches:
    """pairs: (index in the truth, index in the predictions, IoU), whatever their classes.
    missed: truths without a prediction. invented: predictions without a truth. Crowds count as neither.
    """

    pairs: tuple[tuple[int, int, float], ...]
    missed: tuple[int, ...]
    invented: tuple[int, ...]

    def mistakes(self, image: ImageInstances) -> int:
        swapped = sum(image.truth[t].class_index != image.predictions[p].class_index for t, p, _ in self.pairs)
        return swapped + len(self.missed) + len(self.invented)


def match_image(image: ImageInstances, *, confidence: float, masks: bool) -> ImageMatches:
    """Pairs by falling IoU, from 0.5 on; of equal ones, the pair of the same class first."""
    predictions = [i for i, p in enumerate(image.predictions) if p.score >= confidence]
    truth = list(range(len(image.truth)))
    matrix = overlaps([image.predictions[i] for i in predictions], image.truth, masks=masks)
    candidates = [
        (matrix[i, t], image.predictions[p].class_index == image.truth[t].class_index, -t, -p)
        for i, p in enumerate(predictions)
        for t in truth
        if matrix[i, t] >= MATCH_IOU
    ]
    pairs: dict[int, tuple[int, float]] = {}
    used: set[int] = set()
    for iou, _, minus_t, minus_p in sorted(candidates, reverse=True):
        t, p = -minus_t, -minus_p
        if p not in used and (t not in pairs or image.truth[t].crowd):
            used.add(p)
            pairs.setdefault(t, (p, float(iou)))
    drawn = {t: pair for t, pair in pairs.items() if not image.truth[t].crowd}
    return ImageMatches(
        pairs=tuple((t, p, iou) for t, (p, iou) in sorted(drawn.items())),
        missed=tuple(t for t in truth if t not in pairs and not image.truth[t].crowd),
        invented=tuple(p for p in predictions if p not in used),
    )


def confusion_matrix(
    images: Sequence[ImageInstances], matches: Sequence[ImageMatches], classes: int
) -> NDArray[np.int64]:
    """(classes + 1, classes + 1): row the truth, column the prediction; the last of each is background."""
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for image, found in zip(images, matches, strict=True):
        for t, p, _ in found.pairs:
            matrix[image.truth[t].class_index, image.predictions[p].class_index] += 1
        for t in found.missed:
            matrix[image.truth[t].class_index, classes] += 1
        for p in found.invented:
            matrix[classes, image.predictions[p].class_index] += 1
    return matrix
