from __future__ import annotations

import math

import numpy as np
import pytest

from specrun.training.metrics.classification import (
    ImageClasses,
    class_confusion,
    count_classes,
    score_classes,
)


def test_scores_equal_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("torchmetrics.classification")
    random = np.random.default_rng(0)
    certainty = random.random((60, 8))
    certainty[:, 7] = 0  # the last class is neither drawn nor predicted first
    truth = random.integers(0, 7, 60)
    images = [
        ImageClasses((int(t),), tuple(np.argsort(-row).tolist())) for t, row in zip(truth, certainty, strict=True)
    ]
    scores = score_classes(count_classes(images, 8))
    given = torch.from_numpy(certainty), torch.from_numpy(truth)
    options = {"num_classes": 8}
    assert scores.accuracy == pytest.approx(float(metrics.MulticlassAccuracy(average="micro", **options)(*given)))
    top5 = metrics.MulticlassAccuracy(average="micro", top_k=5, **options)(*given)
    assert scores.top5 == pytest.approx(float(top5), abs=1e-6)
    assert scores.f1 == pytest.approx(float(metrics.MulticlassF1Score(average="macro", **options)(*given)), abs=1e-6)
    for place, metric in enumerate(("Precision", "Recall", "F1Score")):
        expected = getattr(metrics, f"Multiclass{metric}")(average="none", **options)(*given).tolist()
        assert [scores.by_class[i][place] for i in range(7)] == pytest.approx(expected[:7], abs=1e-6)
    confusion = metrics.MulticlassConfusionMatrix(**options)(*given)
    assert class_confusion(images, 8)[:8, :8].tolist() == confusion.tolist()


def test_a_class_that_never_occurs_has_no_numbers() -> None:
    scores = score_classes(count_classes([ImageClasses((0,), (0,))], 2))
    assert all(math.isnan(value) for value in scores.by_class[1][:3])
    assert scores.f1 == 1.0


def test_an_image_without_prediction_is_wrong() -> None:
    images = [ImageClasses((0,), ()), ImageClasses((0,), (0,))]
    assert score_classes(count_classes(images, 1)).accuracy == 0.5
    assert class_confusion(images, 1).tolist() == [[1, 1], [0, 0]]


def test_one_of_several_true_classes_is_right() -> None:
    image = ImageClasses((0, 2), (2, 1))
    scores = score_classes(count_classes([image], 3))
    assert scores.accuracy == 1.0
    assert scores.by_class[0][1] == 0.0
    assert class_confusion([image], 3)[2, 2] == 1
