"""The quickstart as a newcomer runs it: it learns, and typed again it does nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

QUICKSTART = Path(__file__).parents[2] / "specs" / "quickstart"
TIMEOUT_S = 900


def specrun(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "specrun.cli.main", *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)


def evaluation(folder: Path) -> dict[str, float]:
    manifest = json.loads((folder / "outputs/evaluations/yolo/manifest.json").read_text())
    return dict(manifest["facts"])


@pytest.mark.slow
def test_the_quickstart_learns_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    shutil.copytree(QUICKSTART, folder, ignore=shutil.ignore_patterns("outputs", ".specrun"))

    barely = specrun(folder, "apply", "--ui", "plain", "--var", "epochs=1")
    assert barely.returncode == 0, barely.stdout[-3000:]
    assert evaluation(folder)["map50"] < 0.05

    trained = specrun(folder, "apply", "--ui", "plain")
    assert trained.returncode == 0, trained.stdout[-3000:]
    assert evaluation(folder)["map50"] > 0.5
    assert "outputs/models/yolo" in trained.stdout

    again = specrun(folder, "apply", "--ui", "plain")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
