"""specs/segmentation: from annotations to a trained model, its predictions and their evaluation."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("segmentation_models_pytorch")
pytest.importorskip("lightning")
pytest.importorskip("fiftyone")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
_LEFT_OUT = shutil.ignore_patterns("outputs", ".specrun")


def test_the_model_learns_to_find_coins(tmp_path: Path) -> None:
    for name in ("segmentation", "quickstart"):
        shutil.copytree(ROOT / "specs" / name, tmp_path / name, ignore=_LEFT_OUT)
    folder = tmp_path / "segmentation"
    command = [sys.executable, "-m", "specrun.cli.main", "apply", str(folder), "--ui", "plain"]
    done = subprocess.run(command, cwd=ROOT, timeout=1200, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    model = folder / "outputs" / "models" / "unet"
    described = json.loads((model / "model.json").read_text(encoding="utf-8"))
    assert (described["classes"], described["activation"]) == (["coin"], "sigmoid")
    assert (model / "weights" / "best.torchscript").is_file()
    facts = json.loads((model / "manifest.json").read_text(encoding="utf-8"))["facts"]
    assert facts["metrics"]["val/iou"] > 0.55
    again = subprocess.run(command, cwd=ROOT, timeout=120, capture_output=True, text=True)
    assert "nothing to do" in again.stdout
