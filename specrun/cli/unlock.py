"""`specrun unlock`: who holds the project. The kernel frees the lock of a dead process by itself."""

from __future__ import annotations

import argparse
import sys

from specrun.cli.project import paths_of
from specrun.cli.state import add_project, load_project_of
from specrun.errors import ExitCode
from specrun.store.locks import ProjectLock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)


def run(arguments: argparse.Namespace) -> int:
    holder = ProjectLock(paths_of(load_project_of(arguments)).lock).holder()
    if holder is None:
        sys.stdout.write("nobody holds the project: nothing to unlock\n")
        return ExitCode.DONE
    sys.stdout.write(f"held: {holder}\nEnd that process to free it; its work is kept and goes on next time.\n")
    return ExitCode.LOCKED
