"""`specrun runs`: earlier runs, newest last."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from specrun.cli.state import add_project, load_project_of, reading
from specrun.model.state import RunRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_project(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    with reading(load_project_of(arguments)) as state:
        runs = sorted(state.runs(), key=lambda found: found.id)
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(found) for found in runs], indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{_line(found)}\n" for found in runs)
    return 0


def _line(found: RunRecord) -> str:
    return f"{found.id}  {found.started_at[:19].replace('T', ' ')}  {found.status:<12} {found.done}/{found.total}"
