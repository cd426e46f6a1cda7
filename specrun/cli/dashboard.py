"""Runs and attaches the dashboard: the supervisor works in a process of its own, the journal lies between."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from specrun.cli.foreground import print_summary
from specrun.cli.state import attach_command
from specrun.errors import ExitCode
from specrun.model.address import Address, parse_address
from specrun.model.event import Metric
from specrun.model.state import RunRecord
from specrun.run.control import Ask, Wanted, send
from specrun.run.job import Job
from specrun.run.launch import Feed, launch, wait_for_start
from specrun.run.request import EVENTS_NAME
from specrun.run.request import LOG_NAME as NODE_LOG_NAME
from specrun.store.journal import read_journal
from specrun.store.paths import ProjectPaths
from specrun.tui.app import Dashboard
from specrun.tui.terminal import dashboard_refusal
from specrun.views.run_view import RunView

GONE = {"gone": 129, "terminated": int(ExitCode.TERMINATED)}
"""How the dashboard ended when nobody reads a summary any more."""


class RunControl:
    """Implements tui.control.Control by writing to the run's control file."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder

    def stop_run(self, at_once: bool) -> str | None:
        return self._send(Ask.KILL if at_once else Ask.STOP)

    def cancel(self, address: str) -> str | None:
        return self._send(Ask.CANCEL, parse_address(address))

    def retry(self, address: str) -> str | None:
        return self._send(Ask.RETRY, parse_address(address))

    def pause(self, paused: bool) -> str | None:
        return self._send(Ask.PAUSE if paused else Ask.GO_ON)

    def prioritise(self, address: str) -> str | None:
        return self._send(Ask.PRIORITISE, parse_address(address))

    def _send(self, ask: Ask, address: Address | None = None) -> str | None:
        try:
            send(self._folder, Wanted(ask, address))
        except OSError as error:
            return f"the run cannot be reached: {error.strerror}"
        return None


def run_with_dashboard(job: Job, paths: ProjectPaths, previous: Mapping[str, Mapping[str, Any]]) -> int:
    """Start the run and watch it; leaving the dashboard leaves the run going."""
    process = launch(job, paths)
    folder = paths.run(job.run)
    wait_for_start(folder, process)
    return watch(folder, lambda: process.poll() is None, previous, close_when_done=True)


def watch(
    folder: Path,
    alive: Callable[[], bool],
    previous: Mapping[str, Mapping[str, Any]],
    *,
    record: RunRecord | None = None,
    finished: bool = False,
    close_when_done: bool = False,
) -> int:
    """Draw the run until the person leaves; then the scrollback holds the summary.

    record, finished: of a run that is looked at again, what the state knows of it and whether it is over.
    """
    # What the nodes print is read from their logs, and of one node at a time.
    feed = Feed(folder, alive, record=record, leave_out=("LogLine",))
    if dashboard_refusal(os.environ):
        # Nobody to draw for: how it stands, in words.
        view = RunView()
        while events := feed():
            for event in events:
                view.apply(event)
        print_summary(view, folder, Path.cwd(), previous, now=None if view.finished else time.time())
        return feed.finished.exit_code if feed.finished is not None else ExitCode.DONE
    dashboard = Dashboard(
        feed=feed,
        control=None if finished else RunControl(folder),
        log_path=lambda address: existing(folder / parse_address(address).folder / NODE_LOG_NAME),
        previous_metrics=lambda address: metrics_before(folder, parse_address(address)),
        finished=finished,
        close_when_done=close_when_done,
    )
    left = dashboard.run()
    if left in GONE:
        return GONE[left]
    still_on = feed.finished is None
    print_summary(dashboard.run_view, folder, Path.cwd(), previous, now=time.time() if still_on else None)
    if feed.finished is not None:
        return feed.finished.exit_code
    if alive():
        sys.stderr.write(f"the run goes on; `{attach_command(folder)}` comes back to it\n")
    return ExitCode.DONE


def metrics_before(folder: Path, address: Address) -> dict[str, list[tuple[float, float]]]:
    """The curves of a node in the last run before this one that has some: name → (step, value) pairs."""
    for run in sorted(folder.parent.iterdir(), reverse=True):
        events = run / address.folder / EVENTS_NAME
        if run.name >= folder.name or not events.exists():
            continue
        curves: dict[str, list[tuple[float, float]]] = {}
        for event in read_journal(events):
            if isinstance(event, Metric):
                curves.setdefault(event.name, []).append((event.step, event.value))
        if curves:
            return curves
    return {}


def existing(path: Path) -> Path | None:
    return path if path.exists() else None
