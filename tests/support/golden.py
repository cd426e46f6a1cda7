"""Golden files: what leaves the program, word for word. SPECRUN_UPDATE_GOLDEN=1 writes them anew; read the diff."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path(__file__).parent.parent / "golden"


def check_golden(name: str, text: str) -> None:
    """`name`: path below tests/golden."""
    path = _ROOT / name
    if os.environ.get("SPECRUN_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"no golden file {name}: run with SPECRUN_UPDATE_GOLDEN=1 and read it"
    assert text == path.read_text(encoding="utf-8")
