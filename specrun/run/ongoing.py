"""A run that this process started and follows by its journal: what runs in it, what came of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from specrun.errors import ExitCode
from specrun.model.address import Address, parse_address
from specrun.model.event import (
    Event,
    NodeEvent,
    NodeFailed,
    NodeFinished,
    NodeQueued,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    RunFinished,
)
from specrun.run.control import Ask, Wanted, send
from specrun.run.job import Job
from specrun.run.launch import Feed, launch
from specrun.run.request import REQUEST_NAME, Request
from specrun.run.watching import Underway
from specrun.store.paths import ProjectPaths


@dataclass
class Ongoing:
    """running: address → the fingerprint that is being made. doomed: to be stopped as soon as they start.
    failed: address → fingerprint, of nodes that did not end well; not those that were doomed."""

    job: Job
    paths: ProjectPaths
    running: dict[Address, str] = field(default_factory=dict)
    settled: set[Address] = field(default_factory=set)
    doomed: set[Address] = field(default_factory=set)
    failed: dict[Address, str] = field(default_factory=dict)
    asked_to_stop: bool = False

    def __post_init__(self) -> None:
        self.folder = self.paths.run(self.job.run)
        self._process = launch(self.job, self.paths)
        self._feed = Feed(self.folder, lambda: self._process.poll() is None)
        self._looked_at = {planned.address for planned in self.job.plan.nodes if planned.action.runs}

    def poll(self) -> list[Event]:
        """What happened since the last time."""
        if self.locked_out:
            return []
        events = self._feed()
        for event in events:
            if isinstance(event, NodeEvent):
                self._note(event)
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
    def underway(self) -> Underway:
        return Underway(
            nodes={node.address: node for node in self.job.nodes},
            observed={address: seen.value for address, seen in self.job.observations.items()},
            running=dict(self.running),
            waiting=self._looked_at - set(self.running) - self.settled,
        )

    @property
    def untouched(self) -> Mapping[Address, str]:
        """What a stopped run did not come to."""
        return dict.fromkeys(self._looked_at - self.settled, "")

    def doom(self, addresses: Collection[Address]) -> None:
        """Stop them; those that have not begun are stopped when they do."""
        for address in set(addresses) - self.doomed:
            self.doomed.add(address)
            if address in self.running:
                send(self.folder, Wanted(Ask.CANCEL, address))

    def stop(self, *, at_once: bool) -> None:
        self.asked_to_stop = True
        send(self.folder, Wanted(Ask.KILL if at_once else Ask.STOP))

    def close(self) -> None:
        """A watch lives for days: what one run held open is given back."""
        self._feed.close()

    def _note(self, event: NodeEvent) -> None:
        address = parse_address(event.address)
        match event:
            case NodeStarted():
                self.running[address] = self._fingerprint(address)
                self.settled.discard(address)
                if address in self.doomed:
                    send(self.folder, Wanted(Ask.CANCEL, address))
            case NodeQueued():
                self.settled.discard(address)
                self.failed.pop(address, None)
            case NodeFailed() | NodeWaiting():
                # What waits without having begun waits for another node, which is held back itself.
                held = isinstance(event, NodeFailed) or address in self.running
                made = self.running.pop(address, "")
                self.settled.add(address)
                if held and address not in self.doomed:
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
