"""Looking at other processes from a test: supervisors of their own, and who is still there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from specrun.run.job import Job
from specrun.store.journal import JOURNAL_NAME, read_journal
from specrun.store.paths import ProjectPaths

DEADLINE_S = 60.0


def start_supervisor(job: Job) -> subprocess.Popen[bytes]:
    folder = ProjectPaths(job.project_dir, job.output_root).run(job.run)
    job.save(folder)
    return subprocess.Popen(
        [sys.executable, "-m", "specrun.run.supervisor", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


def events_of(job: Job, kind: type) -> list:
    journal = ProjectPaths(job.project_dir, job.output_root).run(job.run) / JOURNAL_NAME
    return [event for event in read_journal(journal) if isinstance(event, kind)] if journal.exists() else []


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and os.getpgid(pid) > 0
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
