"""Reasons: why a node is out of date, each one line that a person understands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from specrun.model.address import Address
from specrun.model.diagnostic import Position
from specrun.model.node import Input, Node
from specrun.model.plan import Cause, Reason
from specrun.model.state import NodeRecord, Observation, Unreachable
from specrun.planner.difference import changes, short
from specrun.planner.fingerprint import input_key
from specrun.planner.world import Begun, World


def mark_of(node: Node, path: str) -> Position | None:
    """The line for a dotted path, or for the nearest part of it that is written in the spec."""
    while path:
        if path in node.marks:
            return node.marks[path]
        path = path.rpartition(".")[0]
    return node.marks.get("")


def config_reasons(node: Node, record: NodeRecord) -> Iterator[Reason]:
    if node.kind != record.kind:
        yield Reason(
            Cause.CONFIG, f"kind {record.kind} → {node.kind}", mark_of(node, "kind"), "kind", record.kind, node.kind
        )
        return
    for change in changes(dict(record.result_config), dict(node.result_config)):
        yield Reason(Cause.CONFIG, change.text, mark_of(node, change.path), change.path, change.old, change.new)
    if node.kind_version != record.kind_version:
        text = f"specrun's {node.kind} works differently now (version {record.kind_version} → {node.kind_version})"
        yield Reason(Cause.KIND_VERSION, text, None, "version", record.kind_version, node.kind_version)


def observation_reasons(node: Node, record: NodeRecord, observed: Observation) -> Iterator[Reason]:
    if observed.value == record.observation:
        return
    lines = observed.differences or (_observation_text(record, observed),)
    for line in lines:
        yield Reason(Cause.OBSERVATION, line, None, "observation", record.observation, observed.value)


def _observation_text(record: NodeRecord, observed: Observation) -> str:
    if record.observation is None:
        return "what it depends on outside the spec is looked at for the first time"
    found = next(changes(record.observation, observed.value), None)
    return f"outside the spec: {found.text}" if found else "changed outside the spec"


def input_reasons(node: Node, record: NodeRecord, read: Mapping[str, str], world: World) -> Iterator[Reason]:
    """read: what it would read now. An input that is declared anew is named by its config already."""
    for used in node.inputs:
        key = input_key(used)
        before, now = record.inputs.get(key), read.get(key)  # None: another instance is the best one
        if before == now or now is None:
            continue
        if before is None:
            yield Reason(Cause.INPUT, f"now reads {used.address}", mark_of(node, used.role), key, None, now)
            continue
        details = list(_edits(used, world)) or [_made_since(used, record, world)]
        for line in details:
            yield Reason(Cause.INPUT, f"{used.address}: {line}", None, key, before, now, used.address)
    for key in record.inputs:
        if key not in read:
            yield Reason(Cause.INPUT, f"no longer reads {key.partition(':')[2]}", None, key, record.inputs[key], None)


def _edits(used: Input, world: World) -> Iterator[str]:
    """What people changed by hand in the parts that are read; what several parts say alike stands once."""
    observed = world.observations.get(used.address)
    if observed is None:
        return
    changes = observed.part_changes
    yield from dict.fromkeys(line for part in used.parts or changes for line in changes.get(part, ()))


def _made_since(used: Input, record: NodeRecord, world: World) -> str:
    made = world.records.get(used.address)
    if made is None:
        return "not made yet"
    if made.made_at > record.made_at:
        return f"made anew {_moment(made)}"
    return "changed " + (", ".join(used.parts) if used.parts else "since it was read")


def _moment(record: NodeRecord) -> str:
    return record.made_at[:16].replace("T", " ")


def still_there(record: NodeRecord) -> str:
    return f"its last output, made {_moment(record)}, is still there"


def replaced_reason() -> Reason:
    return Reason(Cause.REPLACE, "asked for with --replace")


def unreachable_reason(why: Unreachable) -> Reason:
    """With what to do about it: nothing else can be said of such a node."""
    told = f"{why.cause.rstrip('.')}. {why.hint.rstrip('.')}" if why.hint else why.cause.rstrip(".")
    return Reason(Cause.OBSERVATION, f"could not be looked at: {told}")


def new_reason(node: Node) -> Reason:
    return Reason(Cause.NEW, "new", node.marks.get(""))


def gone_reason(gone: str) -> Reason:
    return Reason(Cause.OUTPUT_GONE, gone)


def after_reason(producers: list[Address]) -> Reason:
    names = ", ".join(str(address) for address in producers[:3])
    more = f" and {len(producers) - 3} more" if len(producers) > 3 else ""
    return Reason(Cause.AFTER, f"after {names}{more}", address=producers[0])


def interrupted_text(cause: str, *, failed: bool, goes_on: str = "") -> str:
    how = "failed" if failed else "interrupted"
    return f"{how} last time: {short(cause)}" + (f"; {goes_on}" if goes_on else "")


def edited_since(node: Node, begun: Begun) -> list[Reason]:
    """What differs from the settings that an unfinished attempt worked by."""
    if not begun.config:
        return []
    found = changes(dict(begun.config), dict(node.result_config))
    return [Reason(Cause.CONFIG, c.text, mark_of(node, c.path), c.path, c.old, c.new) for c in found]
