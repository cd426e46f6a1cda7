"""What the commands on a project's state share: finding it without loading a spec."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from specrun.cli.project import find_spec, paths_of
from specrun.errors import UsageError
from specrun.kinds.registry import REGISTRY
from specrun.model.address import Address, parse_address
from specrun.model.state import RunRecord
from specrun.spec.compiled import load_compiled
from specrun.spec.project import Project
from specrun.store.locks import ProjectLock
from specrun.store.paths import ProjectPaths
from specrun.store.recover import recover
from specrun.store.state import State


def add_project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spec", help="the project spec (default: project.yaml here)")


def load_project_of(arguments: argparse.Namespace) -> Project:
    """Raises SpecError; UsageError: no spec."""
    path = find_spec(arguments.spec)
    return load_compiled(path, REGISTRY, cache_dir=path.resolve().parent / ".specrun" / "cache")


@contextmanager
def reading(project: Project) -> Iterator[State]:
    """Raises UsageError: never applied."""
    paths = paths_of(project)
    if not paths.state_db.exists():
        raise UsageError(f"{project.name} was never applied here", hint="Run `specrun apply` first.")
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
    runs = sorted(state.runs(), key=lambda run: run.id)
    if not runs:
        raise UsageError("there are no runs yet", hint="`specrun apply` makes one.")
    if wanted is None:
        return runs[-1]
    found = [run for run in runs if run.id.startswith(wanted)]
    if len(found) != 1:
        many = "no run begins" if not found else f"{len(found)} runs begin"
        raise UsageError(f"{many} with {wanted}", hint="`specrun runs` lists them.")
    return found[0]


def node_log(paths: ProjectPaths, run: RunRecord, address: Address) -> Path:
    return paths.node_run(run.id, address) / "log.txt"
