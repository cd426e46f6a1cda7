"""A plan: what is out of date and why. Data without effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from specrun.model.address import Address, parse_address
from specrun.model.diagnostic import Position
from specrun.model.digest import Json
from specrun.model.node import Node


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    RESUME = "resume"
    NONE = "none"
    UNKNOWN = "unknown"
    WAIT = "wait"
    ORPHAN = "orphan"
    DISABLED = "disabled"

    @property
    def sign(self) -> str:
        return _SIGNS[self]

    @property
    def runs(self) -> bool:
        """Whether an apply will look at this node at all."""
        return self in (Action.CREATE, Action.UPDATE, Action.RESUME, Action.UNKNOWN)


_SIGNS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.RESUME: "!",
    Action.NONE: "=",
    Action.UNKNOWN: "?",
    Action.WAIT: "⏸",
    Action.ORPHAN: "-",
    Action.DISABLED: "·",
}


class Cause(StrEnum):
    """Why a node has its action; one word a sort of reason."""

    NEW = "new"
    CONFIG = "config"
    KIND_VERSION = "kind_version"
    INPUT = "input"
    OBSERVATION = "observation"
    OUTPUT_GONE = "output_gone"
    OUTPUT_CHANGED = "output_changed"
    REPLACE = "replace"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    AFTER = "after"
    PEOPLE = "people"
    ORPHAN = "orphan"
    DISABLED = "disabled"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Reason:
    """text: one line for people (`train.epochs 50 → 100`). where: the line of the spec or the file.
    path, old, new: the exact values, for `-v` and JSON. address: the node it comes from."""

    cause: Cause
    text: str
    where: Position | None = None
    path: str = ""
    old: Json = None
    new: Json = None
    address: Address | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "cause": self.cause,
            "text": self.text,
            "where": [self.where.file, self.where.line, self.where.column, self.where.length] if self.where else None,
            "path": self.path,
            "old": self.old,
            "new": self.new,
            "address": str(self.address) if self.address else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reason:
        return cls(
            cause=Cause(data["cause"]),
            text=data["text"],
            where=Position(*data["where"]) if data["where"] else None,
            path=data["path"],
            old=data["old"],
            new=data["new"],
            address=parse_address(data["address"]) if data["address"] else None,
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """seconds: expected duration. source: `last run` or the rule it came from. memory: GPU, MiB. cost: USD."""

    seconds: float | None = None
    source: str = ""
    gpu_memory_mib: int | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """fingerprint: None while an input is not made yet. needs: addresses, for drawing the graph."""

    address: Address
    kind: str
    action: Action
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: str | None = None
    estimate: Estimate = Estimate()
    needs: tuple[Address, ...] = ()
    external: bool = False
    folder: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "address": str(self.address),
            "kind": self.kind,
            "action": self.action,
            "reasons": [r.to_json() for r in self.reasons],
            "notes": list(self.notes),
            "fingerprint": self.fingerprint,
            "estimate": [
                self.estimate.seconds,
                self.estimate.source,
                self.estimate.gpu_memory_mib,
                self.estimate.cost_usd,
            ],
            "needs": [str(a) for a in self.needs],
            "external": self.external,
            "folder": self.folder,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PlannedNode:
        return cls(
            address=parse_address(data["address"]),
            kind=data["kind"],
            action=Action(data["action"]),
            reasons=tuple(Reason.from_json(r) for r in data["reasons"]),
            notes=tuple(data["notes"]),
            fingerprint=data["fingerprint"],
            estimate=Estimate(*data["estimate"]),
            needs=tuple(parse_address(a) for a in data["needs"]),
            external=data["external"],
            folder=data["folder"],
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """nodes: in an order in which they can run, orphans last. state: digest of the state it was made from.
    graph: the compiled nodes (not part of the JSON that people read)."""

    project: str
    nodes: tuple[PlannedNode, ...]
    state: str = ""
    graph: tuple[Node, ...] = field(default=(), compare=False, repr=False)

    def of(self, address: Address) -> PlannedNode:
        """Raises KeyError."""
        for node in self.nodes:
            if node.address == address:
                return node
        raise KeyError(str(address))

    def with_action(self, *actions: Action) -> tuple[PlannedNode, ...]:
        return tuple(n for n in self.nodes if n.action in actions)

    @property
    def has_changes(self) -> bool:
        return any(n.action.runs for n in self.nodes)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": 1,
            "project": self.project,
            "state": self.state,
            "nodes": [n.to_json() for n in self.nodes],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        return cls(data["project"], tuple(PlannedNode.from_json(n) for n in data["nodes"]), data["state"])
