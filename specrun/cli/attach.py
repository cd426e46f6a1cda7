"""`specrun attach`: return to the dashboard of a run, from any terminal."""

from __future__ import annotations

import argparse

from specrun.cli.state import add_place, going_on, journal_folder, place_of, reading, run_named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_id", nargs="?", metavar="RUN", help="the run's id or its beginning (default: the last)")
    add_place(parser)


def run(arguments: argparse.Namespace) -> int:
    paths = place_of(arguments)
    with reading(paths) as state:
        found = run_named(state, arguments.run_id)
    folder = journal_folder(paths, found)
    # Textual is imported when there is a dashboard to draw.
    from specrun.cli.dashboard import watch

    alive = going_on(paths, found)
    return watch(folder, alive, {}, record=found, finished=not alive())
