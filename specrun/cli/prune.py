"""`specrun prune`: remove outputs of nodes that are no longer in the spec."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from specrun.cli.project import expand
from specrun.cli.state import add_project, changing, load_project_of
from specrun.errors import ApprovalMissing
from specrun.model.address import Address
from specrun.store.kept import unknown_kept
from specrun.store.paths import ProjectPaths
from specrun.store.state import State
from specrun.store.trash import collect_trash, discard, discard_staging, leftover_staging, sweep_trash


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("addresses", nargs="*", metavar="ADDRESS", help="only these (default: every orphan)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_project(parser)


def run(arguments: argparse.Namespace) -> int:
    project = load_project_of(arguments)
    declared = {node.address for node in project.nodes}
    with changing(project, "prune") as (state, paths):
        orphans = _orphans(state, declared)
        chosen = expand(arguments.addresses, orphans, "") if arguments.addresses else orphans
        begun = [] if arguments.addresses else _begun(paths, declared, orphans)
        for address in chosen:
            sys.stdout.write(f"- {address}  {paths.output(address)}\n")
        for folder in begun:
            sys.stdout.write(f"- half made  {folder}\n")
        if chosen or begun:
            _ask(arguments.yes)
            left = [place for address in chosen for place in discard(state, paths, address)]
            discard_staging(paths, begun)
            _report("not what the node made", left)
        else:
            sys.stdout.write("nothing to remove: everything that was made is in the spec\n")
        _report("an earlier output that the state does not know", unknown_kept(state, paths))
        trash = collect_trash(state, paths)
    sweep_trash(trash)
    return 0


def _orphans(state: State, declared: Collection[Address]) -> list[Address]:
    """Nodes that were made or tried, and are no longer declared."""
    return sorted({*state.records(), *state.attempts()} - set(declared))


def _begun(paths: ProjectPaths, declared: Collection[Address], orphans: Iterable[Address]) -> list[Path]:
    """What was begun for nodes of which the state knows nothing; an orphan's own is removed with it."""
    return list(leftover_staging(paths, {*declared, *orphans}))


def _report(why: str, places: Iterable[Path]) -> None:
    for place in places:
        sys.stdout.write(f"left alone: {place} ({why})\n")


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
