"""Labels that say the same."""

from __future__ import annotations

import numpy as np
import pytest

from specrun.model.labels import AnyLabel, Box, Mask, Tag
from specrun.training.nms import fused, iou, suppressed


def _box(x: float, score: float, label: str = "a", **values: float) -> Box:
    return Box(label=label, score=score, x=x, y=0, width=10, height=10, **values)


def _mask(left: int, score: float, columns: int = 4) -> Mask:
    return Mask(label="a", score=score, bitmap=np.ones((4, columns), dtype=bool), left=left, top=0)


def test_the_more_certain_of_two_on_one_place_stays() -> None:
    assert [label.score for label in suppressed([_box(0, 0.4), _box(1, 0.9)], 0.5, class_wise=True)] == [0.9]


@pytest.mark.parametrize(("class_wise", "left"), [(True, 2), (False, 1)])
def test_other_classes_count_only_when_asked(class_wise: bool, left: int) -> None:
    assert len(suppressed([_box(0, 0.4, "b"), _box(1, 0.9)], 0.5, class_wise=class_wise)) == left


def test_masks_are_compared_by_their_pixels() -> None:
    ring = np.ones((10, 10), dtype=bool)
    ring[2:8, 2:8] = False
    outer = Mask(label="a", score=0.9, bitmap=ring, left=0, top=0)
    inner = Mask(label="a", score=0.8, bitmap=np.ones((6, 6), dtype=bool), left=2, top=2)
    assert iou(outer, inner) == 0
    assert len(suppressed([outer, inner], 0.1, class_wise=True)) == 2


def test_rotated_boxes_are_compared_as_they_lie() -> None:
    assert iou(_box(0, 1, rotation=0.0), _box(0, 1, rotation=90.0)) == pytest.approx(1.0, abs=1e-3)
    assert iou(_box(0, 1), _box(0, 1, rotation=45.0)) == pytest.approx(0.707, abs=0.01)


def test_views_that_agree_are_averaged_and_those_that_saw_nothing_count() -> None:
    seen: list[list[AnyLabel]] = [[_box(0, 0.9)], [_box(2, 0.3)], []]
    (label,) = fused(seen, 0.5, class_wise=True)
    assert isinstance(label, Box)
    assert label.score == pytest.approx(0.4)
    assert label.x == pytest.approx(0.5)  # (0.9 x 0 + 0.3 x 2) / 1.2


def test_a_fused_mask_has_the_pixels_that_most_of_the_weight_has() -> None:
    (label,) = fused([[_mask(0, 0.9)], [_mask(1, 0.8)], [_mask(1, 0.8)]], 0.3, class_wise=True)
    assert isinstance(label, Mask)
    whole = np.zeros(6, dtype=bool)
    whole[label.left : label.left + label.bitmap.shape[1]] = label.bitmap[0]
    assert whole.tolist() == [False, True, True, True, True, False]


def test_tags_of_views_are_a_vote() -> None:
    seen = [Tag(label="a", score=0.6, others=(("b", 0.3),)), Tag(label="b", score=0.9), Tag(label="a", score=0.6)]
    (label,) = fused([[tag] for tag in seen], 0.5, class_wise=True)
    assert isinstance(label, Tag)
    # Of three views; what a view did not name counts as nothing.
    assert [(label.label, label.score), *label.others] == [("a", pytest.approx(0.4)), ("b", pytest.approx(0.4))]


def test_labels_of_one_view_are_never_fused() -> None:
    first: list[AnyLabel] = [_box(0, 0.9), _box(2, 0.8)]
    assert iou(*first) > 0.5
    second: list[AnyLabel] = [_box(0, 0.7), _box(2, 0.85)]
    found = fused([first, second], 0.5, class_wise=True)
    assert [(label.x, pytest.approx(label.score)) for label in found if isinstance(label, Box)] == [
        (pytest.approx(2), 0.825),
        (pytest.approx(0), 0.8),
    ]


def test_rotated_boxes_are_averaged_however_their_rotation_is_written() -> None:
    one = Box(label="a", score=0.6, x=10, y=20, width=40, height=10, rotation=30.0)
    other = Box(label="a", score=0.6, x=27, y=5, width=10, height=40, rotation=124.0)
    (found,) = fused([[one], [other]], 0.5, class_wise=True)
    assert isinstance(found, Box)
    assert (found.x, found.y, found.width, found.height) == pytest.approx((11, 20, 40, 10))
    assert found.rotation == pytest.approx(32)
