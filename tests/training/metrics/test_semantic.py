from __future__ import annotations

import math

import numpy as np
import pytest

from specrun.training.metrics.semantic import IGNORED, pixel_confusion, score_pixels


def _pixels(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int32)


def test_iou_of_each_class_and_their_mean_without_the_background() -> None:
    confusion = pixel_confusion(_pixels([0, 1, 1, 2]), _pixels([0, 1, 2, 2]), 3)
    scores = score_pixels(confusion)
    assert scores.iou_by_class == {1: 0.5, 2: 0.5}
    assert (scores.miou, scores.pixel_accuracy) == (0.5, 0.75)
    assert scores.dice == pytest.approx(2 / 3)


def test_ignored_pixels_count_for_nothing() -> None:
    confusion = pixel_confusion(_pixels([IGNORED, 1]), _pixels([1, 1]), 2)
    assert confusion.tolist() == [[0, 0], [0, 1]]


def test_a_class_that_occurs_nowhere_is_not_part_of_the_mean() -> None:
    scores = score_pixels(pixel_confusion(_pixels([0, 1]), _pixels([0, 1]), 3))
    assert scores.miou == 1.0
    assert math.isnan(scores.iou_by_class[2])
