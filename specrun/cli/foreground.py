"""What `apply` prints when there is no dashboard: lines, events as JSON, or nothing."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from specrun.cli.github import as_text, on_github
from specrun.cli.outlet import Outlet
from specrun.model.event import Event, NodeFailed
from specrun.run.listeners import UNHURRIED
from specrun.views.json_lines import JsonLinesPrinter
from specrun.views.plain import PlainPrinter
from specrun.views.run_view import RunView
from specrun.views.summary import summary_text


class Printer(Protocol):
    def handle(self, event: Event) -> None: ...
    def tick(self) -> None: ...
    def summarise(self, run_folder: Path, base: Path, previous: Mapping[str, Mapping[str, Any]]) -> None: ...


def printer_for(ui: str, run_folder: Path, outlet: Outlet, *, verbose: bool) -> Printer:
    if ui == "json":
        return JsonLines(outlet)
    return Quiet() if ui == "quiet" else Lines(run_folder, outlet, verbose=verbose)


class Lines:
    """One line for each thing that happens, then the summary."""

    def __init__(self, run_folder: Path, outlet: Outlet, *, verbose: bool) -> None:
        self._outlet = outlet
        self._printer = PlainPrinter(
            outlet.write,
            clock=time.time,
            color=sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
            github=on_github(),
            verbose=verbose,
            run_folder=os.path.relpath(run_folder),
        )

    def handle(self, event: Event) -> None:
        if not (self._outlet.full and isinstance(event, UNHURRIED)):
            self._printer.handle(event)

    def tick(self) -> None:
        self._printer.tick()

    def summarise(self, run_folder: Path, base: Path, previous: Mapping[str, Mapping[str, Any]]) -> None:
        print_summary(self._printer.view, run_folder, base, previous, write=self._outlet.write)


class JsonLines:
    """The events as they are; nothing else on standard output."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._printer = JsonLinesPrinter(outlet.write)

    def begin(self) -> None:
        self._printer.begin()

    def handle(self, event: Event) -> None:
        if not (self._outlet.full and isinstance(event, UNHURRIED)):
            self._printer.handle(event)

    def tick(self) -> None:
        """Nothing is due."""

    def summarise(self, run_folder: Path, base: Path, previous: Mapping[str, Mapping[str, Any]]) -> None:
        """The events said it."""


class Quiet:
    """Only failures, on standard error."""

    def handle(self, event: Event) -> None:
        if isinstance(event, NodeFailed):
            sys.stderr.write(as_text(f"error: {event.address}: {event.cause}\n"))

    def tick(self) -> None:
        """Nothing is due."""

    def summarise(self, run_folder: Path, base: Path, previous: Mapping[str, Mapping[str, Any]]) -> None:
        """Nothing is said."""


def print_summary(
    view: RunView,
    run_folder: Path,
    base: Path,
    previous: Mapping[str, Mapping[str, Any]],
    *,
    now: float | None = None,
    write: Callable[[str], None] | None = None,
) -> None:
    """now: seconds since the epoch, for a run that still goes on."""
    text = summary_text(
        view,
        color=sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
        width=shutil.get_terminal_size((100, 24)).columns,
        previous=previous,
        run_folder=os.path.relpath(run_folder),
        base=os.fspath(base),
        now=now,
    )
    (write or _write)("\n" + as_text(text).rstrip("\n") + "\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
