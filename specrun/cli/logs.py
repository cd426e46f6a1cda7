"""`specrun logs`: the log of a node, from the run that wrote it last."""

from __future__ import annotations

import argparse
import shutil
import sys

from specrun.cli.project import one_address, paths_of
from specrun.cli.state import add_project, load_project_of, node_log, reading, run_named
from specrun.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="the node, for example models.unet")
    parser.add_argument("--run", dest="run_id", metavar="RUN", help="of this run (default: the last that has one)")
    add_project(parser)


def run(arguments: argparse.Namespace) -> int:
    project = load_project_of(arguments)
    paths = paths_of(project)
    address = one_address(arguments.address, [node.address for node in project.nodes])
    with reading(project) as state:
        runs = (
            [run_named(state, arguments.run_id)]
            if arguments.run_id
            else sorted(state.runs(), key=lambda found: found.id, reverse=True)
        )
    for found in runs:
        path = node_log(paths, found, address)
        if path.exists():
            with open(path, encoding="utf-8", errors="replace") as log:
                shutil.copyfileobj(log, sys.stdout)
            return 0
    raise UsageError(f"{address} has no log", hint="It did not run yet, or its run was removed.")
