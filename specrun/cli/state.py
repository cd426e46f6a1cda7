"""What the commands on a project's state share: finding it without loading a spec."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from specrun.cli.project import add_values, find_spec, load, paths_of
from specrun.errors import UsageError
from specrun.model.address import Address, parse_address
from specrun.model.state import RunRecord
from specrun.spec.project import Project
from specrun.store.journal import JOURNAL_NAME
from specrun.store.locks import ProjectLock
from specrun.store.paths import ProjectPaths
from specrun.store.recover import recover
from specrun.store.state import State

ASK_LOCK_S = 1.0


def add_project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spec", help="the project spec (default: project.yaml here)")
    add_values(parser)


def add_place(parser: argparse.ArgumentParser) -> None:
    """For commands that look at runs: they work while the spec is broken."""
    parser.add_argument("--spec", help="the project spec, or its folder (default: here)")


def load_project_of(arguments: argparse.Namespace) -> Project:
    """Raises SpecError; UsageError: no spec."""
    return load(arguments)


def place_of(arguments: argparse.Namespace) -> ProjectPaths:
    """The project's state without its spec, so without its output root. Raises UsageError: no spec."""
    folder = find_spec(arguments.spec).resolve().parent
    return ProjectPaths(folder, folder)


@contextmanager
def reading(project: Project | ProjectPaths) -> Iterator[State]:
    """Raises UsageError: never applied."""
    paths = project if isinstance(project, ProjectPaths) else paths_of(project)
    if not paths.state_db.exists():
        raise UsageError(f"nothing was ever applied in {paths.project_dir}", hint="Run `specrun apply` first.")
    with State.open(paths.state_db, read_only=True) as state:
        yield state


@contextmanager
def changing(project: Project, operation: str) -> Iterator[tuple[State, ProjectPaths]]:
    """Under the project's lock, after mending what a kill left. Raises LockedError."""
    paths = paths_of(project)
    paths.create()
    with ProjectLock(paths.lock).hold(operation), State.open(paths.state_db) as state:
        recover(state, paths)
        yield state, paths


def address_in(word: str) -> Address:
    """Raises UsageError."""
    try:
        return parse_address(word)
    except ValueError as error:
        raise UsageError(str(error)) from None


def run_named(state: State, wanted: str | None) -> RunRecord:
    """The run whose id begins with `wanted`, or the last one; raises UsageError."""
    runs = state.runs()
    if not runs:
        raise UsageError("there are no runs yet", hint="`specrun apply` makes one.")
    if wanted is None:
        return runs[0]
    found = [run for run in runs if run.id.startswith(wanted)]
    if len(found) != 1:
        many = "no run begins" if not found else f"{len(found)} runs begin"
        raise UsageError(f"{many} with {wanted}", hint="`specrun runs` lists them.")
    return found[0]


def attach_command(run_folder: Path) -> str:
    """As it can be typed here."""
    project = os.path.relpath(run_folder.parents[2])
    return "specrun attach" if project == "." else f"specrun attach --spec {project}"


def node_log(paths: ProjectPaths, run: RunRecord, address: Address) -> Path:
    return paths.node_run(run.id, address) / "log.txt"


def journal_folder(paths: ProjectPaths, run: RunRecord) -> Path:
    """Raises UsageError: the run's journal was removed."""
    folder = paths.run(run.id)
    if not (folder / JOURNAL_NAME).exists():
        raise UsageError(f"the journal of run {run.id} was removed", hint=f"It would lie in {folder}.")
    return folder


def going_on(paths: ProjectPaths, run: RunRecord) -> Callable[[], bool]:
    """Whether its supervisor lives, for one who asks many times a second."""
    asked_at, answer = 0.0, is_going_on(paths, run)

    def ask() -> bool:
        nonlocal asked_at, answer
        # Asking holds the lock for a moment; and who has ended does not begin again.
        if answer and time.monotonic() - asked_at >= ASK_LOCK_S:
            asked_at, answer = time.monotonic(), is_going_on(paths, run)
        return answer

    return ask


def is_going_on(paths: ProjectPaths, run: RunRecord) -> bool:
    """Whether its supervisor lives: a run that says "running" may have been killed."""
    if run.ended_at is not None:
        return False
    holder = ProjectLock(paths.lock).holder()
    return holder is not None and holder.pid == run.pid
