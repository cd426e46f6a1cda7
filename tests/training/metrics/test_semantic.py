from __future__ import annotations

import math

import numpy as np
import pytest

from specrun.training.metrics.semantic import (
    IGNORED,
    confusion_counts,
    overlapping_counts,
    pixel_confusion,
    score_pixels,
)


def _pixels(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int32)


def test_iou_of_each_class_and_their_mean_without_the_background() -> None:
    confusion = pixel_confusion(_pixels([0, 1, 1, 2]), _pixels([0, 1, 2, 2]), 3)
    scores = score_pixels(confusion_counts(confusion))
    assert scores.iou_by_class == {1: 0.5, 2: 0.5}
    assert (scores.miou, scores.pixel_accuracy) == (0.5, 0.75)
    assert scores.dice == pytest.approx(2 / 3)


def test_ignored_pixels_count_for_nothing() -> None:
    confusion = pixel_confusion(_pixels([IGNORED, 1]), _pixels([1, 1]), 2)
    assert confusion.tolist() == [[0, 0], [0, 1]]


def test_a_class_that_occurs_nowhere_is_not_part_of_the_mean() -> None:
    scores = score_pixels(confusion_counts(pixel_confusion(_pixels([0, 1]), _pixels([0, 1]), 3)))
    assert scores.miou == 1.0
    assert math.isnan(scores.iou_by_class[2])


def test_scores_equal_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("torchmetrics.classification")
    random = np.random.default_rng(3)
    truth, predicted = (random.integers(0, 4, (5, 20, 20)).astype(np.int32) for _ in range(2))
    truth[random.random(truth.shape) < 0.1] = IGNORED
    scores = score_pixels(confusion_counts(pixel_confusion(truth, predicted, 5)))  # class 4 never occurs
    given = torch.from_numpy(predicted).long(), torch.from_numpy(truth).long()
    options = {"num_classes": 5, "ignore_index": IGNORED}
    iou = metrics.MulticlassJaccardIndex(average="none", **options)(*given).tolist()
    dice = metrics.MulticlassF1Score(average="none", **options)(*given).tolist()
    assert [scores.iou_by_class[i] for i in (1, 2, 3)] == pytest.approx(iou[1:4], abs=1e-6)
    assert [scores.dice_by_class[i] for i in (1, 2, 3)] == pytest.approx(dice[1:4], abs=1e-6)
    assert scores.miou == pytest.approx(sum(iou[1:4]) / 3, abs=1e-6)
    accuracy = metrics.MulticlassAccuracy(average="micro", **options)(*given)
    assert scores.pixel_accuracy == pytest.approx(float(accuracy), abs=1e-6)
    assert math.isnan(scores.iou_by_class[4])
    confusion = metrics.MulticlassConfusionMatrix(**options)(*given)
    assert pixel_confusion(truth, predicted, 5).tolist() == confusion.tolist()


def test_scores_of_overlapping_masks_equal_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("torchmetrics.classification")
    random = np.random.default_rng(4)
    truth, predicted = (random.random((3, 16, 16)) < 0.4 for _ in range(2))
    ignored = random.random((16, 16)) < 0.1
    maps = [{index + 1: side[index] for index in range(3)} for side in (truth, predicted)]
    scores = score_pixels(overlapping_counts(*maps, 4, ignored), overlapping=True)
    columns = [torch.from_numpy(side[:, ~ignored].T.astype(np.int64)) for side in (predicted, truth)]
    iou = metrics.MultilabelJaccardIndex(num_labels=3, average="none")(*columns).tolist()
    accuracy = float(metrics.MultilabelAccuracy(num_labels=3, average="micro")(*columns))
    assert [scores.iou_by_class[i] for i in (1, 2, 3)] == pytest.approx(iou, abs=1e-6)
    assert scores.miou == pytest.approx(sum(iou) / 3, abs=1e-6)
    assert scores.pixel_accuracy == pytest.approx(accuracy, abs=1e-6)
