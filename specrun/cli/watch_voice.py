"""What `watch` prints beside the lines of its runs: for people, or one JSON object a line."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from specrun.cli.foreground import Printer, print_summary
from specrun.cli.github import as_text, on_github
from specrun.cli.outlet import Outlet
from specrun.errors import SpecError, SpecrunError
from specrun.model.diagnostic import Diagnostic
from specrun.model.event import Event
from specrun.model.plan import Action, Plan, PlannedNode
from specrun.run.listeners import UNHURRIED
from specrun.spec.diagnostics import diagnostic_json, render_diagnostics
from specrun.views.difference_text import difference_text
from specrun.views.json_lines import JsonLinesPrinter
from specrun.views.plain import PlainPrinter
from specrun.views.plan_text import plan_json, plan_text
from specrun.views.text import clean

FILES_SAID = 3


class Voice(Protocol):
    def plan(self, plan: Plan) -> None: ...
    def difference(self, project: str, nodes: Sequence[PlannedNode], files: Sequence[str] = ()) -> None: ...
    def broken(self, error: SpecrunError) -> None: ...
    def say(self, text: str) -> None: ...
    def new_run(self, run_folder: Path) -> Printer: ...


def voice_for(ui: str, outlet: Outlet, *, verbose: bool) -> Voice:
    return JsonVoice(outlet) if ui == "json" else PlainVoice(outlet, verbose=verbose)


class PlainVoice:
    """Standard output, mistakes of the spec on standard error as everywhere."""

    def __init__(self, outlet: Outlet, *, verbose: bool) -> None:
        self._outlet = outlet
        self._verbose = verbose
        self._color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def plan(self, plan: Plan) -> None:
        self._outlet.write(as_text(plan_text(plan, color=self._color, width=_width())) + "\n")

    def difference(self, project: str, nodes: Sequence[PlannedNode], files: Sequence[str] = ()) -> None:
        """What is decided on the way is not told as long as there is something to say."""
        nodes = [node for node in nodes if node.action is not Action.UNKNOWN] or nodes
        more = f" and {len(files) - FILES_SAID} more" if len(files) > FILES_SAID else ""
        self.say(f"changed: {', '.join(files[:FILES_SAID])}{more}" if files else "changed:")
        self._outlet.write(as_text(difference_text(project, nodes, color=self._color, width=_width())) + "\n")

    def broken(self, error: SpecrunError) -> None:
        if isinstance(error, SpecError):
            text = render_diagnostics(error.diagnostics, color=sys.stderr.isatty() and not os.environ.get("NO_COLOR"))
        else:
            text = f"{error}\n"
        self.say("the spec has mistakes; what was planned before goes on:")
        sys.stderr.write(as_text(text))
        sys.stderr.flush()

    def say(self, text: str) -> None:
        self._outlet.write(f"{time.strftime('%H:%M:%S')} {clean(text)}\n")

    def new_run(self, run_folder: Path) -> Printer:
        return _RunLines(run_folder, self._outlet, verbose=self._verbose, color=self._color)


class _RunLines:
    """The lines of one run, and its summary without what the lines said."""

    def __init__(self, run_folder: Path, outlet: Outlet, *, verbose: bool, color: bool) -> None:
        self._outlet = outlet
        self._printer = PlainPrinter(
            outlet.write,
            clock=time.time,
            color=color,
            github=on_github(),
            verbose=verbose,
            run_folder=os.path.relpath(run_folder),
            time_of_day=True,
        )

    def handle(self, event: Event) -> None:
        if not (self._outlet.full and isinstance(event, UNHURRIED)):
            self._printer.handle(event)

    def tick(self) -> None:
        self._printer.tick()

    def summarise(self, run_folder: Path, base: Path, previous: Mapping[str, Mapping[str, Any]]) -> None:
        print_summary(self._printer.view, run_folder, base, previous, write=self._outlet.write)


class JsonVoice:
    """The events of every run as they are, and between them objects of its own types:
    Planned and PlanChanged (nodes), SpecBroken (diagnostics), Watching (text)."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._printer = JsonLinesPrinter(outlet.write)
        self._printer.begin()

    def plan(self, plan: Plan) -> None:
        self._line("Planned", nodes=plan_json(plan)["nodes"])

    def difference(self, project: str, nodes: Sequence[PlannedNode], files: Sequence[str] = ()) -> None:
        self._line("PlanChanged", nodes=plan_json(Plan(project, tuple(nodes)))["nodes"], files=list(files))

    def broken(self, error: SpecrunError) -> None:
        found = error.diagnostics if isinstance(error, SpecError) else (Diagnostic(None, error.message, error.hint),)
        shown = [d if isinstance(d, Diagnostic) else Diagnostic(None, str(d)) for d in found]
        self._line("SpecBroken", diagnostics=[diagnostic_json(diagnostic) for diagnostic in shown])

    def say(self, text: str) -> None:
        self._line("Watching", text=clean(text))

    def new_run(self, run_folder: Path) -> Printer:
        return _RunEvents(self._printer, self._outlet)

    def _line(self, kind: str, **values: Any) -> None:
        self._outlet.write(json.dumps({"type": kind, "time": time.time(), **values}) + "\n")


class _RunEvents:
    def __init__(self, printer: JsonLinesPrinter, outlet: Outlet) -> None:
        self._printer, self._outlet = printer, outlet

    def handle(self, event: Event) -> None:
        if not (self._outlet.full and isinstance(event, UNHURRIED)):
            self._printer.handle(event)

    def tick(self) -> None:
        """Nothing is due."""

    def summarise(self, run_folder: Path, base: Path, previous: Mapping[str, Mapping[str, Any]]) -> None:
        """The events said it."""


def _width() -> int:
    return shutil.get_terminal_size((100, 24)).columns
