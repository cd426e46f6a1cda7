"""The library's model under our loop, against its own. Slow: imports torch, trains for seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("skimage")

_ROOT = Path(__file__).parents[3]
_PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from specrun.errors import FormatError, NodeError
from specrun.kinds.predictions.images import read_for_model
from specrun.training.nms import iou
from specrun.training.predictor import PointLayout, PredictionSettings
from specrun.training.tiles import Tiling
from specrun.training.ultralytics.environment import load_ultralytics
from specrun.training.ultralytics.predictor import UltralyticsPredictor
from specrun.training.ultralytics.results import result_to_labels
from tests.support.coins import CLASSES, write_samples, write_yolo_export
from tests.support.context import make_context

folder = Path(sys.argv[1])
library = load_ultralytics(folder / "library", folder / "cache", 2)
context = make_context(folder, "predictions.p", cpus=2)
settings = PredictionSettings(threshold=0.25, min_area=0, batch=4, device="cpu")

def predictor(weights, task, classes, **changes):
    described = {"kind": "ultralytics", "task": task, "classes": classes, "imgsz": 64}
    return UltralyticsPredictor(weights, described, replace(settings, **changes), read_for_model, context)

export = write_yolo_export(folder / "export", train=16, val=4, size=64)
model = library.YOLO("yolo11n-seg.yaml")
model.train(
    data=str(export / "data.yaml"), project=str(folder / "train"), epochs=12, imgsz=64, batch=4, workers=0,
    device="cpu", plots=False, verbose=False, val=False, warmup_epochs=0, optimizer="AdamW", lr0=0.002,
)
last = Path(model.trainer.last)
samples = write_samples(folder / "tiles", 6, size=64)
threshold = 0.001  # trained for seconds
ours = predictor(last, "segment", list(CLASSES), threshold=threshold)
compared = 0
for sample, labels in ours.predict(samples):
    (result,) = library.YOLO(str(last)).predict(
        read_for_model(sample.media), imgsz=64, conf=threshold, retina_masks=True, device="cpu", verbose=False,
        save=False,
    )
    theirs = result_to_labels(result, list(CLASSES))
    assert len(labels) == len(theirs), (len(labels), len(theirs))
    for one, other in zip(labels, theirs):
        assert one.label == other.label and abs(one.score - other.score) < 1e-4
        assert iou(one, other) > 0.99, iou(one, other)
        compared += 1
assert compared > 10, compared

tile = Tiling((48, 48), 0.5)
tiled = predictor(last, "segment", list(CLASSES), threshold=threshold, tile=tile, tta=("flip",), max_count=3)
for sample, labels in tiled.predict(samples):
    assert len(labels) <= 3
    assert all(0 <= label.left and label.left + label.bitmap.shape[1] <= 64 for label in labels)
    assert [label.score for label in labels] == sorted((label.score for label in labels), reverse=True)

scaling = predictor(last, "segment", list(CLASSES), threshold=threshold, tta=("scale",))
shapes, prepare = [], scaling._engine.preprocess
def seen(images):
    tensor = prepare(images)
    shapes.append(tuple(tensor.shape[2:]))
    return tensor
scaling._engine.preprocess = seen
assert len(list(scaling.predict(samples[:1]))) == 1
assert shapes == [(64, 64), (32, 32), (96, 96)], shapes

half = predictor(last, "segment", list(CLASSES), threshold=threshold, precision="bf16")
assert sum(len(labels) for _, labels in half.predict(samples))
try:
    predictor(last, "segment", list(CLASSES), precision="fp16")
    raise SystemExit("fp16 on the CPU was accepted")
except NodeError as error:
    assert "needs a GPU" in error.message

image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
for task, kind in (("detect", ""), ("pose", "-pose"), ("obb", "-obb"), ("classify", "-cls")):
    fresh = library.YOLO(f"yolo11n{kind}.yaml", task=task)
    if task == "pose":
        names = [f"p{number}" for number in range(17)]
        fresh.model.kpt_names = {0: names}
        wanted = PointLayout(tuple(reversed(names)))
    fresh.save(folder / f"{task}.pt")
    classes = list(fresh.names.values())
    found = predictor(folder / f"{task}.pt", task, classes, threshold=1e-5).detect([image, image])
    (theirs, _) = library.YOLO(folder / f"{task}.pt").predict(
        [image, image], imgsz=64, conf=1e-5, device="cpu", verbose=False, save=False
    )
    expected = result_to_labels(theirs, classes)
    assert len(found) == 2 and len(found[0]) == len(expected) > 0, (task, len(found[0]), len(expected))
    assert found[0][0].label == expected[0].label and abs(found[0][0].score - expected[0].score) < 1e-5
    if task == "classify":
        answers = [(found[0][0].label, found[0][0].score), *found[0][0].others]
        assert len(answers) == 20
        scores = theirs.probs.data.numpy()
        assert all(abs(score - scores[classes.index(name)]) < 1e-5 for name, score in answers)
        assert np.allclose([score for _, score in answers[:5]], scores[theirs.probs.top5], atol=1e-5)
    if task == "pose":
        turned = predictor(folder / "pose.pt", task, classes, threshold=1e-5, points=wanted).detect([image])[0][0]
        assert turned.names == wanted.points
        assert np.allclose(turned.points, expected[0].points[::-1])
        try:
            predictor(folder / "pose.pt", task, classes, points=PointLayout(("nose",)))
            raise SystemExit("other names were accepted")
        except FormatError as error:
            assert "other points than the model's" in error.message
try:
    predictor(folder / "classify.pt", "classify", classes, tile=Tiling((32, 32), 0.5))
    raise SystemExit("tiles for a classifier were accepted")
except FormatError as error:
    assert "whole images" in error.message
"""


def test_our_loop_finds_what_the_librarys_own_finds_for_every_task(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
    arguments = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    done = subprocess.run(arguments, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
