"""Every export out of a real FiftyOne dataset. Slow: starts MongoDB and imports FiftyOne."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from specrun.kinds.exports.coco import Coco, CocoSpec
from specrun.kinds.exports.mmseg import MMSeg, MMSegSpec
from specrun.kinds.exports.yolo import Yolo, YoloSpec
from tests.support.fake_dataset import export_context
from tests.support.mixed_dataset import CLASSES, mixed_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("fiftyone") is None, reason="the extra fiftyone is not installed"),
]

_ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("project")
    program = _ROOT / "tests" / "support" / "exported_dataset.py"
    environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run([sys.executable, str(program), str(folder)], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return found


@pytest.mark.parametrize(
    ("name", "kind", "spec", "suffix"),
    [
        ("yolo", Yolo(), YoloSpec(dataset="reef"), ".txt"),
        ("mmseg", MMSeg(), MMSegSpec(dataset="reef"), ".png"),
    ],
)
def test_fiftyone_loses_nothing_on_the_way(seen, tmp_path, monkeypatch, name, kind, spec, suffix):
    context = export_context(tmp_path, monkeypatch, mixed_dataset(tmp_path / "media"), CLASSES)
    outputs = kind.run(spec, context)
    assert seen[name]["notes"] == list(outputs.notes)
    written = [p for p in context.staging.rglob(f"*{suffix}") if not p.is_symlink() and p.parts[-3] != "images"]
    assert written
    for path in written:
        place = path.relative_to(context.staging).as_posix()
        ours, theirs = path.read_bytes().decode("latin-1"), seen[name]["files"][place]
        # FiftyOne keeps the sorts of labels apart, so their order among each other is lost.
        assert sorted(theirs.splitlines()) == sorted(ours.splitlines()), place


def test_coco_has_the_same_shapes_as_without_fiftyone(seen, tmp_path, monkeypatch):
    context = export_context(tmp_path, monkeypatch, mixed_dataset(tmp_path / "media"), CLASSES)
    Coco().run(CocoSpec(dataset="reef"), context)
    ours = json.loads((context.staging / "annotations/instances_train.json").read_text())
    theirs = json.loads(seen["coco"]["files"]["annotations/instances_train.json"].encode("latin-1"))
    shapes = [
        sorted(
            (row["category_id"], row["iscrowd"], *(round(value, 4) for value in row["bbox"]), round(row["area"], 3))
            for row in rows
        )
        for rows in (ours["annotations"], theirs["annotations"])
    ]
    assert shapes[0] == shapes[1]


def test_fiftyones_own_exporter_writes_a_folder_a_split(seen):
    voc = seen["voc"]
    assert sorted(name for name in voc["files"] if name.startswith("val/data/")) == [
        "val/data/empty.jpg",
        "val/data/turned.jpg",
        "val/data/étoile.png",
    ]
    assert len(voc["links"]) == 5
    assert "val/data/turned.jpg" not in voc["links"], "it is upright now"
    assert "<name>coral</name>" in voc["files"]["train/labels/reef.xml"]
    assert voc["notes"] == [
        "classifications, keypoints, polylines of ground_truth are not part of VOCDetectionDataset",
        "1 image without a split is left out",
        "1 image was written as upright RGB PNG under its old name because of EXIF orientation",
    ]


def test_files_name_where_the_folder_lies_and_not_where_it_was_written(seen):
    assert not any(
        ".staging" in text for name, text in seen["voc"]["files"].items() if name not in seen["voc"]["links"]
    )


def test_a_misspelt_type_is_an_error_with_a_suggestion(seen):
    assert 'Did you mean "VOCDetectionDataset"?' in seen["misspelt"]["error"]
