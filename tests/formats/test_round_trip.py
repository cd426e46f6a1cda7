"""What is exported and read again is what it was, as far as the format can hold it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.formats.coco_read import read_coco
from specrun.formats.coco_write import CocoWriter, keypoint_names
from specrun.formats.samples import label_to_json
from specrun.formats.tally import Tally
from specrun.formats.yolo_read import read_yolo
from specrun.formats.yolo_write import PoseLayout, Task, YoloWriter
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Part, Polygon, Sample, Visibility
from tests.support.data_sets import reading_of, write_image, write_text

SIZE = (40, 30)
CLASSES = ["cat", "dog"]
SQUARE = np.array([[1.5, 2.0], [9.0, 2.0], [9.0, 8.25], [1.5, 8.25]])
BOX = Box(label="dog", x=3.0, y=4.0, width=10.0, height=5.5)
TURNED = Box(label="cat", x=12.0, y=10.0, width=10.0, height=4.0, rotation=30.0)
OUTLINE = Polygon(label="cat", parts=(Part(SQUARE),))
POINTS = Keypoints(
    label="dog",
    points=np.array([[3.0, 4.0], [0.0, 0.0], [20.0, 21.0]]),
    names=("nose", "ear", "tail"),
    visibility=(Visibility.VISIBLE, Visibility.ABSENT, Visibility.OCCLUDED),
    box=(2.0, 3.0, 20.0, 19.0),
)


def plain(label: AnyLabel) -> dict[str, Any]:
    """Without the id that the format gave it, rounded beyond what floats can hold."""

    def rounded(value: Any) -> Any:
        if isinstance(value, list):
            return [rounded(inner) for inner in value]
        return round(value, 6) if isinstance(value, float) else value

    return {key: rounded(value) for key, value in label_to_json(label).items() if key != "id"}


def sample(root: Path, *labels: AnyLabel) -> Sample:
    media = write_image(root / "images/train/a.png", SIZE)
    return Sample(key="a", media=media, name="a.png", digest="d", size_wh=SIZE, split="train", labels=labels)


def through_coco(root: Path, *labels: AnyLabel) -> list[dict[str, Any]]:
    written = sample(root, *labels)
    writer = CocoWriter(CLASSES, "rle", Tally(), keypoint_names([written], {}))
    image = writer.image(written, "a.png")
    annotations = writer.annotations(written, image["id"])
    data = {"images": [image], "annotations": annotations, "categories": writer.categories()}
    file = write_text(root / "annotations/instances_train.json", json.dumps(data))
    (entry,) = read_coco(file, reading_of(root))
    return [plain(label) for label in entry.labels]


@pytest.mark.parametrize(
    "label",
    [
        BOX,
        TURNED,
        OUTLINE,
        Polygon(label="cat", parts=(Part(SQUARE), Part(SQUARE + 15))),
        Mask(label="dog", bitmap=np.array([[True, False, True], [True, True, True]]), left=5, top=6),
        POINTS,
        Box(
            label="cat",
            x=1.0,
            y=2.0,
            width=3.0,
            height=4.0,
            attributes={"note": "x", "size": 2.5, "dead": True},
            group=3,
            z_order=2,
            score=0.5,
            occluded=True,
        ),
    ],
    ids=["box", "turned box", "outline", "parts", "mask", "skeleton", "extras"],
)
def test_coco_keeps(tmp_path: Path, label: AnyLabel) -> None:
    assert through_coco(tmp_path, label) == [plain(label)]


def test_coco_keeps_an_outline_with_its_skeleton(tmp_path: Path) -> None:
    outline = Polygon(label="dog", parts=(Part(SQUARE),), group=4)
    found = through_coco(tmp_path, outline, POINTS)
    assert found == [plain(outline), plain(POINTS)]


def through_yolo(root: Path, task: Task, *labels: AnyLabel) -> list[dict[str, Any]]:
    written = sample(root, *labels)
    layout = PoseLayout(POINTS.names)
    text = YoloWriter(task, {name: i for i, name in enumerate(CLASSES)}, layout).text(written, Tally())
    write_text(root / "labels/train/a.txt", text)
    shape = "kpt_shape: [3, 3]\nkpt_names: {1: [nose, ear, tail]}\n" if task is Task.POSE else ""
    write_text(root / "data.yaml", f"names: [cat, dog]\ntrain: images/train\n{shape}")
    (entry,) = read_yolo(root, reading_of(root), task.value)
    return [plain(label) for label in entry.labels]


@pytest.mark.parametrize(
    ("task", "label"),
    [
        (Task.DETECT, BOX),
        (Task.SEGMENT, OUTLINE),
        (Task.POSE, POINTS),
        (Task.OBB, TURNED),
    ],
)
def test_yolo_keeps(tmp_path: Path, task: Task, label: AnyLabel) -> None:
    assert through_yolo(tmp_path, task, label) == [plain(label)]
