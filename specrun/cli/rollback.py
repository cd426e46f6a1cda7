"""`specrun rollback ADDRESS`: return to an earlier output of a node that keeps some."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from specrun.cli.project import one_address
from specrun.cli.state import add_project, changing, load_project_of, reading
from specrun.store.rollback import rollback
from specrun.views.facts import scores
from specrun.views.quantities import number
from specrun.views.run_text import local_time

_SCORES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="the node, for example models.unet")
    parser.add_argument("--to", metavar="FINGERPRINT", help="which one (default: the one before)")
    parser.add_argument("--list", action="store_true", help="only show what there is")
    add_project(parser)


def run(arguments: argparse.Namespace) -> int:
    project = load_project_of(arguments)
    address = one_address(arguments.address, [node.address for node in project.nodes])
    if arguments.list:
        with reading(project) as state:
            kept = state.earlier(address)
            if not kept:
                sys.stdout.write(f"{address}: no earlier output was kept (keep: N in the spec keeps N)\n")
            for earlier in kept:
                record = earlier.record
                best = list(scores(record.facts).items())[:_SCORES]
                told = "  " + ", ".join(f"{score} {number(value)}" for score, value in best) if best else ""
                sys.stdout.write(
                    f"{record.fingerprint[:12]}  made {local_time(record.made_at)}  run {record.run}{told}\n"
                )
        return 0
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    with changing(project, "rollback") as (state, paths):
        record = rollback(state, paths, address, to=arguments.to, now=now)
    sys.stdout.write(f"{address} is again what run {record.run} made on {local_time(record.made_at)}\n")
    sys.stdout.write(
        "`specrun plan` shows whether it fits the spec. Where it does not, the next apply makes it anew, unless you "
        "change the spec or `specrun accept` it.\n"
    )
    return 0
