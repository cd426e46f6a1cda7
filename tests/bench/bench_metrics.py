"""Average precision of 5,000 images with 20 boxes each, against pycocotools in the same run.

python tests/bench/bench_metrics.py [IMAGES]
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

import numpy as np

from specrun.training.metrics.instances import ImageInstances, Instance, Measure, match_classes, score_instances
from specrun.training.metrics.mistakes import match_images
from specrun.training.metrics.overlap import find_pairs
from tests.bench.measure import medians_s, show

_CLASSES, _BOXES, _SIZE = 10, 20, 640


def make_images(count: int) -> list[ImageInstances]:
    random = np.random.default_rng(0)
    images = []
    for _ in range(count):
        boxes = np.concatenate([random.uniform(0, _SIZE - 100, (_BOXES, 2)), random.uniform(10, 100, (_BOXES, 2))], 1)
        found = boxes + random.normal(0, 5, boxes.shape).clip(-9, 9)
        classes, scores = random.integers(0, _CLASSES, _BOXES).tolist(), random.random(_BOXES).tolist()
        truth = [Instance(class_index=c, box_xywh=tuple(b)) for c, b in zip(classes, boxes.tolist(), strict=True)]
        predictions = [
            Instance(class_index=c, box_xywh=tuple(b), score=s)
            for c, b, s in zip(classes, found.tolist(), scores, strict=True)
        ]
        images.append(ImageInstances(truth, predictions))
    return images


def ours(images: list[ImageInstances]) -> float:
    """Average precision and what was taken for what."""
    pairs = find_pairs(images, Measure.BOX)
    scores = score_instances(match_classes(pairs, Measure.BOX.max_detections))
    match_images(images, pairs, confidence=scores.confidence)
    return scores.map


def coco(side: list[Any], images: int) -> Any:
    from pycocotools.coco import COCO

    whole = COCO()
    whole.dataset = {
        "images": [{"id": n, "height": _SIZE, "width": _SIZE} for n in range(images)],
        "categories": [{"id": n, "name": str(n)} for n in range(_CLASSES)],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": one.class_index,
                "bbox": list(one.box_xywh),
                "area": one.box_xywh[2] * one.box_xywh[3],
                "iscrowd": 0,
                "score": one.score,
            }
            for number, (image, one) in enumerate(side, 1)
        ],
    }
    whole.createIndex()
    return whole


def pycocotools(images: list[ImageInstances]) -> float:
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        sides = [
            coco([(n, i) for n, image in enumerate(images) for i in getattr(image, side)], len(images))
            for side in ("truth", "predictions")
        ]
        evaluation = COCOeval(*sides, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    return float(precision[precision > -1].mean())


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    images = make_images(count)
    found: dict[str, float] = {}
    cases = {
        "specrun": lambda: found.update(specrun=ours(images)),
        "pycocotools (area all only)": lambda: found.update(pycocotools=pycocotools(images)),
    }
    medians = medians_s(cases, rounds=1)
    show(f"mAP of {count:,} images with {_BOXES} boxes", medians, "a few seconds")
    print(f"  mAP50-95: {found['specrun']:.9f} and {found['pycocotools']:.9f}")
    assert abs(found["specrun"] - found["pycocotools"]) < 1e-6


if __name__ == "__main__":
    main()
