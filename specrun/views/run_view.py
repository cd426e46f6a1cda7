"""A run folded from its events: the one thing that dashboard, plain text and summary draw.

`RunView` depends on the events and on nothing else; whatever moves with time takes `now`.
"""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from specrun.model import event as ev
from specrun.model.address import Address, parse_address
from specrun.model.plan import Action, Plan, PlannedNode
from specrun.views.machine_view import GpuView, MachineView
from specrun.views.node_view import MAX_ARTIFACTS, MAX_METRICS, MadeArtifact, NodeState, NodeView, ProgressView
from specrun.views.series import Series
from specrun.views.text import clean

MAX_NOTICES = 200

_PLANNED_STATES = {
    Action.NONE: NodeState.UNCHANGED,
    Action.WAIT: NodeState.WAITING,
    Action.ORPHAN: NodeState.SKIPPED,
    Action.DISABLED: NodeState.SKIPPED,
}


@dataclass(frozen=True, slots=True)
class NoticeLine:
    time: float
    text: str
    level: str


@dataclass(slots=True, repr=False)
class RunView:
    """status: "" before the start, running, stopping, then what RunFinished said."""

    run: str = ""
    project: str = ""
    spec: str = ""
    host: str = ""
    output_root: str = ""
    pid: int = 0
    status: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    duration_s: float | None = None
    exit_code: int | None = None
    paused: bool = False
    nodes: dict[Address, NodeView] = field(default_factory=dict)
    gpus: dict[int, GpuView] = field(default_factory=dict)
    machine: MachineView = field(default_factory=MachineView)
    notices: deque[NoticeLine] = field(default_factory=lambda: deque(maxlen=MAX_NOTICES))
    version: int = 0
    """Grows with every event."""
    structure: int = 0
    """Grows when nodes come or go."""
    _by_text: dict[str, NodeView] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Short: a crash report must not print every node."""
        return f"<RunView {self.run} {self.status} {len(self.nodes)} nodes>"

    def apply(self, event: ev.Event) -> None:
        self.version += 1
        if isinstance(event, ev.NodeEvent):
            node = self._node(event.address)
            if node is not None:
                node.version += 1
                _apply_to_node(node, event)
                if node.dropped and node.state.settled:
                    self._drop(node)
            return
        match event:
            case ev.RunStarted():
                self._start(event)
            case ev.RunAmended():
                self._amend(event)
            case ev.RunStopping():
                self.status = "stopping"
            case ev.RunFinished():
                self.status = clean(event.status)
                self.exit_code = event.exit_code
                self.duration_s = event.duration_s
                self.ended_at = event.time
                self._settle_rest(event)
            case ev.RunPaused():
                self.paused = event.paused
            case ev.Notice():
                self.notices.append(NoticeLine(event.time, clean(event.text), event.level))
            case ev.GpuSample():
                gpu = self.gpus.setdefault(event.index, GpuView(event.index))
                gpu.name = clean(event.name) or gpu.name
                gpu.add(event)
            case ev.MachineSample():
                self.machine.add(event)

    def of(self, address: str) -> NodeView | None:
        return self._by_text.get(address)

    def _node(self, address: str) -> NodeView | None:
        """A node that the plan did not name is shown all the same; a broken address is not."""
        node = self._by_text.get(address)
        if node is None:
            try:
                parsed = parse_address(address)
            except ValueError:
                return None
            node = NodeView(parsed)
            self.nodes[parsed] = self._by_text[address] = node
            self.structure += 1
        return node

    def _start(self, event: ev.RunStarted) -> None:
        self.run, self.project, self.spec = event.run, clean(event.project), clean(event.spec)
        self.host, self.pid, self.output_root = clean(event.host), event.pid, clean(event.output_root)
        self.status, self.started_at = "running", event.time
        for gpu in event.gpus:
            self._know_gpu(gpu)
        for planned in _planned_nodes(event.plan):
            self._add(planned, event.history)
        self.structure += 1

    def _amend(self, event: ev.RunAmended) -> None:
        """Another plan: nodes come, go, and wait for their turn again; they stand in the new plan's order."""
        before, queued = dict(self.nodes), set(event.queued)
        self.nodes.clear()
        for planned in _planned_nodes(event.plan):
            node = before.pop(planned.address, None)
            if node is None:
                self._add(planned, event.history)
                continue
            self.nodes[planned.address] = node
            _replan(node, planned, queued=planned.address.text in queued)
            if node.in_run and planned.address.text in event.history:
                node.expected_s = _expected(planned, event.history)
        for node in before.values():
            if node.state in (NodeState.RUNNING, NodeState.RETRYING):
                node.dropped = True
                self.nodes[node.address] = node
        self._by_text = {address.text: node for address, node in self.nodes.items()}
        self.structure += 1

    def _settle_rest(self, event: ev.RunFinished) -> None:
        """Nothing goes on in a run that is over, whether or not its journal tells how it ended."""
        crashed = event.status == "crashed"
        for node in self.nodes.values():
            if node.state.settled:
                continue
            node.version += 1
            if node.state is NodeState.QUEUED:
                node.state = NodeState.SKIPPED
                node.reason = "the run crashed before it began" if crashed else "the run ended before it began"
            else:
                node.state, node.ended_at, node.retry_at = NodeState.STOPPED, event.time, None
                node.cause = "the run crashed while it ran" if crashed else "the run ended while it ran"

    def _add(self, planned: PlannedNode, history: Mapping[str, float]) -> None:
        node = NodeView(
            planned.address,
            expected_s=_expected(planned, history),
            folder=posixpath.join(self.output_root, clean(planned.folder)),
            in_run=planned.action.runs,
        )
        _settle_by_plan(node, planned)
        self.nodes[planned.address] = self._by_text[planned.address.text] = node

    def _drop(self, node: NodeView) -> None:
        self.nodes.pop(node.address, None)
        self._by_text.pop(node.address.text, None)
        self.structure += 1

    def _know_gpu(self, gpu: Any) -> None:
        index = gpu.get("index")
        if isinstance(index, int):
            self.gpus.setdefault(index, GpuView(index)).name = clean(str(gpu.get("name", "")))

    @property
    def finished(self) -> bool:
        return self.status not in ("", "running", "stopping")

    @property
    def stopped(self) -> int:
        """Nodes that a person, the end of the run or another plan stopped; they are not among the failed."""
        return self.counts()[NodeState.STOPPED]

    def counts(self) -> dict[NodeState, int]:
        """Nodes by state; orphans do not count."""
        found = dict.fromkeys(NodeState, 0)
        for node in self.nodes.values():
            if node.action is not Action.ORPHAN:
                found[node.state] += 1
        return found

    @property
    def to_do(self) -> list[NodeView]:
        """The nodes that this run looks at: not those that were up to date, waiting or disabled from the start."""
        return [node for node in self.nodes.values() if node.in_run]

    def done_and_total(self) -> tuple[int, int]:
        to_do = self.to_do
        done = sum(node.state in (NodeState.DONE, NodeState.UNCHANGED) for node in to_do)
        return done, len(to_do)

    def elapsed(self, now: float) -> float:
        if self.duration_s is not None:
            return self.duration_s
        if self.started_at is None:
            return 0.0
        return max(0.0, (self.ended_at if self.ended_at is not None else now) - self.started_at)

    def node_on_gpu(self, index: int) -> list[NodeView]:
        return [n for n in self.nodes.values() if index in n.gpus and n.state is NodeState.RUNNING]


