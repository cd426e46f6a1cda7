"""`specrun prune`: remove outputs of nodes that are no longer in the spec."""

from __future__ import annotations

import argparse
import sys

from specrun.cli.project import expand
from specrun.cli.state import add_project, changing, load_project_of
from specrun.errors import ApprovalMissing
from specrun.store.recover import discard, empty_trash


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("addresses", nargs="*", metavar="ADDRESS", help="only these (default: every orphan)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_project(parser)


def run(arguments: argparse.Namespace) -> int:
    project = load_project_of(arguments)
    declared = {node.address for node in project.nodes}
    with changing(project, "prune") as (state, paths):
        orphans = [address for address in state.records() if address not in declared]
        chosen = expand(arguments.addresses, orphans, "") if arguments.addresses else orphans
        if not chosen:
            sys.stdout.write("nothing to remove: everything that was made is in the spec\n")
            return 0
        for address in chosen:
            sys.stdout.write(f"- {address}  {paths.output(address)}\n")
        _ask(arguments.yes)
        for address in chosen:
            discard(state, paths, address)
        empty_trash(state, paths)
    return 0


def _ask(agreed: bool) -> None:
    """Raises ApprovalMissing."""
    if agreed:
        return
    if not sys.stdin.isatty():
        raise ApprovalMissing("prune removes what is listed", hint="Add --yes to agree.")
    sys.stderr.write("Remove these? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ApprovalMissing("not approved: nothing was removed")
