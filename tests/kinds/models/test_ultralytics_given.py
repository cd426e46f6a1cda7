"""Trained once, a checkpoint is taken as it is by a node without data, and predicts. Slow: imports torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.coins import write_yolo_export

pytestmark = pytest.mark.slow
pytest.importorskip("skimage")

_ROOT = Path(__file__).parents[3]
_PROGRAM = """
import sys, shutil
from pathlib import Path
from specrun.errors import NodeError
from specrun.kinds.models.ultralytics import Ultralytics
from specrun.kinds.models.ultralytics_spec import UltralyticsSpec
from specrun.kinds.predictions.prediction import Prediction, PredictionSpec
from specrun.formats.samples import save_samples
from specrun.model.address import parse_address
from specrun.model.work import Made
from tests.support.coins import write_samples
from tests.support.context import make_context
from tests.support.kill_training import context, spec

folder = Path(sys.argv[1])
trained = context(folder)
Ultralytics().run(spec(1), trained)
shutil.copyfile(trained.staging / "weights" / "best.pt", folder / "mine.pt")
(folder / "damaged.pt").write_bytes(b"no checkpoint")

given = make_context(folder, "models.given", cpus=2)
outputs = Ultralytics().run(UltralyticsSpec(weights="mine.pt"), given)
assert outputs.facts["classes"] == ["small", "large"] and outputs.facts["task"] == "segment", outputs.facts
try:
    Ultralytics().run(UltralyticsSpec(weights="damaged.pt"), make_context(folder, "models.damaged", cpus=2))
    raise SystemExit("a damaged checkpoint was taken")
except NodeError as error:
    assert "damaged.pt" in error.message, error

source = folder / "source"
source.mkdir()
save_samples(source / "samples.jsonl", write_samples(folder / "tiles", 3, size=64), folder)
model = Made(given.address, "models.ultralytics", given.staging, "d", outputs.facts, {}, outputs.artifacts)
images = Made(parse_address("sources.s"), "sources.images", source, "d")
predicted = make_context(folder, "predictions.p", cpus=2, made={"model": [model], "on": [images]})
found = Prediction().run(PredictionSpec(model="models.given", on="sources.s", threshold=0.001, batch=2), predicted)
assert found.facts["images"] == 3, found.facts
assert len((predicted.staging / "predictions.jsonl").read_text().splitlines()) == 3
"""


def test_a_given_checkpoint_is_verified_and_predicts(tmp_path: Path) -> None:
    write_yolo_export(tmp_path / "export", train=8, val=2, size=64)
    environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
    arguments = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    done = subprocess.run(arguments, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    described = json.loads((tmp_path / "outputs/.staging/models/given/f/model.json").read_text())
    assert (described["imgsz"], described["trained_on"]) == (64, None)
    # Settings, caches and results of the library stay inside the project.
    assert not (Path(os.environ["HOME"]) / ".config" / "Ultralytics").exists()
    assert not (tmp_path / "runs").exists()
