"""Average precision against pycocotools, and small cases by hand."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from specrun.training.metrics.instances import (
    IOU_THRESHOLDS,
    RECALL_THRESHOLDS,
    ImageInstances,
    Instance,
    InstanceScores,
    Measure,
    match_classes,
    score_instances,
)
from specrun.training.metrics.mistakes import ImageMatches, confusion_matrix, match_images
from specrun.training.metrics.overlap import find_pairs

_SIZE = 60


def _score(images: list[ImageInstances], measure: Measure = Measure.BOX) -> InstanceScores:
    return score_instances(match_classes(find_pairs(images, measure), measure.max_detections))


def _match(image: ImageInstances, confidence: float) -> ImageMatches:
    (found,) = match_images([image], find_pairs([image], Measure.BOX), confidence=confidence)
    return found


def _box(class_index: int, x: float, y: float, w: float, h: float, **more: Any) -> Instance:
    return Instance(class_index=class_index, box_xywh=(x, y, w, h), **more)


def _random_instance(random: np.random.Generator, **more: Any) -> Instance:
    width, height = (int(random.integers(4, 25)) for _ in range(2))
    left, top = int(random.integers(0, _SIZE - width)), int(random.integers(0, _SIZE - height))
    bitmap = random.random((height, width)) < 0.8
    return Instance(
        class_index=int(random.integers(3)),
        box_xywh=(left, top, width, height),
        bitmap=bitmap,
        left=left,
        top=top,
        **more,
    )


def _shifted(instance: Instance, random: np.random.Generator, score: float) -> Instance:
    dx, dy = (int(random.integers(-2, 3)) for _ in range(2))
    left = int(np.clip(instance.left + dx, 0, _SIZE - instance.bitmap.shape[1]))  # type: ignore[union-attr]
    top = int(np.clip(instance.top + dy, 0, _SIZE - instance.bitmap.shape[0]))  # type: ignore[union-attr]
    index = instance.class_index if random.random() < 0.8 else int(random.integers(3))
    box = (left, top, *instance.box_xywh[2:])
    return Instance(class_index=index, box_xywh=box, bitmap=instance.bitmap, left=left, top=top, score=score)


def _random_images(seed: int, *, crowds: bool) -> list[ImageInstances]:
    random = np.random.default_rng(seed)
    images = []
    for _ in range(12):
        truth = [
            _random_instance(random, crowd=crowds and random.random() < 0.2) for _ in range(int(random.integers(0, 9)))
        ]
        # Scores of one decimal make ties, as they occur.
        predictions = [_shifted(t, random, round(float(random.random()), 1)) for t in truth if random.random() < 0.8]
        predictions += [_random_instance(random, score=float(random.random())) for _ in range(int(random.integers(4)))]
        images.append(ImageInstances(truth, predictions))
    return images


def _pycocotools(images: list[ImageInstances], kind: str) -> tuple[float, float]:
    coco_module = pytest.importorskip("pycocotools.coco")
    from pycocotools import mask as mask_api
    from pycocotools.cocoeval import COCOeval

    def entry(instance: Instance, image_id: int) -> dict[str, Any]:
        whole = np.zeros((_SIZE, _SIZE), dtype=np.uint8, order="F")
        height, width = instance.bitmap.shape  # type: ignore[union-attr]
        whole[instance.top : instance.top + height, instance.left : instance.left + width] = instance.bitmap
        return {
            "image_id": image_id,
            "category_id": instance.class_index + 1,
            "bbox": list(instance.box_xywh),
            "segmentation": mask_api.encode(whole),
            "area": int(whole.sum()),
            "iscrowd": int(instance.crowd),
        }

    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_module.COCO()
        annotations = [entry(i, n) for n, image in enumerate(images, 1) for i in image.truth]
        truth.dataset = {
            "info": {},
            "images": [{"id": n, "height": _SIZE, "width": _SIZE} for n in range(1, len(images) + 1)],
            "categories": [{"id": n, "name": str(n)} for n in (1, 2, 3)],
            "annotations": [{"id": n, **a} for n, a in enumerate(annotations, 1)],
        }
        truth.createIndex()
        rows = [{**entry(i, n), "score": i.score} for n, image in enumerate(images, 1) for i in image.predictions]
        # loadRes would replace the boxes of masks by their extents.
        found = coco_module.COCO()
        found.dataset = {**truth.dataset, "annotations": [{"id": n, **row} for n, row in enumerate(rows, 1)]}
        found.createIndex()
        evaluation = COCOeval(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[1]), float(evaluation.stats[0])


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_map_equals_pycocotools(seed: int, crowds: bool) -> None:
    images = _random_images(seed, crowds=crowds)
    for kind, measure in (("bbox", Measure.BOX), ("segm", Measure.MASK)):
        scores = _score(images, measure)
        assert (scores.map50, scores.map) == pytest.approx(_pycocotools(images, kind), abs=1e-9)


def test_map_equals_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchmetrics.detection")
    images = _random_images(9, crowds=False)
    # Its own thresholds are of single precision, so that an IoU of exactly 0.6 falls below 0.6.
    thresholds = {"iou_thresholds": IOU_THRESHOLDS.tolist(), "rec_thresholds": RECALL_THRESHOLDS.tolist()}
    metric = detection.MeanAveragePrecision(box_format="xywh", iou_type="bbox", class_metrics=True, **thresholds)
    sides: list[list[dict[str, Any]]] = []
    for side in ("predictions", "truth"):
        rows = [getattr(image, side) for image in images]
        sides.append(
            [
                {
                    "boxes": torch.tensor([i.box_xywh for i in row], dtype=torch.float64).reshape(-1, 4),
                    "labels": torch.tensor([i.class_index for i in row], dtype=torch.int64),
                    "scores": torch.tensor([i.score for i in row], dtype=torch.float64),
                }
                for row in rows
            ]
        )
    metric.update(*sides)
    expected = metric.compute()
    scores = _score(images)
    assert (scores.map50, scores.map) == pytest.approx((float(expected["map_50"]), float(expected["map"])), abs=1e-6)
    by_class = [scores.by_class[index].map for index in sorted(scores.by_class)]
    assert by_class == pytest.approx(expected["map_per_class"].tolist(), abs=1e-6)


def test_a_perfect_prediction_scores_one() -> None:
    images = [ImageInstances([_box(0, 0, 0, 10, 10)], [_box(0, 0, 0, 10, 10, score=0.9)])]
    scores = _score(images)
    assert (scores.map50, scores.map, scores.precision, scores.recall) == (1.0, 1.0, 1.0, 1.0)
    assert scores.confidence == 0.9


def test_a_class_that_never_occurs_in_the_truth_is_left_out_of_the_mean() -> None:
    images = [ImageInstances([_box(0, 0, 0, 10, 10)], [_box(0, 0, 0, 10, 10), _box(1, 20, 20, 10, 10, score=0.5)])]
    scores = _score(images)
    assert set(scores.by_class) == {0}
    assert scores.map50 == 1.0


def test_no_truth_at_all_has_no_score() -> None:
    scores = _score([ImageInstances([], [_box(0, 0, 0, 5, 5)])])
    assert np.isnan(scores.map50)
    assert scores.by_class == {}


def test_no_prediction_scores_zero() -> None:
    scores = _score([ImageInstances([_box(0, 0, 0, 5, 5)], [])])
    assert (scores.map50, scores.precision, scores.recall) == (0.0, 0.0, 0.0)


def test_confusion_counts_swapped_missed_and_invented() -> None:
    image = ImageInstances(
        [_box(0, 0, 0, 10, 10), _box(1, 30, 30, 10, 10)],
        [_box(1, 0, 0, 10, 10, score=0.9), _box(0, 50, 0, 5, 5, score=0.9), _box(0, 30, 30, 10, 10, score=0.1)],
    )
    found = _match(image, 0.25)
    assert found.mistakes(image) == 3
    assert confusion_matrix([image], [found], 2).tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_a_crowd_is_neither_missed_nor_does_it_make_predictions_wrong() -> None:
    image = ImageInstances([_box(0, 0, 0, 40, 40, crowd=True)], [_box(0, 0, 0, 10, 10), _box(0, 20, 20, 10, 10)])
    found = _match(image, 0.0)
    assert found.mistakes(image) == 0
