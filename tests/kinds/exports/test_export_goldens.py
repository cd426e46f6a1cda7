"""What each export writes for one mixed dataset, word for word (SPECRUN_UPDATE_GOLDEN=1 writes it anew)."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from specrun.kinds.exports.coco import Coco, CocoSpec
from specrun.kinds.exports.image_classification import ImageClassification, ImageClassificationSpec
from specrun.kinds.exports.mmseg import MMSeg, MMSegSpec
from specrun.kinds.exports.yolo import Yolo, YoloSpec
from tests.support.fake_dataset import export_context
from tests.support.golden import check_golden
from tests.support.mixed_dataset import CLASSES, mixed_dataset

EXPORTS = {
    **{f"yolo-{task}": (Yolo(), YoloSpec(dataset="reef", task=task)) for task in ("detect", "segment", "obb", "pose")},
    "yolo-classify": (Yolo(), YoloSpec(dataset="reef", task="classify")),
    "coco-rle": (Coco(), CocoSpec(dataset="reef")),
    "coco-polygons": (Coco(), CocoSpec(dataset="reef", masks="polygons")),
    "mmseg": (MMSeg(), MMSegSpec(dataset="reef", unannotated="ignore", statistics={"channels": "val"})),
    "mmseg-grid": (
        MMSeg(),
        MMSegSpec(
            dataset="reef",
            background=None,
            unannotated="skip",
            transforms={"grid_crop": {"size": (20, 30), "threshold": 2.5}},
        ),
    ),
    "image_classification": (ImageClassification(), ImageClassificationSpec(dataset="reef")),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_export_is_as_its_golden_file_says(tmp_path, monkeypatch, name):
    kind, spec = EXPORTS[name]
    context = export_context(tmp_path, monkeypatch, mixed_dataset(tmp_path / "media"), CLASSES)
    outputs = kind.run(spec, context)
    check_golden(f"exports/{name}.txt", describe(context.staging, outputs))


def describe(folder: Path, outputs) -> str:
    lines = [f"note: {note}" for note in outputs.notes]
    lines += [f"{key}: {value}" for key, value in sorted(outputs.facts.items())]
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or path.is_file():
            lines += ["", f"== {path.relative_to(folder).as_posix()}", *describe_file(path)]
        elif not any(path.iterdir()):
            lines += ["", f"== {path.relative_to(folder).as_posix()}/ (empty)"]
    return "\n".join(lines) + "\n"


def describe_file(path: Path) -> list[str]:
    if path.is_symlink():
        return [f"-> {os.readlink(path)}"]
    if path.name == "conversions.json":
        return ["(digests)"]
    if path.suffix != ".png":
        return path.read_text(encoding="utf-8").splitlines()
    image = Image.open(path)
    if image.mode != "P":
        return [f"{image.mode} {image.width} x {image.height}"]
    symbols = {255: "#", **{value: str(value) for value in range(10)}}
    return ["".join(symbols[value] for value in row) for row in np.asarray(image).tolist()]
