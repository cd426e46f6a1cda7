"""What becomes of a run when another plan takes the place of its own. Pure: decides, and does nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from specrun.errors import NodeError
from specrun.model.address import Address
from specrun.model.node import Node
from specrun.model.plan import Action, Cause, Plan, PlannedNode, Reason
from specrun.planner.difference import changes
from specrun.planner.explain import mark_of
from specrun.run.job import Job
from specrun.run.ledger import Ledger
from specrun.run.scheduler import Status


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A run as far as it got. nodes: its graph. status: of the nodes that it looks at.
    prints: address → fingerprint of its last attempt. overtaken: they run, and an earlier amendment stopped them.
    cancelled: skipped by a person before they began."""

    plan: Plan
    nodes: Mapping[Address, Node]
    status: Mapping[Address, Status]
    prints: Mapping[Address, str]
    overtaken: Collection[Address] = ()
    cancelled: Collection[Address] = ()


@dataclass(kw_only=True)
class Amendment:
    """plan: the run's from here on; nodes that are left as they are keep what it said of them before.
    status: of the nodes that the run looks at from here on. again: they run, are stopped, and begin anew.
    doubtful: they run on while what they read is made anew, and are compared then.
    dropped: they run, are stopped, and are not wanted any more."""

    plan: Plan
    status: dict[Address, Status] = field(default_factory=dict)
    again: set[Address] = field(default_factory=set)
    doubtful: set[Address] = field(default_factory=set)
    dropped: set[Address] = field(default_factory=set)

    def changes(self, before: Standing) -> bool:
        """Whether anything is to be done or told."""
        told = {node.address: (node.action, node.reasons) for node in before.plan.nodes}
        now = {node.address: (node.action, node.reasons) for node in self.plan.nodes}
        return bool(self.again or self.dropped) or self.status != dict(before.status) or told != now


def amend(before: Standing, wanted: Job, ledger: Ledger) -> Amendment:
    """wanted: planned from the world as it is now. ledger: with the observations of `wanted`.

    A node is left alone when its fingerprint, taken from what is made by now, is that of its last attempt. What reads
    something that is to be made anew is made anew itself, or found unchanged when its turn comes.
    """
    return _Amending(before, wanted, ledger).result()


LOST = (Status.FAILED, Status.STOPPED, Status.SKIPPED)
"""What needs a node that ended so is not made in this run."""