def _planned_nodes(plan: Mapping[str, Any]) -> tuple[PlannedNode, ...]:
    """None of a plan of a newer version: nodes then appear as their events name them."""
    try:
        return Plan.from_json(plan).nodes
    except (KeyError, TypeError, ValueError):
        return ()


def _expected(planned: PlannedNode, history: Mapping[str, float]) -> float | None:
    seconds = planned.estimate.seconds
    return seconds if seconds is not None else history.get(planned.address.text)


def _settle_by_plan(node: NodeView, planned: PlannedNode) -> None:
    """The state that the plan gives a node of which nothing else is known."""
    node.planned = planned
    node.state = _PLANNED_STATES.get(planned.action, NodeState.QUEUED)
    node.notes = tuple(clean(note) for note in planned.notes)
    node.reason, node.missing, node.approval = "", (), False
    if planned.action in (Action.WAIT, Action.ORPHAN, Action.DISABLED):
        reasons = tuple(clean(reason.text) for reason in planned.reasons)
        node.reason = ", ".join(reasons)
        node.missing = reasons if planned.action is Action.WAIT else ()


def _replan(node: NodeView, planned: PlannedNode, *, queued: bool) -> None:
    """queued: it waits for its turn from here on, whatever it was."""
    node.version += 1
    node.dropped = False
    node.in_run = node.in_run or planned.action.runs
    ended = not queued and node.state not in (NodeState.RUNNING, NodeState.RETRYING)
    made = node.state in (NodeState.DONE, NodeState.UNCHANGED) and planned.action is Action.NONE
    node.planned = planned
    if ended and not planned.action.runs and not made:
        _settle_by_plan(node, planned)
        node.in_run = False
    elif queued:
        _settle_by_plan(node, planned)
        node.state, node.duration_s, node.started_at, node.ended_at = NodeState.QUEUED, None, None, None
        node.progress, node.cause, node.hint = ProgressView(), "", ""


