"""Objects in several views of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from specrun.model.labels import AnyLabel, Box, Sample
from specrun.training.instances import Images, predict_instances
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
