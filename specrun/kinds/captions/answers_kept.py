"""What captioners answered, kept so that no picture is paid for twice: `<cache>/captions/<provider's key>.jsonl`.

One line an answer, `{"image": digest, "text": …}`, on the disk before the next picture is asked for; a line that a
kill cut off is read over. Several nodes may append at once: each line is one write.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path


class KeptAnswers:
    """Thread-safe. key: digest of all that the answer depends on besides the picture."""

    def __init__(self, cache_dir: Path, key: str) -> None:
        self._path = cache_dir / "captions" / f"{key}.jsonl"
        self._lock = threading.Lock()
        self._known = _read(self._path)

    def find(self, image: str) -> str | None:
        return self._known.get(image)

    def keep(self, image: str, text: str) -> None:
        """Durable before it returns."""
        line = json.dumps({"image": image, "text": text}) + "\n"
        with self._lock:
            self._known[image] = text
            self._path.parent.mkdir(parents=True, exist_ok=True)
            ending = b"" if _ends_whole(self._path) else b"\n"
            with open(self._path, "ab", buffering=0) as file:
                file.write(ending + line.encode())
                os.fsync(file.fileno())


def _ends_whole(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except OSError:  # absent or empty
        return True


def _read(path: Path) -> dict[str, str]:
    known: dict[str, str] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return known
    for line in lines:
        try:
            row = json.loads(line)
            known[str(row["image"])] = str(row["text"])
        except (ValueError, KeyError, TypeError):
            continue
    return known
