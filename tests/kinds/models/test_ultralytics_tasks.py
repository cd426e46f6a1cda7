"""Every task, trained from nothing on a handful of squares. Slow: each process imports torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.trained import staging, train
from tests.support.yolo_squares import CLASSES, write_squares

pytestmark = pytest.mark.slow

_WEIGHTS = {
    "detect": "yolo11n.yaml",
    "segment": "yolo11n-seg.yaml",
    "pose": "yolo11n-pose.yaml",
    "obb": "yolo11n-obb.yaml",
    "classify": "yolo11n-cls.yaml",
}
_SCORES = {
    "detect": "metrics/mAP50(B)",
    "segment": "metrics/mAP50(M)",
    "pose": "metrics/mAP50(P)",
    "obb": "metrics/mAP50(B)",
    "classify": "metrics/accuracy_top1",
}


@pytest.mark.parametrize("task", list(_WEIGHTS))
def test_every_task_is_trained_with_its_scores_and_plots(tmp_path: Path, task: str) -> None:
    write_squares(tmp_path / "export", task)
    made = train(tmp_path, weights=_WEIGHTS[task], train={"epochs": 2, "plots": True})

    assert (made["facts"]["task"], made["facts"]["classes"]) == (task, list(CLASSES))
    assert (made["facts"]["epochs"], made["facts"]["batch"], made["facts"]["imgsz"]) == (2, 4, 64)
    assert _SCORES[task] in made["facts"]["metrics"]
    assert {step for name, step, _ in made["metrics"] if name == _SCORES[task]} == {1, 2}
    assert any(name.startswith("train/") for name, _, _ in made["metrics"])
    assert "epoch 2/2" in made["phases"]
    described = json.loads((staging(tmp_path) / "model.json").read_text())
    assert (described["kind"], described["task"], described["classes"]) == ("ultralytics", task, list(CLASSES))
    assert {"best", "last", "model", "results", "confusion_matrix"} <= set(made["artifacts"])
    assert all((staging(tmp_path) / place).is_file() for place in made["artifacts"].values())
    # Nothing was written outside the folder of the project, and no name was looked up.
    assert made["outside"] == []
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".specrun", "export", "home", "outputs"]


def test_one_image_and_one_class_are_enough(tmp_path: Path) -> None:
    write_squares(tmp_path / "export", "detect", train=1, val=1, classes=("dot",))
    made = train(tmp_path)
    assert made["facts"]["classes"] == ["dot"]
    assert made["facts"]["epochs"] == 1


def test_a_class_that_never_occurs_keeps_its_place_and_is_told(tmp_path: Path) -> None:
    write_squares(tmp_path / "export", "classify", classes=("a", "b", "c"), used=2)
    made = train(tmp_path, weights="yolo11n-cls.yaml")
    assert made["facts"]["classes"] == ["a", "b", "c"]
    assert "no training image has a label of c" in made["told"]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"val": 0}, "the split val has no images"),
        ({"used": 0}, "no image of the split train has a label"),
        ({"classes": ("one",)}, "class 1 is not one of the 1 classes"),
    ],
)
def test_what_cannot_be_learnt_is_told_before_training(tmp_path: Path, shapes: dict[str, Any], message: str) -> None:
    folder = write_squares(tmp_path / "export", "detect", **shapes)
    if "classes" in shapes:
        (folder / "labels" / "train" / "000.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    made = train(tmp_path)
    assert made["error"] == "FormatError"
    assert message in made["message"]
    assert not (staging(tmp_path) / "weights").exists()


def test_a_tracker_gets_the_numbers_of_every_epoch(tmp_path: Path) -> None:
    write_squares(tmp_path / "export", "classify")
    made = train(tmp_path, weights="yolo11n-cls.yaml", train={"epochs": 2}, environ={"TRACK": "1"})
    ((weights, rows, ended),) = made["tracked"]
    assert (weights, ended) == ("yolo11n-cls.yaml", 0)
    told = {step: {name: value for name, at, value in made["metrics"] if at == step} for step in (1, 2)}
    assert dict(map(tuple, rows)) == told
    assert made["outside"] == []
