"""`specrun status`: one screen of what is where."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from specrun.cli.ongoing import Ongoing, addresses_running, last_run, ongoing_run, with_what_runs
from specrun.cli.project import Planned, add_spec, load, plan_project
from specrun.cli.runs import view_of
from specrun.model.event import Progress, event_from_json
from specrun.model.plan import PlannedNode
from specrun.model.state import NodeRecord
from specrun.store.filesystem import disk_free
from specrun.store.journal import JOURNAL_NAME
from specrun.store.manifest import read_manifest
from specrun.store.paths import ProjectPaths
from specrun.views.eta import run_eta
from specrun.views.node_view import NodeView
from specrun.views.run_text import past_run
from specrun.views.run_view import RunView
from specrun.views.status_text import DiskUse, NodeStatus, ProjectStatus, RunningNow, status_text

_PROGRESS_BYTES = 1 << 19


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_spec(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(target=[], replace=[], exclude=[])


def run(arguments: argparse.Namespace) -> int:
    planned = plan_project(load(arguments), arguments)
    status = status_of(planned, now=time.time())
    if arguments.json:
        sys.stdout.write(json.dumps(status.to_json(), indent=2, ensure_ascii=False) + "\n")
        return 0
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    # Nothing is cut for a program that reads.
    width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 0
    sys.stdout.write(status_text(status, color=color, width=width))
    return 0


def status_of(planned: Planned, *, now: float) -> ProjectStatus:
    """Reads state, manifests, the last run's journal, and what lies on the disk. now: seconds since the epoch."""
    paths = planned.paths
    ongoing = ongoing_run(paths)
    last = (ongoing.record if ongoing else None) or last_run(paths)
    going_on = ongoing is not None and ongoing.view is not None
    view = (ongoing.view if ongoing else None) or (view_of(paths, last) if last is not None else RunView())
    if last is not None and going_on:
        for event in newest_progress(paths.run(last.id) / JOURNAL_NAME):
            view.apply(event)
    plan, running = with_what_runs(planned.plan, ongoing), addresses_running(ongoing)
    made = [(node, _node(node, planned.world.records.get(node.address), paths)) for node in plan.nodes]
    nodes = tuple(replace(told, running=node.address in running) for node, told in made)
    return ProjectStatus(
        project=planned.project.name,
        spec=os.path.relpath(planned.project.spec_file),
        nodes=nodes,
        last_run=past_run(last, view, going_on=going_on) if last is not None else None,
        running=_running(ongoing, now) if ongoing is not None else None,
        disk=DiskUse(
            outputs=sum(node.size_bytes or 0 for node in nodes),
            earlier=bytes_below(paths.kept_root),
            unfinished=bytes_below(paths.staging_root) + bytes_below(paths.trash),
            state=bytes_below(paths.state_dir),
            free=disk_free(paths.output_root),
        ),
    )


def newest_progress(journal: Path) -> list[Progress]:
    """Of what is at the journal's end: a day's progress is not read to know where it stands."""
    try:
        with open(journal, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _PROGRESS_BYTES))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    found: dict[str, Progress] = {}
    for line in lines:
        if line.startswith(b'{"type":"Progress"'):
            with suppress(ValueError, TypeError, KeyError):
                event = event_from_json(json.loads(line))
                if isinstance(event, Progress):
                    found[event.address] = event
    return list(found.values())


def _node(node: PlannedNode, record: NodeRecord | None, paths: ProjectPaths) -> NodeStatus:
    reasons = tuple(reason.text for reason in node.reasons)
    if record is None:
        return NodeStatus(address=str(node.address), kind=node.kind, action=node.action, reasons=reasons)
    folder = paths.output_root / record.folder
    manifest = read_manifest(folder)
    return NodeStatus(
        address=str(node.address),
        kind=node.kind,
        action=node.action,
        reasons=reasons,
        made_at=record.made_at,
        run=record.run,
        took_s=record.duration_s,
        folder=os.path.relpath(folder),
        # Links are counted by what they lead to: the place of a link itself is next to nothing.
        size_bytes=sum(file.size for file in manifest.files) if manifest is not None else None,
        facts=record.facts,
        accepted=record.accepted,
    )


def _running(ongoing: Ongoing, now: float) -> RunningNow:
    holder, view = ongoing.holder, ongoing.view
    held = RunningNow(holder.operation, holder.who, holder.pid, holder.host, holder.since)
    if view is None:
        return held
    done, total = view.done_and_total()
    eta = run_eta(view, now)
    return replace(
        held,
        run=view.run,
        done=done,
        total=total,
        nodes=tuple(_progress(n) for n in ongoing.running),
        eta_s=eta.seconds if eta else None,
        eta_complete=eta.complete if eta else False,
    )


def _progress(node: NodeView) -> str:
    parts = [str(node.address), node.progress.percent, node.progress.said]
    return " ".join(part for part in parts if part)


def bytes_below(folder: Path) -> int:
    """Sizes of all files below; what cannot be read counts nothing. Links are not followed."""
    total = 0
    folders = [os.fspath(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total
