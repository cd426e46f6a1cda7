"""What was taken for what, and on which images most went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from specrun.training.metrics.instances import Bools, ImageInstances, Pairs

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


def match_images(images: Sequence[ImageInstances], pairs: Pairs, *, confidence: float) -> list[ImageMatches]:
    """Pairs by falling IoU, from 0.5 on; of equal ones, the pair of the same class first."""
    candidates = list(_by_image(pairs, len(images), confidence))
    ends = np.cumsum(pairs.truths.counts).tolist()
    return [
        _match(image, found, confidence, pairs.truths.ignored[end - len(image.truth) : end])
        for image, found, end in zip(images, candidates, ends, strict=True)
    ]


def _by_image(pairs: Pairs, images: int, confidence: float) -> Iterator[list[tuple[int, int, float]]]:
    """(index in the truth, index in the predictions, IoU) of each image, in the order in which they are tried."""
    truths, predictions = pairs.truths, pairs.predictions
    certain = predictions.score[pairs.prediction] >= confidence
    truth, prediction, overlap = pairs.truth[certain], pairs.prediction[certain], pairs.overlap[certain]
    other = truths.class_index[truth] != predictions.class_index[prediction]
    order = np.lexsort((prediction, truth, other, -overlap, truths.image[truth]))
    truth, prediction, overlap = truth[order], prediction[order], overlap[order]
    image = truths.image[truth]
    starts = [np.concatenate(([0], np.cumsum(side.counts)))[:-1] for side in (truths, predictions)]
    columns = (truth - starts[0][image], prediction - starts[1][image], overlap)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    borders = np.searchsorted(image, np.arange(images + 1))
    for start, stop in pairwise(borders.tolist()):
        yield rows[start:stop]


def _match(
    image: ImageInstances, candidates: Sequence[tuple[int, int, float]], confidence: float, is_ignored: Bools
) -> ImageMatches:
    pairs: dict[int, tuple[int, float]] = {}
    used: set[int] = set()
    for t, p, iou in candidates:
        if p not in used and (t not in pairs or image.truth[t].crowd):
            used.add(p)
            pairs.setdefault(t, (p, iou))
    ignored = set(np.flatnonzero(is_ignored).tolist())
    return ImageMatches(
        pairs=tuple((t, p, iou) for t, (p, iou) in sorted(pairs.items()) if t not in ignored),
        missed=tuple(t for t in range(len(image.truth)) if t not in pairs and t not in ignored),
        invented=tuple(p for p, found in enumerate(image.predictions) if found.score >= confidence and p not in used),
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
