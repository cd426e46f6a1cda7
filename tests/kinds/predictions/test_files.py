"""Files of predictions by the model's task; the others are tested with the models in test_predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from specrun.kinds.predictions.files import PredictionFiles
from specrun.kinds.predictions.spec import OutputsSpec
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Sample, Tag
from tests.support.context import make_context

_MASK = Mask(label="coin", bitmap=np.ones((10, 20), dtype=bool), left=0, top=0, score=0.9)
_BOX = Box(label="coin", x=0, y=0, width=20, height=10, score=0.9)
_POINTS = Keypoints(label="coin", points=np.array([[0.0, 0.0], [20.0, 10.0]]), box=(0, 0, 20, 10), score=0.9)


@pytest.mark.parametrize(
    ("task", "label", "line"),
    [
        ("semantic", _MASK, "0 0 0 0.5 0 0.5 0.5 0 0.5"),
        ("endpoint", _MASK, "0 0 0 0.5 0 0.5 0.5 0 0.5"),
        ("endpoint", _BOX, "0 0.25 0.25 0.5 0.5"),
        ("pose", _POINTS, "0 0.25 0.25 0.5 0.5 0 0 2 0.5 0.5 2"),
    ],
)
def test_every_model_that_finds_something_in_an_image_writes_yolo_files(
    tmp_path: Path, task: str, label: AnyLabel, line: str
) -> None:
    assert _yolo(tmp_path, task, label) == (line + "\n", ())


def test_classes_of_whole_images_have_no_yolo_files_and_that_is_said(tmp_path: Path) -> None:
    text, notes = _yolo(tmp_path, "classify", Tag(label="coin", score=0.9))
    assert (text, notes) == (None, ("yolo: classes of whole images have no label files",))


@pytest.mark.parametrize(("task", "drawn"), [("semantic", True), ("segment", False)])
def test_pixels_of_a_model_of_pixels_are_in_the_mask_however_uncertain(tmp_path: Path, task: str, drawn: bool) -> None:
    context = make_context(tmp_path, "predictions.p")
    files = PredictionFiles(context, OutputsSpec(coco=False), ("coin",), task)
    sample = Sample(key="a", media=Path("/nowhere/a.png"), name="a.png", digest="d", size_wh=(40, 20))
    files.add(sample, "a", (replace(_MASK, score=0.2),))
    with Image.open(context.staging / "masks" / "a.png") as mask:
        assert bool(np.asarray(mask).any()) is drawn


def _yolo(tmp_path: Path, task: str, label: AnyLabel) -> tuple[str | None, tuple[str, ...]]:
    context = make_context(tmp_path, "predictions.p")
    files = PredictionFiles(context, OutputsSpec(masks=False, coco=False, yolo=True), ("coin",), task)
    sample = Sample(key="a", media=Path("/nowhere/a.png"), name="a.png", digest="d", size_wh=(40, 20))
    files.add(sample, "a", (label,))
    path = context.staging / "labels" / "a.txt"
    return path.read_text() if path.is_file() else None, files.notes()