class _Amending:
    def __init__(self, before: Standing, wanted: Job, ledger: Ledger) -> None:
        self._before = before
        self._wanted = wanted
        self._ledger = ledger
        self._nodes = {node.address: node for node in wanted.nodes}
        self._earlier = {planned.address: planned for planned in before.plan.nodes}
        self._moved: set[Address] = set()
        self._merged: dict[Address, PlannedNode] = {}
        self._found = Amendment(plan=wanted.plan)

    def result(self) -> Amendment:
        plan = self._wanted.plan
        for planned in plan.nodes:
            self._merged[planned.address] = self._node(planned)
        self._found.plan = replace(plan, nodes=tuple(self._merged.values()))
        gone = {a for a, how in self._before.status.items() if how is Status.RUNNING} - set(self._found.status)
        self._found.dropped |= gone
        return self._found

    def _node(self, planned: PlannedNode) -> PlannedNode:
        """Takes the node in, and returns what the run's plan says of it from here on."""
        address, node = planned.address, self._nodes.get(planned.address)
        was = self._before.status.get(address)
        if node is None or planned.action is Action.ORPHAN:
            return planned
        above = any(used.address in self._moved for used in node.inputs)
        fresh = None if above else self._fingerprint(node)
        match was:
            case Status.RUNNING:
                return self._running(planned, fresh, above=above)
            case Status.DONE if not above and planned.action is not Action.WAIT:
                if planned.action is Action.DISABLED or self._ledger.is_made(address, fresh or ""):
                    return self._keep(planned, was)
            case Status.FAILED | Status.STOPPED | Status.WAITING | Status.SKIPPED if planned.action.runs:
                if self._same_again(was, node, fresh, above=above):
                    return self._keep(planned, was)
            case _:
                pass
        if not planned.action.runs and not (above and planned.action is Action.NONE):
            return planned
        return self._begin(planned, node, fresh, above=above)

    def _running(self, planned: PlannedNode, fresh: str | None, *, above: bool) -> PlannedNode:
        """Left alone, stopped and begun anew, or stopped for good. What could not be looked at, or waits for people
        by now, is left alone."""
        address = planned.address
        halted = address in self._before.overtaken
        unknown = address in self._wanted.unreachable or (planned.action is Action.WAIT and not halted)
        # Without a fingerprint it has not looked at its inputs yet, and will see them as they are now.
        same = unknown or fresh is None or self._before.prints.get(address, "") in ("", fresh)
        if planned.action is not Action.DISABLED and same and not above and not halted:
            return self._keep(planned, Status.RUNNING)
        if planned.action in (Action.DISABLED, Action.WAIT):
            return planned
        if above and not halted and self._before.prints.get(address) and not self._redefined(self._nodes[address]):
            # What it reads may turn out the same: hours of work are not thrown away for that.
            self._found.doubtful.add(address)
            return self._keep(planned, Status.RUNNING)
        self._found.status[address] = Status.RUNNING
        self._found.again.add(address)
        self._moved.add(address)
        return _started_again(planned, self._before.nodes[address], self._nodes[address])

    def _same_again(self, was: Status, node: Node, fresh: str | None, *, above: bool) -> bool:
        """Whether it would only end as it did."""
        address = node.address
        if was is Status.SKIPPED:
            return not above and address in self._before.cancelled and not self._redefined(node)
        if was is Status.WAITING and node.external and not self._wanted.approved:
            return True
        if address in self._wanted.unreachable:
            return True
        return not above and fresh is not None and fresh == self._before.prints.get(address)

    def _redefined(self, node: Node) -> bool:
        earlier = self._before.nodes.get(node.address)
        same = earlier is not None and (earlier.kind, earlier.inputs) == (node.kind, node.inputs)
        return not same or earlier is None or dict(earlier.result_config) != dict(node.result_config)

    def _begin(self, planned: PlannedNode, node: Node, fresh: str | None, *, above: bool) -> PlannedNode:
        address = planned.address
        was = self._before.status.get(address)
        if was is None and address in self._wanted.unreachable and address in self._earlier:
            # It was up to date or waited; that it cannot be looked at for the moment says nothing else.
            return self._earlier[address]
        held = next((need for need in node.needs if self._waits(need)), None)
        if held is not None:
            return replace(planned, action=Action.WAIT, reasons=(_waits_for(held),))
        if any(self._found.status.get(need) in LOST for need in node.needs):
            self._found.status[address] = Status.SKIPPED
            return planned
        made = fresh is not None and self._ledger.is_made(address, fresh)
        if made and was is None:
            return replace(planned, action=Action.NONE, reasons=())
        self._found.status[address] = Status.PENDING
        if not made:
            self._moved.add(address)
        return planned if planned.action.runs else replace(planned, action=Action.UNKNOWN)

    def _waits(self, need: Address) -> bool:
        merged = self._merged.get(need)
        waits = merged is not None and merged.action is Action.WAIT
        return waits or self._found.status.get(need) is Status.WAITING

    def _keep(self, planned: PlannedNode, status: Status) -> PlannedNode:
        self._found.status[planned.address] = status
        return self._earlier.get(planned.address, planned)

    def _fingerprint(self, node: Node) -> str | None:
        """None: something that it reads is not made yet."""
        try:
            return self._ledger.wanted(node)[1]
        except NodeError:
            return None


def _waits_for(need: Address) -> Reason:
    return Reason(Cause.PEOPLE, f"waits for {need}", address=need)


def _started_again(planned: PlannedNode, before: Node, now: Node) -> PlannedNode:
    """How an overtaken node is shown: what differs from what runs, not from what was made last."""
    hidden = (Cause.INTERRUPTED, Cause.FAILED, Cause.NEW, Cause.CONFIG)
    reasons = [*_edits(before, now), *(reason for reason in planned.reasons if reason.cause not in hidden)]
    if not reasons:
        reasons = [Reason(Cause.INPUT, "what it reads has changed")]
    notes = ("it is running: stopped, and started again with this",)
    return replace(planned, action=Action.UPDATE, reasons=tuple(reasons), notes=notes)


def _edits(before: Node, now: Node) -> Iterator[Reason]:
    for change in changes(dict(before.result_config), dict(now.result_config)):
        yield Reason(Cause.CONFIG, change.text, mark_of(now, change.path), change.path, change.old, change.new)
