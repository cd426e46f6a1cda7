"""The run that holds the project now, for the commands that only look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from specrun.model.address import Address
from specrun.model.plan import Cause, Plan, Reason
from specrun.model.state import RunRecord
from specrun.store.locks import Holder, ProjectLock
from specrun.store.paths import ProjectPaths
from specrun.store.state import State
from specrun.views.node_view import NodeState, NodeView
from specrun.views.run_text import clock_time, local_time
from specrun.views.run_view import RunView


@dataclass(frozen=True)
class Ongoing:
    """holder: of the lock. record: of its run; None: something else holds it (`specrun prune`). view: of that run, as
    its journal tells, without what only a dashboard draws."""

    holder: Holder
    record: RunRecord | None = None
    view: RunView | None = None

    @property
    def running(self) -> Sequence[NodeView]:
        if self.view is None:
            return ()
        return [n for n in self.view.nodes.values() if n.state in (NodeState.RUNNING, NodeState.RETRYING)]

    def text(self) -> str:
        """`a run goes on: apply by ann, process 4711 on box, since 2026-01-31 12:00; `specrun attach` follows it`"""
        held = self.holder
        who = f"{held.operation} by {held.who}, process {held.pid} on {held.host}, since {local_time(held.since)}"
        if self.record is None:
            return f"{who}, holds the project"
        return f"run {self.record.id} goes on: {who}; `specrun attach` follows it"


def ongoing_run(paths: ProjectPaths) -> Ongoing | None:
    """None: nobody holds the project."""
    holder = ProjectLock(paths.lock).holder() if paths.lock.exists() else None
    if holder is None:
        return None
    last = last_run(paths)
    if last is None or last.ended_at is not None or last.pid != holder.pid:
        return Ongoing(holder)
    from specrun.cli.runs import view_of  # what follows a journal is of no use to a plan while nothing runs

    return Ongoing(holder, last, view_of(paths, last))


def last_run(paths: ProjectPaths) -> RunRecord | None:
    if not paths.state_db.exists():
        return None
    with State.open(paths.state_db, read_only=True) as state:
        return next(iter(state.runs()), None)


def with_what_runs(plan: Plan, ongoing: Ongoing | None) -> Plan:
    """Of a node that is being made, that it is: for the state it is one that was interrupted."""
    reasons = {node.address: _runs_now(node, ongoing) for node in ongoing.running} if ongoing else {}
    if not reasons:
        return plan
    nodes = [replace(n, reasons=(reasons[n.address],)) if n.address in reasons else n for n in plan.nodes]
    return replace(plan, nodes=tuple(nodes))


def addresses_running(ongoing: Ongoing | None) -> frozenset[Address]:
    return frozenset(node.address for node in ongoing.running) if ongoing else frozenset()


def _runs_now(node: NodeView, ongoing: Ongoing) -> Reason:
    since = f"since {clock_time(node.started_at)}" if node.started_at else "tried again"
    return Reason(Cause.RUNNING, f"runs now, {since}, in run {ongoing.record.id if ongoing.record else ''}")
