"""A `specrun watch` in a process of its own, listened to by its JSON lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0


class Watched:
    """lines: everything said so far. The regular look is an hour away, so whatever happens was noticed."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._deaf = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "specrun.cli.main", "watch", "--ui", "json", "--poll", "1h", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(json.loads(line))
                self._news.notify_all()
            if self._deaf.is_set():
                break
        self.process.stdout.close()

    def stop_reading(self) -> None:
        """Closes the pipe after the next line, of which a run has one every two seconds."""
        self._deaf.set()
        self._reader.join(DEADLINE_S)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        with self._news:
            while not condition():
                assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
                assert time.monotonic() < deadline, f"{what} did not happen: {self.lines[-5:]}"
                self._news.wait(0.05)

    def of(self, kind: str, address: str | None = None) -> list[dict[str, Any]]:
        found = [line for line in list(self.lines) if line["type"] == kind]
        return [line for line in found if address is None or line["address"] == address]

    def until_idle(self, *, after: int) -> None:
        """So many runs were finished, and nothing more is to be done."""

        def idle() -> bool:
            return len(self.of("RunFinished")) >= after and self.lines[-1]["type"] == "Watching"

        self.until(idle, f"rest after {after} runs")

    def started(self) -> list[str]:
        return [line["address"] for line in self.of("NodeStarted")]

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE_S)


@contextmanager
def watching(folder: Path, *words: str) -> Iterator[Watched]:
    watched = Watched(folder, *words)
    try:
        yield watched
    finally:
        if watched.process.poll() is None:
            watched.process.send_signal(signal.SIGINT)
            watched.process.send_signal(signal.SIGINT)
            watched.process.wait(DEADLINE_S)


def save_by_truncating(path: Path, text: str) -> None:
    """As nano, and `>` in a shell."""
    with open(path, "w") as file:
        file.flush()
        file.write(text)


def save_by_renaming(path: Path, text: str) -> None:
    """As VS Code on some systems, gedit, and tools that write safely."""
    staged = path.with_name(f".{path.name}.{os.getpid()}~")
    staged.write_text(text)
    os.replace(staged, path)


def save_by_swapping(path: Path, text: str) -> None:
    """As vim: a swap file, the original renamed to a backup, a new file, the backup and the swap file removed."""
    swap, backup = path.with_name(f".{path.name}.swp"), path.with_name(f"{path.name}~")
    swap.write_bytes(b"b0VIM 9.0")
    path.rename(backup)
    path.write_text(text)
    backup.unlink()
    swap.unlink()
