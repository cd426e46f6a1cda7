"""Validated entries → nodes, ready to be planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from specrun.graph import topological_order
from specrun.model.address import Address
from specrun.model.diagnostic import Position
from specrun.model.digest import Json
from specrun.model.node import Node, Resources
from specrun.spec.annotations import COMMON_FIELDS, is_part_of_result
from specrun.spec.compose import Composition, Declared, own_keys
from specrun.spec.kind import Declaration, Kind, NodeSpec, ResourcesSpec, SeededSpec
from specrun.spec.linking import Links
from specrun.spec.quantities import duration_s, memory_mib
from specrun.spec.secrets import SecretRef
from specrun.spec.tree import positions

SEED_PATH = "project.seed"
"""Under this name the project's seed stands in result_config and marks; a node's own stands under `seed`."""


class Compiler:
    """seed_place: where the project's seed stands, when it is written."""

    def __init__(self, composition: Composition, links: Links, *, seed: int, seed_place: Position | None) -> None:
        self._composition = composition
        self._links = links
        self._seed = seed
        self._seed_place = seed_place
        self._resolved: dict[Address, tuple[dict[str, Json], Json]] = {}

    def nodes(self) -> tuple[Node, ...]:
        """In an order in which they can run. Only for a composition without mistakes."""
        entries = self._composition.entries
        nodes = {a: self._node(e, e.kind) for a, e in entries.items() if isinstance(e.kind, Kind)}
        order = topological_order({address: node.needs for address, node in nodes.items()})
        return tuple(nodes[address] for address in order)

    def _node(self, entry: Declared, kind: Kind) -> Node:
        spec: NodeSpec = entry.spec
        dumped = spec.model_dump(mode="json", by_alias=True)
        config = {key: value for key, value in dumped.items() if _is_own(spec, key)}
        declarations = {str(a): self._declaration(a) for a in self._links.declarations.get(entry.address, ())}
        result: dict[str, Json] = kind.result(_result_of(spec, config))
        result |= {address: part for address, (_, part) in declarations.items()}
        seed = spec.seed if isinstance(spec, SeededSpec) else None
        if kind.uses_seed:
            result |= {SEED_PATH: self._seed} if seed is None else {"seed": seed}
        return Node(
            address=entry.address,
            kind=f"{entry.section.name}.{entry.kind_name}",
            kind_version=kind.version,
            config=config,
            result_config=result,
            inputs=self._links.inputs[entry.address],
            after=self._links.after.get(entry.address, ()),
            resources=_resources(spec.resources, kind.wants(spec)),
            retries=spec.retries,
            timeout_s=None if spec.timeout is None else duration_s(spec.timeout),
            enabled=spec.enabled,
            keep=kind.keeps if spec.keep is None else spec.keep,
            description=spec.description,
            seed=seed,
            worker=kind.worker,
            external=kind.external(spec),
            resume=kind.resume_key(spec),
            exclusive=tuple(kind.exclusive(spec)),
            declarations={address: resolved for address, (resolved, _) in declarations.items()},
            marks=self._marks(entry, kind),
        )

    def _declaration(self, address: Address) -> tuple[dict[str, Json], Json]:
        """The resolved JSON and the part of it that can change a result; once for each."""
        if address not in self._resolved:
            entry = self._composition.entries[address]
            assert isinstance(entry.kind, Declaration)
            resolved = entry.kind.resolve(entry.spec, self._composition)
            self._resolved[address] = resolved, entry.kind.result(resolved)
        return self._resolved[address]

    def _marks(self, entry: Declared, kind: Kind) -> Mapping[str, Position]:
        marks = {"": entry.where, **dict(positions(own_keys(entry.tree)))}
        for address in self._links.declarations.get(entry.address, ()):
            declared = self._composition.entries[address]
            marks[str(address)] = declared.where
            marks |= positions(declared.tree, f"{address}.")
        if kind.uses_seed and self._seed_place:
            marks[SEED_PATH] = self._seed_place
        return marks


def _resources(wanted: ResourcesSpec, default: Resources) -> Resources:
    gpus, least = default.gpus, default.min_gpus
    if isinstance(wanted.gpus, int):
        gpus, least = wanted.gpus, 0
    elif wanted.gpus is not None:
        gpus = least = wanted.gpus["min"]
    return Resources(
        gpus=gpus,
        min_gpus=least,
        cpus=default.cpus if wanted.cpus is None else wanted.cpus,
        memory_mib=default.memory_mib if wanted.memory is None else memory_mib(wanted.memory),
        network=default.network,
    )


def _is_own(spec: NodeSpec, key: str) -> bool:
    """Whether the kind has to do with a key: what every node has only where the kind makes it part of the result."""
    return key not in COMMON_FIELDS or is_part_of_result(type(spec).model_fields[key])


def _result_of(model: BaseModel, dumped: Mapping[str, Any]) -> dict[str, Any]:
    """The dumped JSON without secrets and fields that cannot change the result, in nested models too."""
    kept = {}
    for name, info in type(model).model_fields.items():
        key = info.serialization_alias or info.alias or name
        value = getattr(model, name)
        if key in dumped and is_part_of_result(info) and not isinstance(value, SecretRef):
            kept[key] = _result_value(value, dumped[key])
    return kept


def _result_value(value: Any, dumped: Any) -> Any:
    if isinstance(value, BaseModel) and isinstance(dumped, Mapping):
        return _result_of(value, dumped)
    if isinstance(value, list | tuple) and isinstance(dumped, list):
        return [_result_value(item, part) for item, part in zip(value, dumped, strict=True)]
    if isinstance(value, dict) and isinstance(dumped, Mapping):
        return {key: _result_value(value.get(key), part) for key, part in dumped.items()}
    return dumped
