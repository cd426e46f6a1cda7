"""`specrun why ADDRESS`: the chain from an output back to files, spec lines and digests."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from specrun.cli.project import one_address
from specrun.cli.state import add_project, load_project_of, reading
from specrun.model.address import Address, parse_address
from specrun.model.node import Node
from specrun.model.state import NodeRecord
from specrun.planner.difference import Change, changes, short
from specrun.planner.fingerprint import input_key, read_digest
from specrun.views.facts import done_text
from specrun.views.quantities import duration
from specrun.views.run_text import local_time
from specrun.views.text import clean

_SEEN_SHOWN = 4
_DIGEST = re.compile(r"(?:\w+:)?[0-9a-f]{16,}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="the node, for example models.unet")
    add_project(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="with digests and what was seen, as JSON")
    parser.add_argument("--json", action="store_true", help="all of it as JSON")


def run(arguments: argparse.Namespace) -> int:
    project = load_project_of(arguments)
    with reading(project) as state:
        records = state.records()
    nodes = {node.address: node for node in project.nodes}
    address = one_address(arguments.address, [*nodes, *(a for a in records if a not in nodes)])
    if arguments.json:
        sys.stdout.write(json.dumps(chain(address, records, nodes), indent=2, ensure_ascii=False) + "\n")
    else:
        found = chain(address, records, nodes)
        sys.stdout.writelines(f"{clean(line)}\n" for line in lines(found, verbose=arguments.verbose))
    return 0


def chain(address: Address, records: Mapping[Address, NodeRecord], nodes: Mapping[Address, Node]) -> dict[str, Any]:
    """The node, when and from what it was made, and the same of everything it read."""
    record, node = records.get(address), nodes.get(address)
    mark = node.marks.get("") if node else None
    found: dict[str, Any] = {"address": str(address), "declared": mark.short if mark else None}
    if record is None:
        return {**found, "made": None, "inputs": []}
    inputs = [key.partition(":") for key in record.inputs]
    return {
        **found,
        "made": record.made_at,
        "took_s": record.duration_s,
        "run": record.run,
        "facts": dict(record.facts),
        "changed": [change.text for change in _changed(record, node)],
        "fingerprint": record.fingerprint,
        "digest": record.digest,
        "folder": record.folder,
        "observed": record.observation,
        "accepted": record.accepted,
        "inputs": [
            {
                "role": role,
                "read": record.inputs[f"{role}:{name}"],
                "since": what_happened_since(record, node, f"{role}:{name}", records),
                **chain(parse_address(name), records, nodes),
            }
            for role, _, name in inputs
        ],
    }


def what_happened_since(
    record: NodeRecord, node: Node | None, key: str, records: Mapping[Address, NodeRecord]
) -> str | None:
    """An input may have been made anew since it was read: said, and whether it is still what was read."""
    used = next((used for used in node.inputs if input_key(used) == key), None) if node else None
    made = records.get(used.address) if used else None
    if used is None or made is None or made.made_at <= record.made_at:
        return None
    same = read_digest(used, made, None) == record.inputs[key]
    return "made anew since; what is read of it is the same" if same else "has changed since it was read"


def _changed(record: NodeRecord, node: Node | None) -> Iterator[Change]:
    """Settings that differ from those that it was made with."""
    if node is not None and node.kind == record.kind:
        yield from changes(dict(record.result_config), dict(node.result_config))


def lines(
    found: Mapping[str, Any], depth: int = 0, role: str = "", shown: set[str] | None = None, *, verbose: bool = False
) -> Iterator[str]:
    """What was said once is not said again."""
    shown = set() if shown is None else shown
    indent = "  " * depth
    declared = f"  {found['declared']}" if found["declared"] else "  no longer in the spec"
    if found["address"] in shown:
        yield f"{indent}{role}{found['address']}  as above"
        return
    shown.add(found["address"])
    yield f"{indent}{role}{found['address']}{declared}"
    if found["made"] is None:
        yield f"{indent}  not made yet"
        return
    took_s = f" in {duration(found['took_s'])}" if found["took_s"] else ""
    yield f"{indent}  made {local_time(found['made'])}{took_s}, run {found['run']}"
    if told := done_text(found["facts"]):
        yield f"{indent}  {told}"
    if found.get("since"):
        yield f"{indent}  {found['since']}"
    for text in found["changed"]:
        yield f"{indent}  changed since: {text}"
    if found["accepted"]:
        yield f"{indent}  accepted by hand: {found['accepted']}"
    if verbose:
        yield f"{indent}  digest {found['digest']}, fingerprint {found['fingerprint']}"
        if found["observed"] is not None:
            yield f"{indent}  saw {json.dumps(found['observed'], ensure_ascii=False)}"
    elif seen := seen_text(found["observed"]):
        yield f"{indent}  saw {seen}"
    for used in found["inputs"]:
        yield from lines(used, depth + 1, f"{used['role']}: ", shown, verbose=verbose)


def seen_text(observed: Any) -> str:
    """`tasks.17.state completed, revision 3f2a`: without digests and what is empty, which tell a person nothing."""
    told = [f"{path} {short(value)}" for path, value in _leaves(observed) if not _says_nothing(value)]
    more = f" and {len(told) - _SEEN_SHOWN} more" if len(told) > _SEEN_SHOWN else ""
    return ", ".join(told[:_SEEN_SHOWN]) + more


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _says_nothing(value: Any) -> bool:
    return value in (None, [], "") or (isinstance(value, str) and _DIGEST.fullmatch(value) is not None)
