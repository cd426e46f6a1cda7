"""Starting a supervisor of its own, and finding the ones that run."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from specrun.model.event import Event, Notice, RunFinished
from specrun.run.job import Job
from specrun.run.tail import last_lines
from specrun.store.journal import JOURNAL_NAME, JournalReader
from specrun.store.paths import ProjectPaths

LOG_NAME = "supervisor.log"


def new_run_id(now: datetime) -> str:
    """Sorts by time and does not collide: `20260131-120000-4f2a`."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def launch(job: Job, paths: ProjectPaths) -> subprocess.Popen[bytes]:
    """A supervisor in a session of its own: it outlives this process and its terminal."""
    paths.create()
    folder = paths.run(job.run)
    job.save(folder)
    with open(folder / LOG_NAME, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "specrun.run.supervisor", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


class Feed:
    """The events of a run as they come; ends the story itself when the supervisor is gone without a word.

    alive: whether the supervisor still runs.
    """

    def __init__(self, run_folder: Path, alive: Callable[[], bool]) -> None:
        self._folder = run_folder
        self._alive = alive
        self._reader = JournalReader(run_folder / JOURNAL_NAME)
        self.finished: RunFinished | None = None

    def __call__(self) -> list[Event]:
        was_alive = self.finished is not None or self._alive()
        events = self._reader.poll()
        for event in events:
            if isinstance(event, RunFinished):
                self.finished = event
        if self.finished is None and not was_alive and not events:
            events = self._epilogue()
        return events

    def close(self) -> None:
        self._reader.close()

    def _epilogue(self) -> list[Event]:
        said = " ".join(last_lines(self._folder / LOG_NAME, 3)) or "it left no message"
        self.finished = RunFinished(run=self._folder.name, status="failed", exit_code=3, duration_s=0.0)
        text = f"the supervisor ended without finishing the run: {said}"
        return [Notice(run=self._folder.name, text=text, level="error"), self.finished]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
