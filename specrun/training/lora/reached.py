"""How far the last checkpoint is. Light: plans read it."""

from __future__ import annotations

import json
import os
from pathlib import Path

REACHED = "reached.json"


def note_reached(folder: Path, step: int) -> None:
    partial = folder / f"{REACHED}.part"
    partial.write_text(json.dumps({"step": step}) + "\n", encoding="utf-8")
    os.replace(partial, folder / REACHED)


def reached(folder: Path) -> int:
    """The step of the optimizer after which a training would go on; 0: it begins."""
    try:
        step = json.loads((folder / REACHED).read_text(encoding="utf-8"))["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return step if isinstance(step, int) else 0
