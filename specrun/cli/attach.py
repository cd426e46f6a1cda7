"""`specrun attach`: return to the dashboard of a run, from any terminal."""

from __future__ import annotations

import argparse

from specrun.cli.state import add_place, place_of, reading, run_named
from specrun.store.locks import ProjectLock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_id", nargs="?", metavar="RUN", help="the run's id or its beginning (default: the last)")
    add_place(parser)


def run(arguments: argparse.Namespace) -> int:
    paths = place_of(arguments)
    with reading(paths) as state:
        found = run_named(state, arguments.run_id)
    # Textual is imported when there is a dashboard to draw.
    from specrun.cli.dashboard import attach

    # The lock tells who runs now: a recorded process may be another one by today.
    holder = ProjectLock(paths.lock).holder()
    return attach(paths.run(found.id), holder.pid if holder and found.ended_at is None else None)
