"""Starting a supervisor of its own, and finding the ones that run."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import closing
from datetime import datetime
from pathlib import Path

from specrun.errors import ExitCode, SpecrunError
from specrun.model.event import Event, RunFinished
from specrun.model.state import RunRecord
from specrun.run.epilogue import LOG_NAME, LastWords, epilogue
from specrun.run.job import Job
from specrun.run.tail import last_lines
from specrun.store.journal import JOURNAL_NAME, JournalReader, last_event_time
from specrun.store.paths import ProjectPaths

START_TIMEOUT_S = 20.0
START_POLL_S = 0.02


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


def wait_for_start(run_folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the run exists for others too. Raises what kept the supervisor from starting (a lock, a broken state)."""
    deadline = time.monotonic() + START_TIMEOUT_S
    with closing(JournalReader(run_folder / JOURNAL_NAME)) as journal:
        # The state knows of a run before its journal tells anything.
        while True:
            status = process.poll()
            if journal.poll():
                return
            if status is not None:
                error = SpecrunError(" ".join(last_lines(run_folder / LOG_NAME, 3)).removeprefix("error: "))
                error.exit_code = ExitCode(status) if status in {int(code) for code in ExitCode} else ExitCode.OUR_FAULT
                raise error
            if time.monotonic() > deadline:
                raise SpecrunError("the supervisor did not start in time", hint=f"See {run_folder / LOG_NAME}.")
            time.sleep(START_POLL_S)


class Feed:
    """The events of a run as they come, a bounded piece at a call: call until nothing comes.

    It ends the story itself when the supervisor is gone without a word. alive: whether the supervisor still runs.
    record: what the state knows of the run. leave_out: see JournalReader.
    """

    def __init__(
        self,
        run_folder: Path,
        alive: Callable[[], bool],
        *,
        record: RunRecord | None = None,
        leave_out: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = run_folder
        self._alive = alive
        self._record = record
        self._clock = clock
        self._reader = JournalReader(run_folder / JOURNAL_NAME, leave_out=leave_out)
        self._words = LastWords()
        self._seen_alive = False
        self.finished: RunFinished | None = None

    def __call__(self) -> list[Event]:
        was_alive = self.finished is None and self._alive()
        self._seen_alive = self._seen_alive or was_alive
        events = self._reader.poll()
        for event in events:
            self._words.tell(event)
            if isinstance(event, RunFinished):
                self.finished = event
        if self.finished is None and not was_alive and not events:
            notice, self.finished = epilogue(self._folder, self._words, self._record, now=self._ended_at())
            return [notice, self.finished]
        return events

    def close(self) -> None:
        self._reader.close()

    def _ended_at(self) -> float:
        """Now, when it was seen to end; else the last sign of life."""
        last = last_event_time(self._folder / JOURNAL_NAME)
        return self._clock() if self._seen_alive or last is None else last
