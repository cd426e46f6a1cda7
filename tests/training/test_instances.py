"""Objects in several views of an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.model.labels import AnyLabel, Box, Sample, Tag
from specrun.training.instances import Images, chosen_labels, predict_instances
from specrun.training.predictor import PredictionSettings
from specrun.training.ultralytics.predictor import scaled_size

_SAMPLE = Sample(key="a", name="a", media=Path("a.png"), size_wh=(40, 30), digest="d")
_SETTINGS = PredictionSettings(threshold=0.1, min_area=0, batch=2, device="cpu", tta=("scale",))


def _read(path: Path) -> np.ndarray:
    return np.zeros((30, 40, 3), dtype=np.uint8)


def test_a_model_that_sizes_images_itself_is_asked_for_other_sizes() -> None:
    asked: list[tuple[float, tuple[int, ...]]] = []

    def at(images: Images, scale: float) -> list[list[AnyLabel]]:
        asked.append((scale, images[0].shape))
        return [[Box(label="a", score=scale / 2, x=4, y=4, width=10, height=10)] for _ in images]

    def detect(images: Images) -> list[list[AnyLabel]]:
        return at(images, 1.0)

    ((_, (label,)),) = predict_instances([_SAMPLE], detect, _SETTINGS, _read, scaled=at)
    assert asked == [(1.0, (30, 40, 3)), (0.8, (30, 40, 3)), (1.25, (30, 40, 3))]
    assert isinstance(label, Box)
    assert (label.x, label.width, label.score) == pytest.approx((4, 10, (1 + 0.8 + 1.25) / 6))


@pytest.mark.parametrize(
    ("size", "scale", "expected"), [(640, 0.8, 512), (640, 1.25, 800), (64, 0.8, 32), (64, 1.25, 96), (32, 0.8, 32)]
)
def test_a_scaled_size_is_of_whole_strides_and_another_one(size: int, scale: float, expected: int) -> None:
    assert scaled_size([size, size], scale, 32) == [expected, expected]


def _box(label: str, score: float, x: float, size: float = 10) -> Box:
    return Box(label=label, score=score, x=x, y=0, width=size, height=size)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, ["a 0.9", "b 0.8", "a 0.7", "a 0.6"]),
        ({"threshold": 0.65}, ["a 0.9", "b 0.8", "a 0.7"]),
        ({"min_area": 50}, ["a 0.9", "b 0.8", "a 0.7"]),
        ({"max_count": 2}, ["a 0.9", "b 0.8"]),
        ({"nms_iou": 0.5}, ["a 0.9", "b 0.8", "a 0.6"]),
        ({"nms_iou": 0.5, "class_wise": False}, ["a 0.9", "a 0.6"]),
        ({"nms_iou": 0.5, "max_count": 3}, ["a 0.9", "b 0.8", "a 0.6"]),
    ],
)
def test_labels_are_chosen_by_confidence_area_overlap_and_count(changes: dict[str, Any], left: list[str]) -> None:
    found = [_box("a", 0.6, 30, size=4), _box("a", 0.7, 1), _box("a", 0.9, 0), _box("b", 0.8, 0)]
    chosen = chosen_labels(found, replace(_SETTINGS, **changes))
    assert [f"{label.label} {label.score}" for label in chosen] == left


def test_the_classes_of_an_image_are_averaged_over_its_views() -> None:
    answers = [Tag(label="a", score=0.6, others=(("b", 0.4),)), Tag(label="b", score=0.9, others=(("a", 0.1),))]

    def detect(images: Images) -> list[list[AnyLabel]]:
        return [[answers.pop(0)] for _ in images]

    settings = replace(_SETTINGS, tta=("flip",))
    ((_, (label,)),) = predict_instances([_SAMPLE], detect, settings, _read)
    assert isinstance(label, Tag)
    assert (label.label, label.score) == ("b", pytest.approx(0.65))
    assert label.others == (("a", pytest.approx(0.35)),)
