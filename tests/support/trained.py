"""Runs tests/support/training_job.py in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


def train(folder: Path, *, weights: str = "yolo11n.yaml", environ: dict[str, str] | None = None, **fields: Any) -> Any:
    """What tests/support/training_job.py prints."""
    settings = {"epochs": 1, "imgsz": 64, "batch": 4, "plots": False, **fields.pop("train", {})}
    spec = {"weights": weights, "data": "yolo", "train": settings, **fields}
    home = folder / "home"
    home.mkdir(exist_ok=True)
    values = {**os.environ, "PYTHONPATH": str(_ROOT), "HOME": str(home), **(environ or {})}
    arguments = [sys.executable, "-m", "tests.support.training_job", str(folder), json.dumps(spec)]
    done = subprocess.run(arguments, env=values, cwd=folder, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout[-3000:] + done.stderr[-5000:]
    return {**json.loads(lines[-1][7:]), "log": done.stdout}


def staging(folder: Path) -> Path:
    return folder / "outputs" / ".staging" / "models" / "m" / "f"
