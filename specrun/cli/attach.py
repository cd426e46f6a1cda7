"""`specrun attach`: return to the dashboard of a run, from any terminal."""

from __future__ import annotations

import argparse

from specrun.cli.project import paths_of
from specrun.cli.state import add_project, load_project_of, reading, run_named
from specrun.store.locks import ProjectLock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_id", nargs="?", metavar="RUN", help="the run's id or its beginning (default: the last)")
    add_project(parser)


def run(arguments: argparse.Namespace) -> int:
    project = load_project_of(arguments)
    with reading(project) as state:
        found = run_named(state, arguments.run_id)
    # Textual is imported when there is a dashboard to draw.
    from specrun.cli.dashboard import attach

    paths = paths_of(project)
    # The lock tells who runs now: a recorded process may be another one by today.
    holder = ProjectLock(paths.lock).holder()
    return attach(paths.run(found.id), holder.pid if holder and found.ended_at is None else None)
