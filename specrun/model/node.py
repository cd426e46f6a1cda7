"""A node: one declared thing, compiled from the spec, ready to be planned and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specrun.model.address import Address, parse_address
from specrun.model.diagnostic import Position
from specrun.model.digest import Json


@dataclass(frozen=True, slots=True)
class Input:
    """What a node reads of another one.

    role: the consumer's own word (`dataset`, `model`). parts: which parts of the output it reads
    (`media`, `tags`, `split`, `field:ground_truth`); empty: all of it.
    best: metric and mode (max or min) by which one instance of those with this role is chosen; empty: every one counts.
    """

    role: str
    address: Address
    parts: tuple[str, ...] = ()
    best: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resources:
    """gpus: wanted; min_gpus: insisted on. cpus: 0 means a trivial share. memory_mib: None unknown."""

    gpus: int = 0
    min_gpus: int = 0
    cpus: float = 1.0
    memory_mib: int | None = None
    network: bool = False


@dataclass(frozen=True)
class Node:
    """config: what the user wrote, validated, defaults filled, references and declarations resolved.
    result_config: the part of it that can change the result (what the fingerprint covers).
    marks: dotted path in config → where it stands in the spec; "" is the node's own name.
    worker: light | fiftyone | process, the sort of worker that runs it.
    external: it writes to a system outside the machine, so a person must agree.
    resume: the values that must agree for an interrupted run's staging to be used again.
    declarations: address → resolved JSON of the taxonomies, skeletons and connections it names; what of
        them can change the result stands in result_config under the same address.
    seed: where its random numbers begin; None: the project's seed.
    exclusive: names of leases that only one running node may hold (`fiftyone:quickstart.coins`).
    """

    address: Address
    kind: str
    kind_version: int
    config: Mapping[str, Json]
    result_config: Mapping[str, Json]
    inputs: tuple[Input, ...] = ()
    after: tuple[Address, ...] = ()
    resources: Resources = Resources()
    retries: int = 0
    timeout_s: float | None = None
    enabled: bool = True
    keep: int = 0
    description: str = ""
    seed: int | None = None
    worker: str = "light"
    external: bool = False
    resume: Json = None
    exclusive: tuple[str, ...] = ()
    declarations: Mapping[str, Json] = field(default_factory=dict)
    marks: Mapping[str, Position] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[Address, ...]:
        """Every address that must be done before this one, each once, in order."""
        return tuple(dict.fromkeys([*(i.address for i in self.inputs), *self.after]))

    def to_json(self) -> dict[str, Any]:
        return {
            "address": str(self.address),
            "kind": self.kind,
            "kind_version": self.kind_version,
            "config": self.config,
            "result_config": self.result_config,
            "inputs": [_input_to_json(used) for used in self.inputs],
            "after": [str(a) for a in self.after],
            "resources": [
                self.resources.gpus,
                self.resources.min_gpus,
                self.resources.cpus,
                self.resources.memory_mib,
                self.resources.network,
            ],
            "retries": self.retries,
            "timeout_s": self.timeout_s,
            "enabled": self.enabled,
            "keep": self.keep,
            "description": self.description,
            "seed": self.seed,
            "worker": self.worker,
            "external": self.external,
            "resume": self.resume,
            "exclusive": list(self.exclusive),
            "declarations": self.declarations,
            "marks": {path: [m.file, m.line, m.column, m.length] for path, m in self.marks.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Node:
        return cls(
            **{
                **data,
                "address": parse_address(data["address"]),
                "inputs": tuple(Input(r, parse_address(a), *map(tuple, more)) for r, a, *more in data["inputs"]),
                "after": tuple(parse_address(a) for a in data["after"]),
                "resources": Resources(*data["resources"]),
                "exclusive": tuple(data["exclusive"]),
                "marks": {path: Position(*mark) for path, mark in data["marks"].items()},
            }
        )


def _input_to_json(used: Input) -> list[Any]:
    return [used.role, str(used.address), list(used.parts), *([list(used.best)] if used.best else [])]
