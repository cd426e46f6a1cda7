"""OKS against pycocotools, PCK by hand."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import numpy as np
import pytest

from specrun.training.metrics.instances import ImageInstances, Instance, Measure, match_classes, score_instances
from specrun.training.metrics.keypoints import COCO_POINTS, COCO_SIGMAS, correct_points, sigmas_of
from specrun.training.metrics.overlap import find_pairs


def _pose(random: np.random.Generator, *, hidden: float = 0.3, **more: Any) -> Instance:
    left, top, width, height = (float(v) for v in random.uniform(5, 60, 4))
    points = np.zeros((17, 3))
    points[:, :2] = (left, top) + random.random((17, 2)) * (width, height)
    points[:, 2] = np.where(random.random(17) < hidden, 0, random.integers(1, 3, 17))
    box = (left, top, width, height)
    return Instance(class_index=int(random.integers(2)), box_xywh=box, points=points, area=width * height * 0.6, **more)


def _moved(pose: Instance, random: np.random.Generator) -> Instance:
    points = pose.points.copy()  # type: ignore[union-attr]
    points[:, :2] += random.normal(0, 4, (17, 2))
    points[:, 2] = 2
    score = round(float(random.random()), 1)
    return Instance(class_index=pose.class_index, box_xywh=pose.box_xywh, points=points, score=score)


def _images(seed: int) -> list[ImageInstances]:
    random = np.random.default_rng(seed)
    images = []
    for _ in range(15):
        truth = []
        for _ in range(int(random.integers(0, 6))):
            bare = random.random() < 0.15  # no point is marked: COCO ignores it
            truth.append(_pose(random, hidden=1.1 if bare else 0.3, ignored=bare, crowd=random.random() < 0.1))
        predictions = [_moved(t, random) for t in truth if random.random() < 0.8]
        predictions += [_moved(_pose(random), random) for _ in range(int(random.integers(30)))]
        images.append(ImageInstances(truth, predictions))
    return images


def _entry(number: int, image: int, instance: Instance) -> dict[str, Any]:
    points = instance.points
    assert points is not None
    left, top, width, height = instance.box_xywh
    return {
        "id": number,
        "image_id": image,
        "category_id": instance.class_index + 1,
        "bbox": [left, top, width, height],
        "area": width * height if instance.area is None else instance.area,
        "keypoints": points.ravel().tolist(),
        "num_keypoints": int((points[:, 2] > 0).sum()),
        "iscrowd": int(instance.crowd),
        "score": instance.score,
    }


def _pycocotools(images: list[ImageInstances]) -> tuple[float, float]:
    coco_module = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for side in ("truth", "predictions"):
            rows = [(n, i) for n, image in enumerate(images, 1) for i in getattr(image, side)]
            whole = coco_module.COCO()
            whole.dataset = {
                "info": {},
                "images": [{"id": n, "height": 200, "width": 200} for n in range(1, len(images) + 1)],
                "categories": [{"id": n, "name": str(n)} for n in (1, 2)],
                "annotations": [_entry(number, n, i) for number, (n, i) in enumerate(rows, 1)],
            }
            whole.createIndex()
            sides.append(whole)
        evaluation = COCOeval(*sides, "keypoints")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    return float(precision[0][precision[0] > -1].mean()), float(precision[precision > -1].mean())


@pytest.mark.parametrize("seed", range(5))
def test_oks_map_equals_pycocotools(seed: int) -> None:
    images = _images(seed)
    pairs = find_pairs(images, Measure.POINTS, COCO_SIGMAS)
    scores = score_instances(match_classes(pairs, Measure.POINTS.max_detections))
    expected = _pycocotools(images)
    assert 0 < expected[1] < 1
    assert (scores.map50, scores.map) == pytest.approx(expected, abs=1e-9)


def _corners(*points: tuple[float, float, int], score: float = 1.0) -> Instance:
    return Instance(class_index=0, box_xywh=(0, 0, 100, 50), points=np.array(points, dtype=float), score=score)


def test_a_point_is_correct_within_a_fifth_of_the_longer_side() -> None:
    truth = _corners((0, 0, 2), (100, 0, 2), (50, 50, 0))
    near, far = (15, 10, 2), (100, 21, 2)
    image = ImageInstances([truth], [_corners(near, far, (0, 0, 2), score=0.9)])
    shares = correct_points([image], [[(0, 0)]], 3)
    assert shares.pck == 0.5
    assert shares.by_point()[:2] == [1.0, 0.0]
    assert math.isnan(shares.by_point()[2])


def test_points_of_a_missed_object_are_wrong() -> None:
    truth = _corners((0, 0, 2), (100, 0, 2))
    shares = correct_points([ImageInstances([truth], [])], [[]], 2)
    assert shares.pck == 0.0


def test_sigmas_are_those_given_then_cocos_then_the_default() -> None:
    assert sigmas_of(COCO_POINTS, {}, 17) is COCO_SIGMAS
    assert sigmas_of(("TL", "TR"), {"TR": 0.1}, 2).tolist() == [0.05, 0.1]
    assert sigmas_of((), {}, 3).tolist() == [0.05] * 3


def test_an_object_without_marked_points_counts_by_its_box_alone() -> None:
    bare = Instance(class_index=0, box_xywh=(0, 0, 100, 50), points=np.zeros((2, 3)), ignored=True)
    images = [ImageInstances([bare], [])]
    by_box = score_instances(match_classes(find_pairs(images, Measure.BOX), 100))
    by_points = score_instances(match_classes(find_pairs(images, Measure.POINTS, np.full(2, 0.05)), 20))
    assert by_box.map50 == 0.0
    assert math.isnan(by_points.map50)
