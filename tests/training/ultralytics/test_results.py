from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from specrun.model.labels import Box, Keypoints, Mask, Sample, Tag, Visibility
from specrun.training.decoding import batches_of_one_size
from specrun.training.ultralytics.results import result_to_labels

_CLASSES = ("small", "large")


def _result(**values: Any) -> SimpleNamespace:
    fields = {"orig_shape": (10, 20), "probs": None, "obb": None, "boxes": None, "masks": None, "keypoints": None}
    return SimpleNamespace(**{**fields, **values})


def _boxes(*rows: list[float]) -> SimpleNamespace:
    """x1, y1, x2, y2, confidence, class."""
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return SimpleNamespace(xyxy=table[:, :4], conf=table[:, 4], cls=table[:, 5])


def test_boxes_are_clipped_and_the_most_certain_comes_first() -> None:
    labels = result_to_labels(_result(boxes=_boxes([1, 2, 5, 6, 0.25, 0], [-3, 0, 30, 4, 0.75, 1])), _CLASSES)
    assert all(isinstance(label, Box) for label in labels)
    assert [(b.label, b.x, b.y, b.width, b.height, b.score) for b in labels if isinstance(b, Box)] == [
        ("large", 0, 0, 20, 4, 0.75),
        ("small", 1, 2, 4, 4, 0.25),
    ]


def test_a_mask_is_cut_to_its_box_widened_to_whole_pixels() -> None:
    bitmap = np.zeros((1, 10, 20))
    bitmap[0, 3:5, 4:8] = 1
    masks = SimpleNamespace(data=bitmap)
    (label,) = result_to_labels(_result(boxes=_boxes([3.4, 2.2, 8.1, 5.0, 0.5, 1]), masks=masks), _CLASSES)
    assert isinstance(label, Mask)
    assert (label.left, label.top, label.bitmap.shape, int(label.bitmap.sum())) == (3, 2, (3, 6), 8)


def test_empty_and_small_masks_are_left_out() -> None:
    bitmap = np.zeros((2, 10, 20))
    bitmap[0, 3, 4] = 1
    rows = [[4, 3, 6, 5, 0.5, 1], [0, 0, 2, 2, 0.9, 0]]
    result = _result(boxes=_boxes(*rows), masks=SimpleNamespace(data=bitmap))
    assert len(result_to_labels(result, _CLASSES)) == 1
    assert result_to_labels(result, _CLASSES, min_area=2) == ()


def test_an_image_without_anything_has_no_labels() -> None:
    assert result_to_labels(_result(boxes=_boxes()), _CLASSES) == ()


def test_oriented_boxes_turn_clockwise_in_degrees() -> None:
    obb = SimpleNamespace(xywhr=np.array([[10, 5, 4, 2, np.pi / 2]]), conf=np.array([0.5]), cls=np.array([0.0]))
    (label,) = result_to_labels(_result(obb=obb), _CLASSES)
    assert isinstance(label, Box)
    assert (label.x, label.y, label.width, label.height) == (8, 4, 4, 2)
    assert label.rotation == pytest.approx(90)


def test_keypoints_below_half_are_hidden() -> None:
    points = SimpleNamespace(data=np.array([[[1, 2, 0.9], [3, 4, 0.1]]]))
    (label,) = result_to_labels(_result(boxes=_boxes([0, 0, 4, 4, 0.5, 0]), keypoints=points), _CLASSES)
    assert isinstance(label, Keypoints)
    assert label.points.tolist() == [[1, 2], [3, 4]]
    assert label.visibility == (Visibility.VISIBLE, Visibility.OCCLUDED)
    assert label.box == (0, 0, 4, 4)


def test_a_classification_is_a_tag_that_knows_the_next_classes() -> None:
    probs = SimpleNamespace(data=np.array([0.25, 0.5, 0.0625, 0.1875], dtype=np.float32))
    (label,) = result_to_labels(_result(probs=probs), ("a", "b", "c", "d"))
    assert isinstance(label, Tag)
    assert (label.label, label.score) == ("b", 0.5)
    assert label.others == (("a", 0.25), ("d", 0.1875), ("c", 0.0625))


def test_a_classification_keeps_the_most_certain_of_many_classes() -> None:
    scores = np.arange(100, dtype=np.float32) / 4950
    (label,) = result_to_labels(_result(probs=SimpleNamespace(data=scores)), [f"c{number}" for number in range(100)])
    assert isinstance(label, Tag)
    assert [name for name, _ in ((label.label, label.score), *label.others)] == [f"c{99 - n}" for n in range(20)]


def test_a_batch_holds_images_of_one_size() -> None:
    sizes = [(8, 8), (9, 8), (8, 8), (8, 8), (9, 8)]
    samples = [
        Sample(key=str(n), media=Path("x"), name=str(n), digest=str(n), size_wh=size) for n, size in enumerate(sizes)
    ]
    batches = [[sample.key for sample in batch] for batch in batches_of_one_size(samples, 2)]
    assert batches == [["0", "2"], ["1", "4"], ["3"]]