def _apply_to_node(node: NodeView, event: ev.NodeEvent) -> None:
    match event:
        case ev.LogLine():
            node.log.append(clean(event.text))
            node.log_count += 1
        case ev.Progress():
            view = ProgressView(event.done, event.total, clean(event.unit), clean(event.phase), part=event.part)
            node.report_progress(event.time, view)
        case ev.Metric():
            name = clean(event.name)
            if name in node.metrics or len(node.metrics) < MAX_METRICS:
                node.metrics.setdefault(name, Series()).append(event.step, event.value)
        case ev.NodeQueued():
            node.state, node.waits_for = NodeState.QUEUED, clean(event.waits_for)
        case ev.NodeStarted():
            _start_node(node, event)
        case ev.ArtifactMade():
            name = clean(event.name)
            if name in node.artifacts or len(node.artifacts) < MAX_ARTIFACTS:
                made = MadeArtifact(name, clean(event.artifact_type), clean(event.place), event.size_bytes)
                node.artifacts[name] = made
        case ev.NodeRetrying():
            node.state, node.reason = NodeState.RETRYING, clean(event.cause)
            node.attempt, node.retry_at = event.attempt, event.time + event.delay_s
        case ev.NodeWaiting():
            node.state, node.approval = NodeState.WAITING, event.approval
            node.missing = tuple(clean(line) for line in event.missing)
        case ev.NodeFinished():
            node.state, node.ended_at, node.duration_s = NodeState.DONE, event.time, event.duration_s
            node.digest, node.facts, node.earlier_s = event.digest, event.facts, event.earlier_s
            node.notes = tuple(clean(note) for note in event.notes)
            node.folder = clean(event.folder) or node.folder
        case ev.NodeFailed():
            _fail_node(node, event)
        case ev.NodeSkipped():
            node.state = NodeState.UNCHANGED if event.unchanged else NodeState.SKIPPED
            node.reason = clean(event.reason)


def _start_node(node: NodeView, event: ev.NodeStarted) -> None:
    """A further attempt starts from nothing, but keeps curves and log: they say what went before."""
    node.state, node.started_at, node.ended_at, node.duration_s = NodeState.RUNNING, event.time, None, None
    node.attempt, node.resumed, node.waits_for, node.in_run = event.attempt, event.resumed, "", True
    node.worker, node.pid, node.gpus = clean(event.worker), event.pid, event.gpus
    node.log_path = event.log or node.log_path
    node.progress, node.cause, node.hint = ProgressView(), "", ""
    node.reason, node.missing, node.retry_at = "", (), None
    node.pace.restart(event.time)


def _fail_node(node: NodeView, event: ev.NodeFailed) -> None:
    node.state, node.ended_at = NodeState.STOPPED if event.interrupted else NodeState.FAILED, event.time
    node.cause, node.hint = clean(event.cause), clean(event.hint)
    node.log_path, node.exit_code = event.log or node.log_path, event.exit_code
    node.last_lines = tuple(clean(line) for line in event.last_lines) or tuple(_tail(node.log, 10))


def _tail(lines: deque[str], amount: int) -> list[str]:
    return list(islice(lines, max(0, len(lines) - amount), None))
