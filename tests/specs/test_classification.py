"""The example of a classifier, by the real command: it learns, and is scored on coins that it has not seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SPECS = Path(__file__).parents[2] / "specs"


@pytest.mark.slow
def test_the_classifier_tells_small_coins_from_large_ones(tmp_path: Path) -> None:
    leave_out = shutil.ignore_patterns("outputs", ".specrun")
    folder = shutil.copytree(SPECS / "classification", tmp_path / "classification", ignore=leave_out)
    argv = [sys.executable, "-m", "specrun.cli.main", "apply", "--yes", "--ui", "plain"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "note:" not in done.stdout
    scores = json.loads((folder / "outputs/evaluations/coins/evaluation.json").read_text())
    (found,) = [one for name, one in scores.items() if name != "compare"]
    assert found["accuracy"] >= 0.9
    assert found["images"] == 12
    assert len(list((folder / "outputs/predictions/coins/overlays").glob("*.jpg"))) == 12
