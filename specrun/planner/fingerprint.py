"""Fingerprints: what a node's output depends on, as one digest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from specrun.errors import NodeError
from specrun.model.address import Address
from specrun.model.digest import Json, json_digest, parts_digest
from specrun.model.node import Input, Node
from specrun.model.state import NodeRecord, Observation
from specrun.planner.choosing import choose_best


def fingerprint(node: Node, read: Mapping[str, str], observed: Json) -> str:
    """read: `role:address` → digest of what the node reads of it. observed: Observation.value."""
    return fingerprint_of(node.kind, node.kind_version, node.result_config, read, observed)


def fingerprint_of(
    kind: str, version: int, result_config: Mapping[str, Json], read: Mapping[str, str], observed: Json
) -> str:
    return json_digest(
        {
            "kind": kind,
            "version": version,
            "config": dict(result_config),
            "inputs": dict(read),
            "observed": observed,
        }
    )


def input_key(used: Input) -> str:
    """How an input is named in records, manifests and fingerprints."""
    return f"{used.role}:{used.address}"


def read_digest(used: Input, record: NodeRecord, observed: Observation | None) -> str:
    """Digest of what is read of a made node; people's own edits (live parts) count."""
    live = observed.parts if observed is not None and observed.parts is not None else None
    parts = live if live is not None else record.parts
    if used.parts:
        return parts_digest(parts, used.parts)
    if live is not None:
        return json_digest({"made": record.digest, "live": parts_digest(live)})
    return record.digest


def read_digests(
    node: Node,
    record_of: Callable[[Address], NodeRecord],
    observation_of: Callable[[Address], Observation | None],
) -> dict[str, str]:
    """Of instances of which the best is asked for, that one's alone. Raises KeyError: an input that was never made."""
    return {
        input_key(used): read_digest(used, record_of(used.address), observation_of(used.address))
        for used in _read_inputs(node, record_of)
    }


def _read_inputs(node: Node, record_of: Callable[[Address], NodeRecord]) -> list[Input]:
    chosen: dict[str, Address] = {}
    for role, best in {used.role: used.best for used in node.inputs if used.best}.items():
        made = [record_of(used.address) for used in node.inputs if used.role == role]
        # Where none can be chosen every one counts; the run says why.
        with contextlib.suppress(NodeError):
            chosen[role] = choose_best(made, *best).address
    return [used for used in node.inputs if chosen.get(used.role, used.address) == used.address]
