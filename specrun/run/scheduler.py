"""Which node may start now. A pure state machine: no clock, no processes, no files.

A node is pending until everything it needs is settled, then ready, then running, then settled as
done (made or unchanged), failed, stopped, waiting or skipped. What needs a node that will not be made is skipped.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from specrun.model.address import Address
from specrun.model.node import Node, Resources


class Status(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    WAITING = "waiting"
    SKIPPED = "skipped"

    @property
    def settled(self) -> bool:
        return self not in (Status.PENDING, Status.RUNNING)


@dataclass(frozen=True, slots=True)
class Capacity:
    """max_parallel: nodes at a time. cpus: cores. gpus: how many there are. memory_mib: None: unlimited."""

    max_parallel: int
    cpus: float
    gpus: int = 0
    memory_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """A node that will not run because of another one."""

    address: Address
    because: Address
    status: Status


_Demand = tuple[Resources, tuple[str, ...]]
"""What a node asks for; equal demands are blocked by the same things."""


@dataclass
class _Use:
    nodes: int = 0
    cpus: float = 0.0
    gpus: int = 0
    memory_mib: int = 0
    leases: set[str] = field(default_factory=set)


class Scheduler:
    """nodes: those to look at in this run, in a runnable order; needs that are not among them are made."""

    def __init__(self, nodes: Sequence[Node], capacity: Capacity) -> None:
        self.capacity = capacity
        self._use = _Use()
        self._taken: dict[Address, Node] = {}
        self._first: set[Address] = set()
        self._arrange(nodes, {})
        self._again: set[Address] = set()
        self.paused = False

    def _arrange(self, nodes: Sequence[Node], status: Mapping[Address, Status]) -> None:
        self.nodes: Mapping[Address, Node] = {node.address: node for node in nodes}
        self.status: dict[Address, Status] = {address: status.get(address, Status.PENDING) for address in self.nodes}
        self._order = {address: index for index, address in enumerate(self.nodes)}
        self._dependents: dict[Address, list[Address]] = {a: [] for a in self.nodes}
        for address, node in self.nodes.items():
            for need in node.needs:
                if need in self.nodes:
                    self._dependents[need].append(address)
        self._missing = {address: self._unmade_needs(node) for address, node in self.nodes.items()}
        self._unsettled = sum(not how.settled for how in self.status.values())
        self._ready: dict[_Demand, list[tuple[int, Address]]] = {}
        for address, missing in self._missing.items():
            if missing == 0 and self.status[address] is Status.PENDING:
                self._push(address)

    def _unmade_needs(self, node: Node) -> int:
        return sum(self.status[need] is not Status.DONE for need in node.needs if need in self.nodes)

    def amend(self, nodes: Sequence[Node], status: Mapping[Address, Status], again: Collection[Address]) -> None:
        """Another graph from here on.

        status: of the nodes that are not pending. again: running nodes that are pending anew as soon as they end.
        What runs and is not among the nodes keeps its resources until it ends, and is forgotten then.
        """
        self._arrange(nodes, {**status, **dict.fromkeys(self._taken, Status.RUNNING)})
        self._again = {address for address in again if address in self._taken}
        self._first &= set(self.nodes)

    @property
    def finished(self) -> bool:
        return self._unsettled == 0 and not self._taken

    def start(self) -> list[Node]:
        """Nodes to start now; they count as running from here on."""
        if self.paused:
            return []
        started: list[Node] = []
        blocked: set[_Demand] = set()
        while self._use.nodes < self.capacity.max_parallel:
            demand = self._next_demand(blocked)
            if demand is None:
                break
            node = self.nodes[self._ready[demand][0][1]]
            if self.blocked_by(node):
                blocked.add(demand)
                continue
            heapq.heappop(self._ready[demand])
            self._take(node)
            self.status[node.address] = Status.RUNNING
            started.append(node)
        return started

    def _next_demand(self, blocked: set[_Demand]) -> _Demand | None:
        """The queue whose first node ranks first. Nodes that ask for the same wait in one queue, so that
        a thousand that wait for a GPU cost one look."""
        best: _Demand | None = None
        for demand, queue in self._ready.items():
            while queue and self.status[queue[0][1]] is not Status.PENDING:
                heapq.heappop(queue)
            if queue and demand not in blocked and (best is None or queue[0] < self._ready[best][0]):
                best = demand
        return best

    def blocked_by(self, node: Node) -> str:
        """What a ready node waits for, in words; "" when nothing is in its way."""
        use, want = self._use, node.resources
        taken = [lease for lease in node.exclusive if lease in use.leases]
        if taken:
            return f"another node to finish with {taken[0]}"
        if use.nodes == 0:
            return ""
        gpus = self.gpus_for(node)
        if gpus and use.gpus + gpus > self.capacity.gpus:
            return "a GPU" if gpus == 1 else f"{gpus} GPUs"
        if want.cpus and use.cpus + min(want.cpus, self.capacity.cpus) > self.capacity.cpus + 1e-9:
            return "a CPU"
        memory = self.capacity.memory_mib
        if want.memory_mib and memory is not None and use.memory_mib + want.memory_mib > memory:
            return "memory"
        return ""

    def gpus_for(self, node: Node) -> int:
        """How many it gets: fewer than wanted when the machine has fewer."""
        return min(node.resources.gpus, self.capacity.gpus)

    def settle(self, address: Address, status: Status) -> list[Skip]:
        """Record how a node ended; returns what can no longer run because of it."""
        if (taken := self._taken.pop(address, None)) is not None:
            self._release(taken)
        if address not in self.nodes:
            return []
        if address in self._again:
            self._again.discard(address)
            self.status[address] = Status.PENDING
            if self._missing[address] == 0:
                self._push(address)
            return []
        self.status[address] = status
        self._unsettled -= 1
        if status is Status.DONE:
            for dependent in self._dependents[address]:
                self._missing[dependent] -= 1
                if self._missing[dependent] == 0:
                    self._push(dependent)
            return []
        below = Status.WAITING if status is Status.WAITING else Status.SKIPPED
        return self._skip_below(address, below)

    def begin_again(self, address: Address) -> None:
        """A running node is pending anew as soon as it ends."""
        if address in self._taken:
            self._again.add(address)

    def forgo(self, address: Address) -> None:
        """A running node that was to begin anew ends for good."""
        self._again.discard(address)

    def skip_pending(self) -> list[Address]:
        """Give up everything that has not started (the run was stopped)."""
        self._again.clear()
        pending = [a for a, s in self.status.items() if s is Status.PENDING]
        for address in pending:
            self.status[address] = Status.SKIPPED
            self._unsettled -= 1
        return pending

    def retry(self, address: Address) -> list[Address]:
        """Put a node that failed or was stopped, and what was skipped because of it alone, back; none: it did neither.

        Returns what waits for its turn again.
        """
        if self.status.get(address) not in (Status.FAILED, Status.STOPPED):
            return []
        self._revive(address)
        revived = [address]
        for dependent in sorted(self._below(address), key=self._order.__getitem__):
            needs = [self.status[need] for need in self.nodes[dependent].needs if need in self.nodes]
            hopeless = any(status.settled and status is not Status.DONE for status in needs)
            if self.status[dependent] is Status.SKIPPED and not hopeless:
                self._revive(dependent)
                revived.append(dependent)
        return revived

    def revive_waiting(self) -> list[Address]:
        """Put what waits for people back, with what waits for it."""
        waiting = [address for address, status in self.status.items() if status is Status.WAITING]
        for address in waiting:
            self._revive(address)
        return waiting

    def prioritise(self, address: Address) -> None:
        """It and what it needs go first."""
        todo = [address]
        while todo:
            current = todo.pop()
            if current in self._first or current not in self.nodes:
                continue
            self._first.add(current)
            todo += self.nodes[current].needs
        for queue in self._ready.values():
            queue[:] = [(self._rank(a), a) for _, a in queue]
            heapq.heapify(queue)

    def _revive(self, address: Address) -> None:
        self.status[address] = Status.PENDING
        self._unsettled += 1
        self._missing[address] = self._unmade_needs(self.nodes[address])
        if self._missing[address] == 0:
            self._push(address)

    def _skip_below(self, address: Address, status: Status) -> list[Skip]:
        skipped = []
        for dependent in self._below(address):
            if self.status[dependent] is Status.PENDING:
                self.status[dependent] = status
                self._unsettled -= 1
                skipped.append(Skip(dependent, address, status))
        return skipped

    def _below(self, address: Address) -> list[Address]:
        seen: dict[Address, None] = {}
        todo = list(self._dependents[address])
        while todo:
            current = todo.pop(0)
            if current not in seen:
                seen[current] = None
                todo += self._dependents[current]
        return list(seen)

    def _rank(self, address: Address) -> int:
        return self._order[address] - (len(self._order) if address in self._first else 0)

    def _push(self, address: Address) -> None:
        node = self.nodes[address]
        demand = (node.resources, node.exclusive)
        heapq.heappush(self._ready.setdefault(demand, []), (self._rank(address), address))

    def _take(self, node: Node) -> None:
        use = self._use
        self._taken[node.address] = node
        use.nodes += 1
        use.cpus += min(node.resources.cpus, self.capacity.cpus)
        use.gpus += self.gpus_for(node)
        use.memory_mib += node.resources.memory_mib or 0
        use.leases.update(node.exclusive)

    def _release(self, node: Node) -> None:
        use = self._use
        use.nodes -= 1
        use.cpus -= min(node.resources.cpus, self.capacity.cpus)
        use.gpus -= self.gpus_for(node)
        use.memory_mib -= node.resources.memory_mib or 0
        use.leases.difference_update(node.exclusive)
