"""`specrun runs`: earlier runs, newest first; `specrun runs show RUN`: what one did, from its journal alone."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from contextlib import closing
from itertools import islice

from specrun.cli.github import as_text
from specrun.cli.state import add_place, going_on, is_going_on, journal_folder, place_of, reading, run_named
from specrun.model.state import RunRecord
from specrun.run.launch import Feed
from specrun.store.journal import JOURNAL_NAME
from specrun.store.paths import ProjectPaths
from specrun.views.run_text import PastRun, past_run, run_json, run_text, runs_text
from specrun.views.run_view import RunView

LISTED = 30
CHATTER = ("LogLine", "Progress", "Metric", "GpuSample", "MachineSample")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", nargs="?", choices=("show",), metavar="show", help="what one run did")
    parser.add_argument("run_id", nargs="?", metavar="RUN", help="its id or the beginning of it (default: the last)")
    parser.add_argument("--all", action="store_true", help=f"more than the last {LISTED}")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_place(parser)


def run(arguments: argparse.Namespace) -> int:
    paths = place_of(arguments)
    with reading(paths) as state:
        runs = state.runs()
        wanted = run_named(state, arguments.run_id) if arguments.verb else None
    if wanted is not None:
        _show(paths, wanted, as_json=arguments.json)
        return 0
    found = [_past(paths, record)[0] for record in islice(runs, None if arguments.all else LISTED)]
    if arguments.json:
        sys.stdout.write(json.dumps([one.to_json() for one in found], indent=2) + "\n")
        return 0
    sys.stdout.write(runs_text(found, color=_color()))
    if len(runs) > len(found):
        sys.stderr.write(f"and {len(runs) - len(found)} earlier ones; --all lists them\n")
    return 0


def _show(paths: ProjectPaths, record: RunRecord, *, as_json: bool) -> None:
    folder = journal_folder(paths, record)
    found, view = _past(paths, record)
    now = time.time()
    if as_json:
        sys.stdout.write(json.dumps(run_json(found, view, now=now), indent=2, ensure_ascii=False) + "\n")
        return
    width = shutil.get_terminal_size((100, 24)).columns
    place = os.path.relpath(folder)
    text = run_text(found, view, color=_color(), width=width, run_folder=place, now=now)
    sys.stdout.write(as_text(text))


def _past(paths: ProjectPaths, record: RunRecord) -> tuple[PastRun, RunView]:
    view = view_of(paths, record)
    return past_run(record, view, going_on=not view.finished and is_going_on(paths, record)), view


def view_of(paths: ProjectPaths, record: RunRecord) -> RunView:
    """The run folded from its journal, without what only a dashboard draws; nothing when the journal was removed."""
    view = RunView()
    folder = paths.run(record.id)
    if not (folder / JOURNAL_NAME).exists():
        return view
    with closing(Feed(folder, going_on(paths, record), record=record, leave_out=CHATTER)) as feed:
        while events := feed():
            for event in events:
                view.apply(event)
    return view


def _color() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
