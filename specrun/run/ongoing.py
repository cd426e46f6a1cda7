"""A run that this process started and follows by its journal: what runs in it, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from specrun.errors import ExitCode
from specrun.model.address import Address, parse_address
from specrun.model.digest import json_digest
from specrun.model.event import (
    Event,
    NodeEvent,
    NodeFailed,
    NodeFinished,
    NodeQueued,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    RunAmended,
    RunFinished,
)
from specrun.model.plan import Action, Plan
from specrun.run.control import Ask, Wanted, send
from specrun.run.job import Job
from specrun.run.launch import Feed, launch
from specrun.run.request import REQUEST_NAME, Request
from specrun.store.paths import ProjectPaths

_HELD = (Action.WAIT, Action.DISABLED)


def work_of(job: Job) -> str:
    """Digest of all that a run could have to make of a job; where it stands in the spec and what is made by now is
    not in it."""
    nodes = [
        {k: v for k, v in node.to_json().items() if k not in ("marks", "description")}
        for node in job.nodes
        if node.address not in job.unreachable
    ]
    seen = {str(address): [o.value, o.parts, o.missing] for address, o in job.observations.items()}
    held = [str(planned.address) for planned in job.plan.nodes if planned.action in _HELD]
    gone = sorted(map(str, job.gone))
    return json_digest([nodes, seen, held, gone, sorted(map(str, job.unreachable)), job.settings])


@dataclass
class Ongoing:
    """running: address → the fingerprint that is being made. looked_at: what the run makes, or made.
    failed: address → fingerprint, of nodes that did not end well and are still wanted."""

    job: Job
    paths: ProjectPaths
    running: dict[Address, str] = field(default_factory=dict)
    settled: set[Address] = field(default_factory=set)
    looked_at: set[Address] = field(default_factory=set)
    failed: dict[Address, str] = field(default_factory=dict)
    asked_to_stop: bool = False

    def __post_init__(self) -> None:
        self.folder = self.paths.run(self.job.run)
        self._process = launch(self.job, self.paths)
        self._feed = Feed(self.folder, lambda: self._process.poll() is None)
        self._wanted = work_of(self.job)
        self._plan(self.job.plan)

    def poll(self) -> list[Event]:
        """What happened since the last time."""
        if self.locked_out:
            return []
        events = self._feed()
        for event in events:
            if isinstance(event, NodeEvent):
                self._note(event)
            elif isinstance(event, RunAmended):
                self._plan(Plan.from_json(event.plan))
        return events

    @property
    def ended(self) -> bool:
        """The supervisor is gone, so the project is free. Ask it after a poll that brought nothing."""
        return self._process.poll() is not None

    @property
    def locked_out(self) -> bool:
        """Another run was faster."""
        return self._process.poll() == ExitCode.LOCKED and self._feed.finished is None

    @property
    def finished(self) -> RunFinished | None:
        return self._feed.finished

    @property
    def given_up(self) -> bool:
        """A person stopped it, or the supervisor died: it is not begun again without a change."""
        status = self.finished.status if self.finished else ""
        crashed = self.finished is not None and self.finished.exit_code == ExitCode.OUR_FAULT
        return crashed or (status == "interrupted" and not self.asked_to_stop)

    @property
    def untouched(self) -> Mapping[Address, str]:
        """What a stopped run did not come to."""
        return dict.fromkeys(self._still_wanted - self.settled, "")

    def amend(self, job: Job) -> None:
        """Ask the run to go on with this job, unless it is what was asked for last. Raises OSError."""
        wanted = work_of(job)
        if wanted != self._wanted:
            send(self.folder, Wanted(Ask.AMEND, job=job.save_amendment(self.folder)))
            self._wanted = wanted

    def stop(self, *, at_once: bool) -> None:
        self.asked_to_stop = True
        send(self.folder, Wanted(Ask.KILL if at_once else Ask.STOP))

    def close(self) -> None:
        """A watch lives for days: what one run held open is given back."""
        self._feed.close()

    def _plan(self, plan: Plan) -> None:
        self._still_wanted = {planned.address for planned in plan.nodes if planned.action.runs}
        self.looked_at |= self._still_wanted

    def _note(self, event: NodeEvent) -> None:
        address = parse_address(event.address)
        match event:
            case NodeStarted():
                self.running[address] = self._fingerprint(address)
                self.settled.discard(address)
            case NodeQueued():
                self.settled.discard(address)
                self.failed.pop(address, None)
            case NodeFailed() | NodeWaiting():
                # What waits without having begun waits for another node, which is held back itself.
                held = isinstance(event, NodeFailed) or address in self.running
                made = self.running.pop(address, "")
                self.settled.add(address)
                if held and address in self._still_wanted:
                    self.failed[address] = made
            case NodeFinished() | NodeSkipped():
                self.running.pop(address, None)
                self.settled.add(address)

    def _fingerprint(self, address: Address) -> str:
        """The request is written before the worker hears of it, so it is there."""
        try:
            return Request.load(self.paths.node_run(self.job.run, address) / REQUEST_NAME).fingerprint
        except (OSError, ValueError, KeyError, TypeError):
            return ""
