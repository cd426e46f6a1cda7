"""`model: {best: models.net, …}`: a whole run in which the better instance changes. Slow: trains, starts MongoDB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("segmentation_models_pytorch")
pytest.importorskip("lightning")
pytest.importorskip("fiftyone")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
_SPEC = """\
specrun: 1
project: {name: best, seed: 1}
sources:
  one: {kind: annotations, format: masks, path: one, classes: [ground, box]}
  two: {kind: annotations, format: masks, path: two, classes: [ground, box]}
datasets:
  one: {from: sources.one, name: best.one}
  two: {from: sources.two, name: best.two}
exports:
  one: {kind: mmseg, dataset: one}
  two: {kind: mmseg, dataset: two}
models:
  net:
    kind: smp
    matrix: {data: [one, two]}
    encoder: timm-mobilenetv3_small_minimal_100
    encoder_weights: null
    arch_options: {decoder_channels: [32, 24, 16, 8, 8]}
    data: ${matrix.data}
    train: {epochs: 8, batch: 4, image_size: [32, 32], optimizer: {lr: 0.01}, pictures: 0}
    resources: {cpus: 1}
predictions:
  p: {model: {best: models.net, metric: val/iou, mode: max}, on: sources.one, outputs: {masks: false, coco: false}}
"""


def _write_images(folder: Path, *, learnable: bool) -> None:
    """Bright boxes that the masks follow, or noise in their place."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for sort in ("images", "masks"):
            (folder / split / sort).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels, mask = np.full((32, 32, 3), 40, np.uint8), np.zeros((32, 32), np.uint8)
            x, y = random.integers(0, 18, 2)
            pixels[y : y + 12, x : x + 12] = 220
            mask[y : y + 12, x : x + 12] = 1
            if not learnable:
                mask = random.integers(0, 2, mask.shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / split / "images" / f"{number}.png")
            Image.fromarray(mask).save(folder / split / "masks" / f"{number}.png")


def _specrun(folder: Path, *words: str, codes: tuple[int, ...] = (0,)) -> str:
    command = [sys.executable, "-m", "specrun.cli.main", *words]
    done = subprocess.run(command, cwd=folder, timeout=1800, capture_output=True, text=True)
    assert done.returncode in codes, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def _facts(folder: Path, place: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "outputs" / place / "manifest.json").read_text())["facts"]
    return facts


def test_predictions_take_the_best_instance_and_follow_when_another_is_best(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text(_SPEC)
    _write_images(tmp_path / "one", learnable=True)
    _write_images(tmp_path / "two", learnable=False)
    _specrun(tmp_path, "apply", "--ui", "plain")
    scores = {name: _facts(tmp_path, f"models/net/data={name}")["metrics"]["val/iou"] for name in ("one", "two")}
    assert scores["one"] > scores["two"] + 0.1
    assert _facts(tmp_path, "predictions/p")["model"] == "models.net[data=one]"
    _specrun(tmp_path, "plan", "--detailed-exitcode")  # 0: nothing to do

    _write_images(tmp_path / "one", learnable=False)
    _write_images(tmp_path / "two", learnable=True)
    planned = _specrun(tmp_path, "plan", "--detailed-exitcode", codes=(10,))
    assert any("predictions.p" in line and "?" in line for line in planned.splitlines())
    _specrun(tmp_path, "apply", "--ui", "plain")
    scores = {name: _facts(tmp_path, f"models/net/data={name}")["metrics"]["val/iou"] for name in ("one", "two")}
    assert scores["two"] > scores["one"] + 0.1
    assert _facts(tmp_path, "predictions/p")["model"] == "models.net[data=two]"

    # The other end of the same numbers: only the predictions are made again.
    (tmp_path / "project.yaml").write_text(_SPEC.replace("mode: max", "mode: min"))
    said = _specrun(tmp_path, "apply", "--ui", "plain")
    assert "models.net" not in "".join(line for line in said.splitlines() if "started" in line)
    assert _facts(tmp_path, "predictions/p")["model"] == "models.net[data=one]"
