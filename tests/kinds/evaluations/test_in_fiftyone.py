"""What FiftyOne keeps of evaluations. Slow: starts MongoDB and imports FiftyOne."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("fiftyone") is None, reason="the extra fiftyone is not installed"),
]

_ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("project")
    program = _ROOT / "tests" / "support" / "evaluated_dataset.py"
    environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run([sys.executable, str(program), str(folder)], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return found


def test_the_run_of_objects_has_our_average_precision_and_confusion(seen: dict[str, Any]) -> None:
    objects = seen["objects"]
    assert objects["type"] == "COCODetectionResults"
    # Of small one of two is found, and one more is invented with the same score; of large and sand none.
    assert objects["map"] == pytest.approx(51 / 101 / 3, abs=1e-6)
    assert objects["confusion"] == [[1, 0], [1, 0]]
    # Classes of images have no verdict here, nor has the background that somebody outlined.
    assert objects["marks"] == {"a.png": ["fn", "tp", None], "b.png": ["fn", None], "c.png": ["fn", None, None]}


def test_what_the_taxonomy_drops_has_no_verdict_and_the_rest_has(seen: dict[str, Any]) -> None:
    assert seen["mapped"]["marks"] == {"a.png": ["tp"], "b.png": ["tp"], "c.png": ["fp"]}
    assert seen["mapped"]["map"] == pytest.approx(67 / 101, abs=1e-6)


def test_the_run_of_pixels_has_their_confusion_and_regions_to_browse(seen: dict[str, Any]) -> None:
    pixels = seen["pixels"]
    assert pixels["type"] == "SegmentationResults"
    assert pixels["confusion"][1][:3] == [16, 16, 0]
    assert pixels["marks"] == {"a.png": ["tp"], "b.png": ["fp"], "c.png": ["fp"]}
    assert pixels["accuracy"]["b.png"] == pytest.approx(1 - 16 / 1024)


def test_the_run_of_classes_says_which_images_are_right(seen: dict[str, Any]) -> None:
    tags = seen["tags"]
    assert tags["type"] == "ClassificationResults"
    assert tags["accuracy"] == pytest.approx(1 / 3)
    assert tags["right"] == {"a.png": True, "b.png": False, "c.png": False}


def test_a_run_of_another_sort_replaces_one_of_the_same_name(seen: dict[str, Any]) -> None:
    assert seen["replaced"] == "COCODetectionResults"


def test_evaluations_change_nothing_that_consumers_of_the_dataset_read(seen: dict[str, Any]) -> None:
    assert seen["moved"] == []
    assert seen["runs"] == ["eval_mapped", "eval_objects", "eval_pixels", "eval_tags"]
