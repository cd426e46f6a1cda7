"""The prepared library asks nobody for anything. Slow: imports torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_PROGRAM = """
import sys
from pathlib import Path
from specrun.training.ultralytics.environment import load_ultralytics
folder = Path(sys.argv[1])
library = load_ultralytics(folder, folder / "cache", 1)
seen = []
sys.addaudithook(lambda event, values: seen.append(values[0]) if event.startswith("socket.get") else None)
from ultralytics.utils import WEIGHTS_DIR
from ultralytics.utils.checks import check_font
for name in (str(WEIGHTS_DIR / "yolo26n.pt"), "yolo11n.pt", "unknown-release.pt"):
    try:
        library.YOLO(name)
    except (ConnectionError, FileNotFoundError):
        pass
    else:
        raise SystemExit(f"{name} was loaded")
check_font("Arial.ttf")
check_font("Arial.Unicode.ttf")
assert seen == [], seen
"""


@pytest.mark.slow
def test_missing_weights_and_fonts_are_not_looked_for_on_a_network(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(arguments, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
